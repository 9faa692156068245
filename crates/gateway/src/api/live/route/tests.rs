//! Selection: AWS's own examples, and a naive model.

use http::Method;
use proptest::prelude::*;

use super::key::{RouteKey, Segment};
use super::path::Path;
use super::{RouteIndex, Routes};

fn routes(keys: &[&str]) -> Routes {
    Routes::new(keys.iter().map(|key| key.parse().expect("a route key")).collect())
}

#[track_caller]
fn check(keys: &[&str], request: &str, expected: Option<&str>) {
    let (method, path) = request.split_once(' ').expect("a method and a path");
    let found = routes(keys).select(&method.parse().expect("a method"), &Path::new(path));
    assert_eq!(found.map(|route| keys[route as usize]), expected, "{request}");
}

#[test]
fn aws_examples() {
    let keys = &[
        "GET /pets/dog/1",
        "GET /pets/dog/{id}",
        "GET /pets/{proxy+}",
        "ANY /{proxy+}",
        "$default",
    ];
    check(keys, "GET /pets/dog/1", Some("GET /pets/dog/1"));
    check(keys, "GET /pets/dog/2", Some("GET /pets/dog/{id}"));
    check(keys, "GET /pets/cat/1", Some("GET /pets/{proxy+}"));
    check(keys, "POST /test/5", Some("ANY /{proxy+}"));
    check(keys, "POST /pets/dog/1", Some("ANY /{proxy+}"));
    check(keys, "GET /", Some("$default"));
}

#[test]
fn methods_go_before_any_and_whole_paths_before_greedy_ones() {
    let keys = &["ANY /a", "GET /a", "GET /{x+}", "POST /{y}", "OPTIONS /{z+}"];
    check(keys, "GET /a", Some("GET /a"));
    check(keys, "PUT /a", Some("ANY /a"));
    check(keys, "POST /b", Some("POST /{y}"));
    check(keys, "GET /b", Some("GET /{x+}"));
    check(keys, "OPTIONS /b/c", Some("OPTIONS /{z+}"));
    check(keys, "DELETE /b", None);
    check(keys, "GET /", None);
}

#[test]
fn literals_go_before_variables_and_long_prefixes_before_short_ones() {
    let keys = &["GET /{a}/b", "GET /x/{c}", "GET /{p}/q/{r+}", "GET /x/{s+}"];
    check(keys, "GET /x/b", Some("GET /x/{c}"));
    check(keys, "GET /y/b", Some("GET /{a}/b"));
    check(keys, "GET /x/q/1", Some("GET /{p}/q/{r+}"));
    check(keys, "GET /x/z/1", Some("GET /x/{s+}"));
}

#[test]
fn slashes_count_and_escapes_do_not_hide_a_path() {
    let keys = &["GET /a", "GET /b/", "GET /{x}/y", "GET /c/{rest+}"];
    check(keys, "GET /a/", None);
    check(keys, "GET /b", None);
    check(keys, "GET /b/", Some("GET /b/"));
    check(keys, "GET //y", None);
    check(keys, "GET /c/", None);
    check(keys, "GET /%61", Some("GET /a"));
    check(keys, "GET /c%2Fd", None);
    check(keys, "GET /c/d%2F/", Some("GET /c/{rest+}"));
}

#[test]
fn parameters_are_decoded() {
    let routes = routes(&["GET /a/{id}/{rest+}"]);
    let path = Path::new("/a/x%20y/b/c%2Fd");
    let found: Vec<_> = routes.parameters(0, &path).collect();
    assert_eq!(found, [("id", "x y".to_owned()), ("rest", "b/c/d".to_owned())]);
    assert_eq!(routes.greedy_rest(0, &path), Some("b/c%2Fd"));
}

/// The order in words: all routes that match, the best first.
fn model(keys: &[RouteKey], method: &Method, segments: &[String]) -> Option<RouteIndex> {
    let rank = |key: &RouteKey| -> Option<(u8, usize, Vec<u8>, bool)> {
        let RouteKey::Path {
            method: of,
            segments: pattern,
        } = key
        else {
            return Some((2, 0, Vec::new(), false));
        };
        if of.as_ref().is_some_and(|of| of != method) {
            return None;
        }
        let greedy = matches!(pattern.last(), Some(Segment::Greedy(_)));
        let prefix = pattern.len() - usize::from(greedy);
        if segments.len() < prefix || (!greedy && segments.len() != prefix) {
            return None;
        }
        if greedy && segments[prefix..].join("/").is_empty() {
            return None;
        }
        let mut kinds = Vec::new();
        for (part, segment) in pattern[..prefix].iter().zip(segments) {
            match part {
                Segment::Literal(text) if text == segment => kinds.push(0),
                Segment::Parameter(_) if !segment.is_empty() => kinds.push(1),
                _ => return None,
            }
        }
        let length = if greedy { usize::MAX - prefix } else { 0 };
        Some((u8::from(greedy), length, kinds, of.is_none()))
    };
    let ranked = (0..).zip(keys).filter_map(|(index, key)| Some((rank(key)?, index)));
    ranked.min().map(|(_, index)| index)
}

fn key() -> impl Strategy<Value = String> {
    let segment = prop_oneof![3 => "[ab]", 2 => Just("{v}".to_owned()), 1 => Just(String::new())];
    let tail = prop_oneof![3 => Just(String::new()), 1 => Just("/{w+}".to_owned())];
    let method = prop_oneof![Just("GET"), Just("POST"), Just("ANY")];
    let path = (proptest::collection::vec(segment, 0..4), tail);
    (method, path).prop_map(|(method, (segments, tail))| {
        let mut text = String::new();
        for (index, segment) in segments.iter().enumerate() {
            text.push('/');
            text.push_str(&segment.replace("{v}", &format!("{{v{index}}}")));
        }
        text.push_str(&tail);
        let text = if text.is_empty() { "/".to_owned() } else { text };
        format!("{method} {text}")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn selection_is_what_the_model_says(
        mut keys in proptest::collection::vec(prop_oneof![12 => key(), 1 => Just("$default".to_owned())], 0..16),
        segments in proptest::collection::vec("[abc]?", 0..5),
        method in prop_oneof![Just(Method::GET), Just(Method::PUT), Just(Method::OPTIONS)],
    ) {
        keys.sort();
        keys.dedup();
        let keys: Vec<RouteKey> = keys.iter().filter_map(|key| key.parse().ok()).collect();
        let raw = format!("/{}", segments.join("/"));
        let path = Path::new(&raw);
        let segments: Vec<String> = (0..path.count()).map(|index| path.segment(index).to_owned()).collect();
        let expected = model(&keys, &method, &segments);
        prop_assert_eq!(Routes::new(keys).select(&method, &path), expected);
    }

    #[test]
    fn no_path_makes_it_panic(raw in "[/%a-f0-9.ä]{0,60}") {
        let routes = routes(&["GET /a/{b}", "GET /{c+}", "ANY /a/{d}/{e+}"]);
        let path = Path::new(&raw);
        if let Some(route) = routes.select(&Method::GET, &path) {
            prop_assert!(routes.parameters(route, &path).all(|(_, value)| !value.is_empty()));
        }
    }
}
