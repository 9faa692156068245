//! HTTP integrations: a request goes on to another server.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue,
};
use http::uri::{Authority, Scheme};
use http::{Method, Request, Uri};
use http_body_util::Full;
use percent_encoding::utf8_percent_encode;

use super::mapping::{Outgoing, UNRESERVED};
use crate::answer::Answer;
use crate::api::live::fetch::{Client, FetchError};
use crate::request::{HttpRequest, is_hop_by_hop};

/// The largest answer that is taken, in bytes, as on AWS.
pub const ANSWER_BYTES: usize = 10 << 20;

/// Where requests go, compiled once.
#[derive(Clone, Debug)]
pub struct Target {
    scheme: Scheme,
    authority: Authority,
    path: Vec<Piece>,
    query: String,
    method: Option<Method>,
    has_variables: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable(String),
}

/// Why an address is no target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It is no URL with http or https and a host.
    #[error("{0:?} is not a URL with http or https")]
    Url(String),
    /// The method is none.
    #[error("{0:?} is not a method")]
    Method(String),
}

/// What a request is made of, besides itself.
#[derive(Clone, Copy, Debug)]
pub struct Onward<'a> {
    /// The request with its mapping done.
    pub outgoing: &'a Outgoing,
    /// The route's parameters, as sent where the variable is greedy and decoded otherwise.
    pub parameters: &'a [(Cow<'a, str>, Cow<'a, str>)],
    /// What the greedy variable stands for, as sent.
    pub rest: Option<&'a str>,
    /// The path without the stage, for the route that takes everything.
    pub whole_path: Option<&'a str>,
    /// Whether the client has signed for us: then its signature is nobody else's business.
    pub is_signed: bool,
    /// The request's trace.
    pub trace_id: &'a str,
}

impl Target {
    /// Compiles an address, such as `https://example.com/pets/{id}`, and the method that is to be used (`ANY`: the request's).
    pub fn new(url: &str, method: Option<&str>) -> Result<Self, TargetError> {
        let error = || TargetError::Url(url.chars().take(140).collect());
        let (scheme, rest) = url.split_once("://").ok_or_else(error)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::HTTP,
            "https" => Scheme::HTTPS,
            _ => return Err(error()),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let authority: Authority = authority.parse().map_err(|_| error())?;
        if authority.host().is_empty() || authority.as_str().contains('@') || rest.contains('#') {
            return Err(error());
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut pieces = Vec::new();
        let mut rest = path;
        while let Some((before, inner)) = rest.split_once('{') {
            let (name, after) = inner.split_once('}').ok_or_else(error)?;
            let name = name.strip_suffix('+').unwrap_or(name);
            pieces.extend((!before.is_empty()).then(|| Piece::Text(before.to_owned())));
            pieces.push(Piece::Variable(name.to_owned()));
            rest = after;
        }
        pieces.extend((!rest.is_empty()).then(|| Piece::Text(rest.to_owned())));
        let method = method.filter(|method| *method != "ANY");
        let method = method
            .map(|text| text.parse().map_err(|_| TargetError::Method(text.to_owned())))
            .transpose()?;
        let has_variables = pieces.iter().any(|piece| matches!(piece, Piece::Variable(_)));
        Ok(Self {
            scheme,
            authority,
            path: pieces,
            query: query.to_owned(),
            method,
            has_variables,
        })
    }

    /// The address for one request.
    fn uri(&self, onward: &Onward<'_>) -> Result<Uri, http::Error> {
        let mut path = String::new();
        if let Some(mapped) = &onward.outgoing.path {
            path.push_str(mapped);
        } else {
            for piece in &self.path {
                match piece {
                    Piece::Text(text) => path.push_str(text),
                    Piece::Variable(name) => {
                        let last = onward.parameters.last().is_some_and(|(key, _)| key == name);
                        let found = onward.parameters.iter().find(|(key, _)| key == name);
                        match (onward.rest.filter(|_| last), found) {
                            (Some(rest), _) => path.push_str(rest),
                            (None, Some((_, value))) => path.extend(utf8_percent_encode(value, UNRESERVED)),
                            (None, None) => {}
                        }
                    }
                }
            }
            if let Some(whole) = onward.whole_path.filter(|_| !self.has_variables) {
                path.truncate(path.trim_end_matches('/').len());
                path.push_str(whole);
            }
        }
        if path.is_empty() {
            path.push('/');
        }
        let mut mark = '?';
        for query in [&self.query, &onward.outgoing.query] {
            if !query.is_empty() {
                path.push(mark);
                path.push_str(query);
                mark = '&';
            }
        }
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
    }

    /// The request as it is sent on.
    pub fn request(&self, request: &HttpRequest<'_>, onward: &Onward<'_>) -> Result<Request<Full<Bytes>>, http::Error> {
        let mut sent = Request::new(Full::new(request.body.clone()));
        *sent.method_mut() = self.method.as_ref().unwrap_or(request.method).clone();
        *sent.uri_mut() = self.uri(onward)?;
        *sent.headers_mut() = headers(request, onward);
        Ok(sent)
    }
}

/// What of the client's headers goes on, and what is said of the client.
fn headers(request: &HttpRequest<'_>, onward: &Onward<'_>) -> HeaderMap {
    let mut headers = onward.outgoing.headers.clone();
    let is_ours = |name: &HeaderName| {
        [HOST, CONTENT_LENGTH, EXPECT, FORWARDED].contains(name)
            || name.as_str().starts_with("x-forwarded-")
            || matches!(name.as_str(), "x-amzn-trace-id" | "via" | "x-real-ip")
            || is_hop_by_hop(name)
            || (onward.is_signed && (*name == AUTHORIZATION || name.as_str().starts_with("x-amz-")))
    };
    let ours: Vec<HeaderName> = headers.keys().filter(|name| is_ours(name)).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
    let ip = request.peer.address.ip().to_canonical();
    let (host, scheme) = (told_host(request.authority), request.scheme());
    // RFC 7239, 6: addresses of version 6 stand in brackets and quotes.
    let node = if ip.is_ipv6() {
        format!("\"[{ip}]\"")
    } else {
        ip.to_string()
    };
    let said = [
        ("forwarded", format!("for={node};host=\"{host}\";proto={scheme}")),
        ("x-forwarded-for", ip.to_string()),
        ("x-forwarded-host", host.to_owned()),
        ("x-forwarded-port", request.port().to_string()),
        ("x-forwarded-proto", scheme.to_owned()),
        ("x-amzn-trace-id", onward.trace_id.to_owned()),
        ("via", "1.1 ephyra".to_owned()),
    ];
    for (name, value) in said {
        // A host that could not stand in a header did not come in one.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
}

/// A host as it can be passed on: one that has other characters than hosts have is not told, as it could say more than a host.
fn told_host(host: &str) -> &str {
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    if host.bytes().all(is_host) { host } else { "" }
}

/// Headers without those of the connection: the known ones, and those that `connection` names (RFC 9110, 7.6.1). Of a request this is
/// done before its mapping: otherwise a client could name a header that the mapping sets.
pub fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    let named = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let named = named
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok());
    for name in named.collect::<Vec<_>>() {
        kept.remove(name);
    }
    let of_connection: Vec<HeaderName> = kept.keys().filter(|name| is_hop_by_hop(name)).cloned().collect();
    for name in of_connection {
        kept.remove(name);
    }
    kept
}

/// Sends a request on and takes the answer.
pub async fn send(client: &Client, request: Request<Full<Bytes>>, time: Duration) -> Result<Answer, FetchError> {
    let response = client.send(request, ANSWER_BYTES, time).await?;
    let (head, body) = response.into_parts();
    if head.status.is_informational() {
        // Nobody asked for another protocol, and nothing else of that kind ends an exchange.
        return Err(FetchError::Status(head.status.as_u16()));
    }
    let mut headers = end_to_end(&head.headers);
    // The front says how long the body is.
    headers.remove(CONTENT_LENGTH);
    Ok(Answer {
        status: head.status,
        headers,
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ephyra_wire::front::Peer;
    use http::Version;
    use proptest::prelude::*;

    fn onward<'a>(outgoing: &'a Outgoing, parameters: &'a [(Cow<'a, str>, Cow<'a, str>)]) -> Onward<'a> {
        Onward {
            outgoing,
            parameters,
            rest: None,
            whole_path: None,
            is_signed: false,
            trace_id: "Root=1",
        }
    }

    fn outgoing(query: &str, path: Option<&str>) -> Outgoing {
        Outgoing {
            headers: HeaderMap::new(),
            query: query.to_owned(),
            path: path.map(str::to_owned),
        }
    }

    #[track_caller]
    fn check(url: &str, change: impl FnOnce(&mut Onward<'_>), out: &Outgoing, expected: &str) {
        let parameters = [("id".into(), "a/b ?".into()), ("proxy".into(), "x y/z".into())];
        let mut onward = onward(out, &parameters);
        change(&mut onward);
        let uri = Target::new(url, None)
            .expect("a target")
            .uri(&onward)
            .expect("an address");
        assert_eq!(uri.to_string(), expected);
    }

    #[test]
    fn addresses_are_filled_in() {
        let plain = outgoing("", None);
        check("http://h", |_| {}, &plain, "http://h/");
        check(
            "https://h:8443/a/{id}/c?k=v",
            |_| {},
            &outgoing("q=1", None),
            "https://h:8443/a/a%2Fb%20%3F/c?k=v&q=1",
        );
        check(
            "http://h/{proxy}",
            |onward| onward.rest = Some("x%20y/z"),
            &plain,
            "http://h/x%20y/z",
        );
        check("http://h/{unknown}x", |_| {}, &plain, "http://h/x");
        check(
            "http://h/a/",
            |onward| onward.whole_path = Some("/p/q"),
            &plain,
            "http://h/a/p/q",
        );
        check(
            "http://h/{id}",
            |onward| onward.whole_path = Some("/p"),
            &plain,
            "http://h/a%2Fb%20%3F",
        );
        check("http://h/a", |_| {}, &outgoing("", Some("/new")), "http://h/new");
    }

    #[test]
    fn other_texts_are_no_targets() {
        for url in [
            "",
            "h/a",
            "ftp://h",
            "http://",
            "http:///a",
            "http://u@h/",
            "http://h/{a",
            "http://h/a#b",
            "http://h h/",
        ] {
            assert!(Target::new(url, None).is_err(), "{url}");
        }
        assert!(Target::new("http://h", Some("a b")).is_err());
    }

    #[test]
    fn a_back_end_hears_of_the_client_from_us_alone() {
        let mut sent = HeaderMap::new();
        for (name, value) in [
            ("host", "evil"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-anything", "x"),
            ("forwarded", "for=1.2.3.4"),
            ("connection", "keep-alive, X-Secret"),
            ("x-secret", "x"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("authorization", "AWS4-HMAC-SHA256 x"),
            ("x-amz-date", "x"),
            ("accept", "a/b"),
        ] {
            sent.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let (body, none) = (Bytes::from_static(b"x"), HeaderMap::new());
        let sent = end_to_end(&sent);
        let asked = |authority: &'static str| HttpRequest {
            method: &Method::GET,
            path: "/",
            query: "",
            version: Version::HTTP_11,
            headers: &none,
            authority,
            body: &body,
            peer: Peer {
                address: "[::1]:9".parse().expect("an address"),
                is_tls: true,
            },
        };
        let out = Outgoing {
            headers: sent,
            query: String::new(),
            path: None,
        };
        let onward = Onward {
            is_signed: true,
            ..onward(&out, &[])
        };
        let target = Target::new("http://h/", Some("POST")).expect("a target");
        let odd = target
            .request(&asked("a\";for=1.2.3.4;b=\""), &onward)
            .expect("a request");
        assert_eq!(odd.headers()["forwarded"], "for=\"[::1]\";host=\"\";proto=https");
        let request = target.request(&asked("a.example:4566"), &onward).expect("a request");
        let mut found: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
            .collect();
        found.sort();
        assert_eq!(
            found,
            [
                "accept: a/b",
                "forwarded: for=\"[::1]\";host=\"a.example:4566\";proto=https",
                "via: 1.1 ephyra",
                "x-amzn-trace-id: Root=1",
                "x-forwarded-for: ::1",
                "x-forwarded-host: a.example:4566",
                "x-forwarded-port: 4566",
                "x-forwarded-proto: https",
            ]
        );
        assert_eq!(request.method(), Method::POST);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn no_parameter_leads_to_another_place(value in "\\PC{0,20}", query in "[a-z=&]{0,10}") {
            let out = outgoing(&query, None);
            let parameters = [("id".into(), Cow::Owned(value))];
            let target = Target::new("http://h:1/a/{id}/b", None).expect("a target");
            let uri = target.uri(&onward(&out, &parameters)).expect("an address");
            prop_assert_eq!(uri.authority().map(Authority::as_str), Some("h:1"));
            prop_assert!(uri.path().starts_with("/a/") && uri.path().ends_with("/b"));
            prop_assert_eq!(uri.path().split('/').count(), 4);
            prop_assert_eq!(uri.query().unwrap_or_default(), query);
        }

        #[test]
        fn no_address_makes_it_panic(url in "(http://)?[a-z{}/:?#@\\[\\]%]{0,30}") {
            let _either = Target::new(&url, None);
        }
    }
}
