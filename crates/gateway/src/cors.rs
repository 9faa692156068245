//! Cross-origin resource sharing: which pages of other origins may call.
//!
//! Source: <https://fetch.spec.whatwg.org/#http-cors-protocol>.

use ephyra_core::url::Cors;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// Stands for all origins, methods or headers.
const ALL: &str = "*";

/// Whether a browser asks what it may send, so that no function is called.
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS && headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Sets what a browser is told with an answer to a page of another origin. What the function said of it is taken away: the
/// configuration decides.
pub fn apply(cors: &Cors, request: &HeaderMap, answer: &mut HeaderMap) {
    for name in [
        ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_ALLOW_CREDENTIALS,
        ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_EXPOSE_HEADERS,
        ACCESS_CONTROL_MAX_AGE,
    ] {
        answer.remove(name);
    }
    let is_open = cors.allow_origins.iter().any(|allowed| allowed == ALL);
    // With credentials a browser does not take `*` for an answer.
    let is_same_for_all = is_open && !cors.allow_credentials;
    if !is_same_for_all {
        answer.append(VARY, HeaderValue::from_static("Origin"));
    }
    let Some(origin) = request.get(ORIGIN).filter(|origin| is_open || allows(cors, origin)) else {
        return;
    };
    let origin = if is_same_for_all {
        HeaderValue::from_static(ALL)
    } else {
        origin.clone()
    };
    answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    if cors.allow_credentials {
        answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    list(answer, ACCESS_CONTROL_EXPOSE_HEADERS, &cors.expose_headers);
}

/// The headers of the answer to a preflight.
pub fn preflight(cors: &Cors, request: &HeaderMap) -> HeaderMap {
    let mut answer = HeaderMap::new();
    apply(cors, request, &mut answer);
    answer.remove(ACCESS_CONTROL_EXPOSE_HEADERS);
    if answer.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        list(&mut answer, ACCESS_CONTROL_ALLOW_METHODS, &cors.allow_methods);
        list(&mut answer, ACCESS_CONTROL_ALLOW_HEADERS, &cors.allow_headers);
        if cors.max_age > 0 {
            answer.insert(ACCESS_CONTROL_MAX_AGE, cors.max_age.into());
        }
    }
    answer
}

/// Whether an origin is among those that are named. A host may begin with `*.`, or be `*` alone.
fn allows(cors: &Cors, origin: &HeaderValue) -> bool {
    let Ok(origin) = origin.to_str() else {
        return false;
    };
    cors.allow_origins.iter().any(|allowed| match allowed.split_once("*.") {
        Some((scheme, domain)) => {
            let host = origin
                .get(..scheme.len())
                .filter(|start| start.eq_ignore_ascii_case(scheme))
                .map(|_| &origin[scheme.len()..]);
            host.and_then(|host| host.split_at_checked(host.len().checked_sub(domain.len())?))
                .is_some_and(|(label, end)| end.eq_ignore_ascii_case(domain) && label.len() > 1 && label.ends_with('.'))
        }
        None => match allowed.strip_suffix("://*") {
            Some(scheme) => origin
                .split_once("://")
                .is_some_and(|(of, _)| of.eq_ignore_ascii_case(scheme)),
            None => origin.eq_ignore_ascii_case(allowed),
        },
    })
}

/// Sets a header to a list, if there is anything in it.
fn list(headers: &mut HeaderMap, name: HeaderName, values: &[String]) {
    if values.is_empty() {
        return;
    }
    // They were checked when they were configured.
    if let Ok(value) = HeaderValue::try_from(values.join(",")) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origins: &[&str]) -> Cors {
        Cors {
            allow_origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
            allow_methods: vec!["GET".to_owned(), "POST".to_owned()],
            allow_headers: vec!["x-a".to_owned()],
            expose_headers: vec!["x-b".to_owned()],
            max_age: 60,
            allow_credentials: false,
        }
    }

    fn from(origin: &str) -> HeaderMap {
        HeaderMap::from_iter([
            (ORIGIN, HeaderValue::try_from(origin).unwrap()),
            (ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("POST")),
        ])
    }

    #[track_caller]
    fn check(headers: &HeaderMap, wanted: &[(&str, &str)]) {
        let mut sent: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        sent.sort_unstable();
        assert_eq!(sent, wanted);
    }

    #[test]
    fn a_preflight_is_told_what_is_allowed() {
        assert!(is_preflight(&Method::OPTIONS, &from("https://a.example")));
        assert!(!is_preflight(&Method::GET, &from("https://a.example")));
        assert!(!is_preflight(&Method::OPTIONS, &HeaderMap::new()));
        check(
            &preflight(&cors(&["*"]), &from("https://a.example")),
            &[
                ("access-control-allow-headers", "x-a"),
                ("access-control-allow-methods", "GET,POST"),
                ("access-control-allow-origin", "*"),
                ("access-control-max-age", "60"),
            ],
        );
        check(
            &preflight(&cors(&["https://b.example"]), &from("https://a.example")),
            &[("vary", "Origin")],
        );
    }

    #[test]
    fn the_configuration_decides_and_not_the_function() {
        let mut answer = HeaderMap::from_iter([
            (
                ACCESS_CONTROL_ALLOW_ORIGIN,
                HeaderValue::from_static("https://c.example"),
            ),
            (ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("1")),
        ]);
        let mut cors = cors(&["https://A.example"]);
        cors.allow_credentials = true;
        apply(&cors, &from("https://a.example"), &mut answer);
        check(
            &answer,
            &[
                ("access-control-allow-credentials", "true"),
                ("access-control-allow-origin", "https://a.example"),
                ("access-control-expose-headers", "x-b"),
                ("vary", "Origin"),
            ],
        );
        let mut answer = HeaderMap::new();
        apply(&cors, &HeaderMap::new(), &mut answer);
        check(&answer, &[("vary", "Origin")]);
        cors.allow_origins = vec!["*".to_owned()];
        let mut answer = HeaderMap::new();
        apply(&cors, &from("https://x.example"), &mut answer);
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_ORIGIN], "https://x.example");
    }

    #[test]
    fn an_origin_may_be_any_of_a_scheme() {
        let cors = cors(&["https://*"]);
        for (origin, is_allowed) in [
            ("https://a.example:1", true),
            ("http://a.example", false),
            ("https", false),
        ] {
            assert_eq!(
                allows(&cors, &HeaderValue::try_from(origin).unwrap()),
                is_allowed,
                "{origin}"
            );
        }
    }

    #[test]
    fn an_origin_may_be_any_below_a_domain() {
        let cors = cors(&["https://*.example.com", "http://localhost:3000"]);
        for (origin, is_allowed) in [
            ("https://a.example.com", true),
            ("https://a.b.EXAMPLE.com", true),
            ("https://example.com", false),
            ("https://.example.com", false),
            ("https://aexample.com", false),
            ("http://a.example.com", false),
            ("https://a.example.com.evil", false),
            ("http://localhost:3000", true),
            ("http://localhost", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(
                allows(&cors, &HeaderValue::try_from(origin).unwrap()),
                is_allowed,
                "{origin}"
            );
        }
    }
}
