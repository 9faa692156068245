//! What a request's head must be besides well-formed, in HTTP/1 and HTTP/2 alike: for one host, of a method that a server
//! of this kind has, at a path that everybody decodes alike.

use http::{HeaderValue, Method, StatusCode, header, request};
use serde_json::json;

use crate::rest::json_response;
use crate::service::Response;

/// Why a request is not looked at any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("The method is not served.")]
    Method,
    #[error("The request's target is malformed.")]
    Target,
    #[error("The request must name one host.")]
    Host,
    #[error("The expectation cannot be met.")]
    Expectation,
}

impl Unfit {
    /// The answer. An HTTP/1 connection does not outlive it: what follows may be the rest of something else.
    pub(super) fn into_response(self, version: http::Version) -> Response {
        let status = match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Target | Self::Host => StatusCode::BAD_REQUEST,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
        };
        let mut response = json_response(status, &json!({ "message": self.to_string() }));
        if version < http::Version::HTTP_2 {
            response
                .headers
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Checks a head.
pub(super) fn check(head: &request::Parts) -> Result<(), Unfit> {
    // CONNECT makes a tunnel; TRACE shows a client what it must not see of its own headers (RFC 9110, 9.3).
    if head.method == Method::CONNECT || head.method == Method::TRACE || head.method.as_str() == "TRACK" {
        return Err(Unfit::Method);
    }
    check_target(head)?;
    check_host(head)?;
    let mut expectations = head.headers.get_all(header::EXPECT).iter();
    if !expectations.all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Unfit::Expectation);
    }
    Ok(())
}

fn check_target(head: &request::Parts) -> Result<(), Unfit> {
    let uri = &head.uri;
    let is_form = match (uri.scheme_str(), uri.authority()) {
        (None, None) | (Some("http" | "https"), Some(_)) => true,
        // A name and a port alone are CONNECT's.
        _ => false,
    };
    let path = uri.path();
    let is_path = path.starts_with('/') || (path == "*" && head.method == Method::OPTIONS);
    if is_form && is_path && is_encoded(path.as_bytes()) {
        Ok(())
    } else {
        Err(Unfit::Target)
    }
}

/// Whether all that is percent-encoded can be decoded, and to anything but NUL. A query is a form's, which may be otherwise.
fn is_encoded(path: &[u8]) -> bool {
    let mut rest = path;
    while let Some(at) = memchr::memchr(b'%', rest) {
        match &rest[at + 1..] {
            [b'0', b'0', ..] => return false,
            [high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => rest = after,
            _ => return false,
        }
    }
    true
}

/// One host, in the target or the header or in both alike; none at all only in HTTP/1.0.
fn check_host(head: &request::Parts) -> Result<(), Unfit> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    if hosts.next().is_some() {
        return Err(Unfit::Host);
    }
    let is_one = match (host, authority) {
        (None, None) => head.version < http::Version::HTTP_11,
        (Some(host), None) | (None, Some(host)) => is_host(host),
        (Some(host), Some(authority)) => is_host(host) && host.eq_ignore_ascii_case(authority),
    };
    is_one.then_some(()).ok_or(Unfit::Host)
}

/// A name or an address, perhaps with a port; no user, nothing encoded.
fn is_host(text: &[u8]) -> bool {
    let (name, port) = match text {
        [b'[', rest @ ..] => match memchr::memchr(b']', rest) {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None => return false,
        },
        _ => text.split_at(memchr::memchr(b':', text).unwrap_or(text.len())),
    };
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let is_sound = if text.starts_with(b"[") {
        name.iter().all(|byte| is_name(byte) || *byte == b':')
    } else {
        name.iter().all(is_name)
    };
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    is_sound && is_port && !name.is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check_head(method: &str, uri: &str, headers: &[(&'static str, &str)], want: Result<(), Unfit>) {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(check(&head), want, "{method} {uri} {headers:?}");
    }

    #[test]
    fn a_request_is_for_one_host() {
        for host in ["a", "a.b-c.localhost:4566", "127.0.0.1", "[::1]", "[::1]:80", "A_b"] {
            check_head("GET", "/", &[("host", host)], Ok(()));
        }
        for host in [
            "", ":80", "a b", "a@b", "a/b", "a,b", "a:b", "a:123456", "a:1:2", "[::1", "[::1]a", "[]", "a%00", "a?b",
            "a#b",
        ] {
            check_head("GET", "/", &[("host", host)], Err(Unfit::Host));
        }
        check_head("GET", "/", &[], Err(Unfit::Host));
        check_head("GET", "/", &[("host", "a"), ("host", "a")], Err(Unfit::Host));
        check_head("GET", "http://A/", &[("host", "a")], Ok(()));
        check_head("GET", "http://a/", &[], Ok(()));
        check_head("GET", "http://a/", &[("host", "b")], Err(Unfit::Host));
        check_head("GET", "http://u@a/", &[("host", "u@a")], Err(Unfit::Host));
    }

    #[test]
    fn targets_have_a_form() {
        let host = [("host", "a")];
        check_head("GET", "/a%2Fb?c=%zz&d=100%", &host, Ok(()));
        check_head("OPTIONS", "*", &host, Ok(()));
        for path in ["*", "/%", "/%2", "/%zz", "/a%00b", "ftp://a/", "a:80"] {
            check_head("GET", path, &host, Err(Unfit::Target));
        }
    }

    #[test]
    fn methods_and_expectations_are_known() {
        let host = [("host", "a")];
        for method in ["CONNECT", "TRACE", "TRACK"] {
            check_head(method, "/", &host, Err(Unfit::Method));
        }
        check_head("PURGE", "/", &host, Ok(()));
        check_head("GET", "/", &[("host", "a"), ("expect", "100-Continue")], Ok(()));
        check_head(
            "GET",
            "/",
            &[("host", "a"), ("expect", "200-ok")],
            Err(Unfit::Expectation),
        );
        let both = [("host", "a"), ("expect", "100-continue"), ("expect", "x")];
        check_head("GET", "/", &both, Err(Unfit::Expectation));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_host_and_path_are_judged(host in prop::collection::vec(any::<u8>(), 0..30), path in prop::collection::vec(any::<u8>(), 0..30)) {
            if is_host(&host) {
                prop_assert!(!host.iter().any(|byte| b"@/?#% ,\\\0\r\n".contains(byte)));
            }
            if is_encoded(&path) {
                let decoded: Vec<u8> = percent_encoding::percent_decode(&path).collect();
                prop_assert_eq!(decoded.contains(&0), path.contains(&0));
            }
        }
    }
}
