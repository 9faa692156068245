//! Whose an address is: a function URL's, an HTTP API's, or none of ours.
//!
//! By host: `ID.lambda-url.REGION.…`, `ID.execute-api.REGION.…`, or a domain name that belongs to an API. For clients that cannot
//! resolve such names, by path: `/_url/ID/…` and `/_api/ID/STAGE/…` on any other host.

use std::borrow::Cow;

use http::request;

use crate::request::split_authority;

/// Paths that begin so are function URLs', whatever the host.
pub const URL_PREFIX: &str = "/_url/";
/// Paths that begin so are HTTP APIs', whatever the host.
pub const API_PREFIX: &str = "/_api/";

/// Whose an address is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door<'a> {
    /// A function URL's.
    Url(UrlAddress<'a>),
    /// An HTTP API's.
    Api(ApiAddress<'a>),
}

/// An address of a function URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlAddress<'a> {
    /// The URL's id, which need not exist; empty when the address is of another region.
    pub id: Cow<'a, str>,
    /// The rest of the path, as sent. Never empty.
    pub path: &'a str,
}

/// An address of an HTTP API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiAddress<'a> {
    /// What names the API.
    pub name: ApiName<'a>,
    /// The rest of the path, as sent: stage and all. Never empty.
    pub path: &'a str,
}

/// What names an HTTP API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiName<'a> {
    /// Its id, which need not exist; empty when the address is of another region.
    Id(Cow<'a, str>),
    /// A domain name, in lower case.
    Domain(Cow<'a, str>),
}

/// The host that a request names: HTTP/2's `:authority` or an absolute address before the header.
pub fn authority(head: &request::Parts) -> &str {
    match head.uri.authority() {
        Some(authority) => authority.as_str(),
        None => head
            .headers
            .get(http::header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default(),
    }
}

/// Whose a request's address is. `is_domain` tells whether a host, in lower case, belongs to an API.
pub fn find<'a>(head: &'a request::Parts, region: &str, is_domain: impl FnOnce(&str) -> bool) -> Option<Door<'a>> {
    // Neither an address without a path nor `OPTIONS *` has one.
    let path = match head.uri.path() {
        path if path.starts_with('/') => path,
        _ => "/",
    };
    let host = split_authority(authority(head)).0;
    if let Some((id, kind, place)) = labels(host) {
        let id = if place.eq_ignore_ascii_case(region) {
            lower(id)
        } else {
            Cow::Borrowed("")
        };
        if kind.eq_ignore_ascii_case("lambda-url") {
            return Some(Door::Url(UrlAddress { id, path }));
        }
        if kind.eq_ignore_ascii_case("execute-api") {
            let name = ApiName::Id(id);
            return Some(Door::Api(ApiAddress { name, path }));
        }
    }
    let host = lower(host);
    if is_domain(&host) {
        let name = ApiName::Domain(host);
        return Some(Door::Api(ApiAddress { name, path }));
    }
    if let Some(rest) = path.strip_prefix(URL_PREFIX) {
        let (id, path) = first_segment(rest);
        let id = Cow::Borrowed(id);
        return Some(Door::Url(UrlAddress { id, path }));
    }
    let (id, path) = first_segment(path.strip_prefix(API_PREFIX)?);
    let name = ApiName::Id(Cow::Borrowed(id));
    Some(Door::Api(ApiAddress { name, path }))
}

/// The first three labels of a host that has more than three.
fn labels(host: &str) -> Option<(&str, &str, &str)> {
    let (id, rest) = host.split_once('.')?;
    let (kind, rest) = rest.split_once('.')?;
    let (place, _) = rest.split_once('.')?;
    Some((id, kind, place))
}

/// Hosts are the same in all cases.
fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

/// Divides a path behind its first segment. The rest begins with a slash.
fn first_segment(path: &str) -> (&str, &str) {
    match path.find('/') {
        Some(at) => path.split_at(at),
        None => (path, "/"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(uri: &str, host: Option<&str>) -> request::Parts {
        let mut request = http::Request::builder().uri(uri);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn url<'a>(id: &'a str, path: &'a str) -> Option<Door<'a>> {
        Some(Door::Url(UrlAddress { id: id.into(), path }))
    }

    fn api<'a>(id: &'a str, path: &'a str) -> Option<Door<'a>> {
        let name = ApiName::Id(id.into());
        Some(Door::Api(ApiAddress { name, path }))
    }

    fn domain<'a>(domain: &'a str, path: &'a str) -> Option<Door<'a>> {
        let name = ApiName::Domain(domain.into());
        Some(Door::Api(ApiAddress { name, path }))
    }

    #[track_caller]
    fn check(uri: &str, host: &str, wanted: Option<Door<'_>>) {
        let head = head(uri, Some(host));
        assert_eq!(
            find(&head, "us-east-1", |host| host == "shop.example"),
            wanted,
            "{host} {uri}"
        );
    }

    #[test]
    fn hosts_go_before_paths() {
        check(
            "/a%20b",
            "abc.lambda-url.us-east-1.localhost:4566",
            url("abc", "/a%20b"),
        );
        check("/", "ABC.Lambda-URL.us-east-1.on.aws", url("abc", "/"));
        check("*", "abc.lambda-url.us-east-1.localhost", url("abc", "/"));
        check("/", "abc.lambda-url.us-west-2.localhost", url("", "/"));
        check("/_url/x", "abc.lambda-url.us-east-1.localhost", url("abc", "/_url/x"));
        check(
            "/dev/pets",
            "api1.execute-api.us-east-1.localhost:4566",
            api("api1", "/dev/pets"),
        );
        check("/_url/x/", "shop.example:80", domain("shop.example", "/_url/x/"));
        check("/a", "SHOP.example", domain("shop.example", "/a"));
    }

    #[test]
    fn paths_name_what_hosts_cannot() {
        check("/_url/abc/x/y", "127.0.0.1:4566", url("abc", "/x/y"));
        check("/_url/abc", "127.0.0.1:4566", url("abc", "/"));
        check("/_url//x", "[::1]:4566", url("", "/x"));
        check("/_api/api1/dev/", "localhost", api("api1", "/dev/"));
        check("/_api/api1", "localhost", api("api1", "/"));
    }

    #[test]
    fn all_else_is_awss() {
        for (uri, host) in [
            ("/2015-03-31/functions", "localhost:4566"),
            ("/", "lambda.us-east-1.localhost"),
            ("/", "abc.lambda-url.us-east-1"),
            ("/", "abc.lambda-urls.us-east-1.localhost"),
            ("/_urls/abc", "localhost"),
            ("/_url", "localhost"),
            ("/", ""),
        ] {
            check(uri, host, None);
        }
    }

    #[test]
    fn an_address_in_the_first_line_goes_before_the_header() {
        let head = head("http://abc.lambda-url.us-east-1.localhost/x?y", Some("localhost"));
        assert_eq!(find(&head, "us-east-1", |_| false), url("abc", "/x"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_address_is_somebodys_or_nobodys(path in "/[a-z_/.%]{0,20}", host in "[a-zA-Z.:\\[\\]-]{0,30}") {
            if let Ok(uri) = path.parse::<http::Uri>() {
                let head = head(&uri.to_string(), Some(&host));
                if let Some(Door::Url(UrlAddress { path, .. }) | Door::Api(ApiAddress { path, .. })) =
                    find(&head, "us-east-1", |_| host.len() % 3 == 0)
                {
                    prop_assert!(path.starts_with('/'));
                }
            }
        }
    }
}
