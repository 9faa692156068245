//! What fuzzing feeds: what a person's documents, clients' requests and functions' answers hold, with bytes that may be anything. A target
//! panics where a parser breaks its promise.

use std::cell::Cell;

use bytes::Bytes;
use ephyra_wire::front::Peer;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use serde_json::Value;

use crate::answer::{self, HEADER_BYTES};
use crate::api::live::route::key::RouteKey;
use crate::api::openapi::{self, BasePath};
use crate::event::{v1, v2};
use crate::request::{HttpRequest, is_hop_by_hop};

/// A target, with its name.
pub type Target = (&'static str, fn(&[u8]));

/// The targets.
pub const TARGETS: &[Target] = &[
    ("gateway-answers", answers),
    ("gateway-events", events),
    ("gateway-openapi", documents),
    ("gateway-yaml", yaml),
    ("gateway-route-keys", route_keys),
];

/// What becomes a response is one that HTTP allows, with nothing of the connection in it.
fn answers(bytes: &[u8]) {
    let payload = Bytes::copy_from_slice(bytes);
    let plain = HeaderValue::from_static("text/plain");
    let check = |status: http::StatusCode, headers: &HeaderMap| {
        assert!((200..600).contains(&status.as_u16()));
        let size = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
        assert!(
            headers.iter().map(size).sum::<usize>() <= HEADER_BYTES + CONTENT_TYPE.as_str().len() + plain.len() + 16
        );
        assert!(
            headers
                .keys()
                .all(|name| !is_hop_by_hop(name) && *name != CONTENT_LENGTH)
        );
    };
    let answers = [
        answer::v2::read(&payload, plain.clone()),
        answer::v1::read(&payload, plain.clone()),
    ];
    for answer in answers.into_iter().flatten() {
        check(answer.status, &answer.headers);
    }
    if let Ok((status, headers)) = answer::v2::read_prelude(&payload, plain.clone()) {
        check(status, &headers);
    }
}

/// What becomes an event is JSON that says what came. Lines are the path, the query, headers, and behind an empty one the body.
fn events(bytes: &[u8]) {
    let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
    let mut next = || lines.next().unwrap_or_default();
    let (path, rest) = (next(), next());
    let mut lines = rest.splitn(2, |byte| *byte == b'\n');
    let (query, mut rest) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let (Ok(path), Ok(query)) = (std::str::from_utf8(path), std::str::from_utf8(query)) else {
        return;
    };
    let mut headers = HeaderMap::new();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            break;
        };
        let (name, value) = (
            HeaderName::from_bytes(&line[..colon]),
            HeaderValue::from_bytes(&line[colon + 1..]),
        );
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let body = Bytes::copy_from_slice(rest);
    let request = HttpRequest {
        method: &Method::POST,
        path,
        query,
        version: Version::HTTP_11,
        headers: &headers,
        authority: "localhost:4566",
        body: &body,
        peer: Peer {
            address: ([192, 0, 2, 7], 1234).into(),
            is_tls: false,
        },
    };
    let event: Value = serde_json::from_slice(&v2::event(&request, &OF_V2)).expect("JSON");
    assert_eq!(event["rawPath"], path);
    assert_eq!(event["rawQueryString"], query);
    let older: Value = serde_json::from_slice(&v1::event(&request, &OF_V1)).expect("JSON");
    assert_eq!(older["path"], path);
    assert_eq!(older["body"], event.get("body").cloned().unwrap_or_default());
    for event in [&event, &older] {
        assert_eq!(event["headers"]["x-forwarded-for"], "192.0.2.7");
        assert!(headers.contains_key(HOST) || event["headers"]["host"] == "localhost:4566");
    }
    assert_eq!(event["cookies"].is_array(), request.cookies().next().is_some());
    assert!(headers.contains_key(COOKIE) || event.get("cookies").is_none());
}

const OF_V2: v2::Context<'static> = v2::Context {
    account_id: "",
    api_id: "",
    domain_name: "",
    domain_prefix: "",
    route_key: "",
    stage: "",
    request_id: "",
    trace_id: "",
    time_ms: 0,
    authorizer: None,
    path_parameters: &[],
    stage_variables: None,
    keeps_cookie_header: true,
};

const OF_V1: v1::Context<'static> = v1::Context {
    account_id: "",
    api_id: "",
    domain_name: "",
    domain_prefix: "",
    resource: "",
    stage: "",
    request_id: "",
    trace_id: "",
    time_ms: 0,
    authorizer: None,
    path_parameters: &[],
    stage_variables: None,
};

/// What becomes an API has routes that lead to what is there, and none that was meant to be closed is open.
fn documents(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(document) = openapi::read(text) else {
        return;
    };
    for base_path in [BasePath::Ignore, BasePath::Prepend, BasePath::Split] {
        let count = Cell::new(0);
        let new_id = |length| {
            count.set(count.get() + 1);
            format!("{:0length$}", count.get())
        };
        let Ok(imported) = openapi::import(&document, base_path, &new_id) else {
            continue;
        };
        let parts = imported.parts;
        for route in &parts.routes {
            assert!(route.route_key.parse::<RouteKey>().is_ok());
            let has = |id: &str| parts.integrations.iter().any(|one| one.integration_id == id);
            assert!(route.target.is_none() || route.integration_id().is_some_and(has));
            let known = |id: &String| parts.authorizers.iter().any(|one| one.authorizer_id == *id);
            assert!(route.authorizer_id.as_ref().is_none_or(known));
        }
    }
}

/// What was read is written and read again as the same.
fn yaml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(document) = openapi::from_yaml(text) {
        let again = openapi::from_yaml(&openapi::to_yaml(&document));
        assert_eq!(again.ok(), Some(document));
    }
}

fn route_keys(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(RouteKey::Path { segments, .. }) = text.parse()
    {
        assert!(segments.len() <= text.len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn targets_hold(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "(openapi: 3.0.1\ninfo: \\{title: x\\}\n)?[ -~\n]{0,100}") {
            for (_, target) in TARGETS {
                target(&bytes);
                target(text.as_bytes());
            }
        }
    }
}
