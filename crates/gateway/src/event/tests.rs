//! Events, held against those that AWS was seen to send.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ephyra_wire::front::Peer;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Authorizer, Iam, is_text, v1, v2};
use crate::request::HttpRequest;

/// A request that owns its parts.
struct Sent {
    method: Method,
    path: String,
    query: String,
    version: Version,
    headers: HeaderMap,
    authority: String,
    body: Bytes,
    is_tls: bool,
}

fn sent(method: Method, path: &str, query: &str, headers: &[(&'static str, &str)], body: &[u8]) -> Sent {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    Sent {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        version: Version::HTTP_11,
        headers: map,
        authority: "ID.lambda-url.us-west-2.localhost:4566".to_owned(),
        body: Bytes::copy_from_slice(body),
        is_tls: true,
    }
}

impl Sent {
    fn request(&self) -> HttpRequest<'_> {
        HttpRequest {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            version: self.version,
            headers: &self.headers,
            authority: &self.authority,
            body: &self.body,
            peer: Peer {
                address: "[::ffff:192.0.2.7]:1234".parse().unwrap(),
                is_tls: self.is_tls,
            },
        }
    }

    fn v2(&self, context: &v2::Context<'_>) -> Value {
        serde_json::from_slice(&v2::event(&self.request(), context)).unwrap()
    }

    fn v1(&self, context: &v1::Context<'_>) -> Value {
        serde_json::from_slice(&v1::event(&self.request(), context)).unwrap()
    }
}

const OF_URL: v2::Context<'static> = v2::Context {
    account_id: "anonymous",
    api_id: "ID",
    domain_name: "ID.lambda-url.us-west-2.on.aws",
    domain_prefix: "ID",
    route_key: "$default",
    stage: "$default",
    request_id: "28d04d7e-7f0b-4521-9484-f7012b07cb68",
    trace_id: "Root=1-643ec28d-5503dc7274559e68706dae64",
    time_ms: 1_681_834_637_081,
    authorizer: None,
    path_parameters: &[],
    stage_variables: None,
    keeps_cookie_header: true,
};

const OF_API: v2::Context<'static> = v2::Context {
    account_id: "123456789012",
    domain_name: "api-id.execute-api.us-west-2.amazonaws.com",
    keeps_cookie_header: false,
    ..OF_URL
};

const OF_API_V1: v1::Context<'static> = v1::Context {
    account_id: "123456789012",
    api_id: "id",
    domain_name: "id.execute-api.us-east-1.amazonaws.com",
    domain_prefix: "id",
    resource: "/my/{path}",
    stage: "$default",
    request_id: "id=",
    trace_id: "Root=1-2-3",
    time_ms: 1_583_349_317_135,
    authorizer: None,
    path_parameters: &[],
    stage_variables: None,
};

const SIGNED: Authorizer<'static> = Authorizer::Iam(Iam {
    access_key: "AKIA",
    account_id: "111122223333",
    user_arn: "arn:aws:iam::111122223333:user/example",
    user_id: "AIDA",
});

/// As aws-lambda-go's tests recorded it from a function URL (lambdaurl/testdata).
#[test]
fn a_signed_request_to_a_url() {
    let sent = sent(
        Method::POST,
        "/hello",
        "hello=world&foo=bar",
        &[
            ("accept", "*/*"),
            ("content-length", "18"),
            ("content-type", "application/json"),
            ("cookie", "foo=bar; hello=hello"),
            ("header2", "h1"),
            ("authorization", "AWS4-HMAC-SHA256 …"),
            ("header2", "h2"),
            ("host", "ID.lambda-url.us-west-2.localhost:4566"),
            ("user-agent", "python-requests/2.28.2"),
            ("x-amz-date", "20230418T161716Z"),
        ],
        br#"{"hello": "world"}"#,
    );
    let context = v2::Context {
        account_id: "111122223333",
        authorizer: Some(SIGNED),
        ..OF_URL
    };
    let wanted = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/hello",
        "rawQueryString": "hello=world&foo=bar",
        "cookies": ["foo=bar", "hello=hello"],
        "headers": {
            "accept": "*/*",
            "content-length": "18",
            "content-type": "application/json",
            "cookie": "foo=bar; hello=hello",
            "header2": "h1,h2",
            "host": "ID.lambda-url.us-west-2.localhost:4566",
            "user-agent": "python-requests/2.28.2",
            "x-amz-date": "20230418T161716Z",
            "x-amzn-trace-id": "Root=1-643ec28d-5503dc7274559e68706dae64",
            "x-forwarded-for": "192.0.2.7",
            "x-forwarded-port": "4566",
            "x-forwarded-proto": "https",
        },
        "queryStringParameters": { "foo": "bar", "hello": "world" },
        "requestContext": {
            "accountId": "111122223333",
            "apiId": "ID",
            "authorizer": { "iam": {
                "accessKey": "AKIA",
                "accountId": "111122223333",
                "callerId": "AIDA",
                "cognitoIdentity": null,
                "principalOrgId": null,
                "userArn": "arn:aws:iam::111122223333:user/example",
                "userId": "AIDA",
            } },
            "domainName": "ID.lambda-url.us-west-2.on.aws",
            "domainPrefix": "ID",
            "http": {
                "method": "POST",
                "path": "/hello",
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.7",
                "userAgent": "python-requests/2.28.2",
            },
            "requestId": "28d04d7e-7f0b-4521-9484-f7012b07cb68",
            "routeKey": "$default",
            "stage": "$default",
            "time": "18/Apr/2023:16:17:17 +0000",
            "timeEpoch": 1_681_834_637_081_i64,
        },
        "body": "{\"hello\": \"world\"}",
        "isBase64Encoded": false,
    });
    assert_eq!(sent.v2(&context), wanted);
}

#[test]
fn a_browsers_request_has_no_members_that_say_nothing() {
    let event = sent(
        Method::GET,
        "/",
        "",
        &[("host", "x"), ("authorization", "Bearer t")],
        b"",
    )
    .v2(&OF_URL);
    let members: Vec<&String> = event.as_object().unwrap().keys().collect();
    let wanted = [
        "headers",
        "isBase64Encoded",
        "rawPath",
        "rawQueryString",
        "requestContext",
        "routeKey",
        "version",
    ];
    assert_eq!(members, wanted);
    assert_eq!(event["headers"]["authorization"], "Bearer t");
    assert!(event["requestContext"].get("authorizer").is_none());
}

#[test]
fn nothing_of_a_proxy_or_the_connection_is_taken_from_a_client() {
    let sent = sent(
        Method::GET,
        "/",
        "",
        &[
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-proto", "gopher"),
            ("forwarded", "for=6.6.6.6"),
            ("x-amzn-tls-version", "TLSv9"),
            ("connection", "keep-alive, x-a"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("x-a", "b"),
        ],
        b"",
    );
    for event in [sent.v2(&OF_URL), sent.v1(&OF_API_V1)] {
        let wanted = json!({
            "host": "ID.lambda-url.us-west-2.localhost:4566",
            "x-a": "b",
            "x-amzn-trace-id": event["headers"]["x-amzn-trace-id"],
            "x-forwarded-for": "192.0.2.7",
            "x-forwarded-port": "4566",
            "x-forwarded-proto": "https",
        });
        assert_eq!(event["headers"], wanted);
    }
}

#[test]
fn cookies_of_an_api_are_no_header() {
    let sent = sent(
        Method::GET,
        "/",
        "",
        &[("cookie", "a=1;b=2 ;; c"), ("cookie", "d=4")],
        b"",
    );
    let event = sent.v2(&OF_API);
    assert_eq!(event["cookies"], json!(["a=1", "b=2", "c", "d=4"]));
    assert!(event["headers"].get("cookie").is_none());
    assert_eq!(sent.v2(&OF_URL)["headers"]["cookie"], "a=1;b=2 ;; c; d=4");
}

#[test]
fn parameters_of_one_name_are_joined() {
    for (query, wanted) in [
        ("a=1&a=2&b=%20&c", json!({ "a": "1,2", "b": " ", "c": "" })),
        ("b=2&a=1&b=+", json!({ "a": "1", "b": "2, " })),
        ("%61=1&a=2", json!({ "a": "1,2" })),
        ("a=b=c&=d&&", json!({ "": "d", "a": "b=c" })),
        ("%22%0a=%5c", json!({ "\"\n": "\\" })),
        ("&", Value::Null),
        ("", Value::Null),
    ] {
        let event = sent(Method::GET, "/", query, &[], b"").v2(&OF_URL);
        assert_eq!(
            event.get("queryStringParameters").unwrap_or(&Value::Null),
            &wanted,
            "{query}"
        );
        assert_eq!(event["rawQueryString"], query);
    }
}

#[test]
fn bodies_are_text_by_type_and_bytes() {
    for (content_type, wanted) in [
        ("text/plain", true),
        ("TEXT/html; charset=utf-8", true),
        ("application/json", true),
        ("application/json;charset=UTF-8", true),
        ("application/xml", true),
        ("application/javascript", true),
        ("application/x-www-form-urlencoded", false),
        ("multipart/form-data; boundary=x", false),
        ("application/vnd.api+json", false),
        ("application/octet-stream", false),
        ("text", false),
        ("", false),
    ] {
        assert_eq!(is_text(content_type), wanted, "{content_type}");
    }
    let check = |headers: &[(&'static str, &str)], body: &[u8], text: &str, is_base64: bool| {
        let event = sent(Method::POST, "/", "", headers, body).v2(&OF_URL);
        assert_eq!(event["body"], text);
        assert_eq!(event["isBase64Encoded"], is_base64);
        assert_eq!(event["headers"]["content-length"], body.len().to_string());
    };
    check(
        &[("content-type", "text/plain")],
        "ä\"\u{1}".as_bytes(),
        "ä\"\u{1}",
        false,
    );
    check(&[("content-type", "text/plain")], b"\xff", "/w==", true);
    check(&[("content-type", "image/png")], b"abc", "YWJj", true);
    check(&[], b"abc", "YWJj", true);
    let zipped = [("content-type", "application/json"), ("content-encoding", "gzip")];
    check(&zipped, b"{}", "e30=", true);
}

#[test]
fn what_authorizers_say_of_a_caller() {
    let scopes = ["a".to_owned(), "b".to_owned()];
    let jwt = |scopes| Authorizer::Jwt {
        claims: r#"{"sub":"me"}"#,
        scopes,
    };
    for (authorizer, of_v2, of_v1) in [
        (None, Value::Null, json!({ "claims": null, "scopes": null })),
        (
            Some(jwt(None)),
            json!({ "jwt": { "claims": { "sub": "me" }, "scopes": null } }),
            json!({ "claims": { "sub": "me" }, "scopes": null }),
        ),
        (
            Some(jwt(Some(&scopes))),
            json!({ "jwt": { "claims": { "sub": "me" }, "scopes": ["a", "b"] } }),
            json!({ "claims": { "sub": "me" }, "scopes": ["a", "b"] }),
        ),
        (
            Some(Authorizer::Lambda(r#"{"key":1}"#)),
            json!({ "lambda": { "key": 1 } }),
            json!({ "key": 1 }),
        ),
    ] {
        let sent = sent(Method::GET, "/", "", &[], b"");
        let event = sent.v2(&v2::Context { authorizer, ..OF_API });
        assert_eq!(event["requestContext"]["authorizer"], of_v2);
        let event = sent.v1(&v1::Context {
            authorizer,
            ..OF_API_V1
        });
        assert_eq!(event["requestContext"]["authorizer"], of_v1);
    }
}

#[test]
fn an_event_of_format_1() {
    let sent = sent(
        Method::POST,
        "/my/path",
        "b=value&a=value1&a=value2",
        &[
            ("host", "x"),
            ("header2", "value1"),
            ("header2", "value2"),
            ("user-agent", "agent"),
            ("cookie", "c=d"),
        ],
        b"",
    );
    let parameters = [(Cow::Borrowed("path"), Cow::Borrowed("path"))];
    let context = v1::Context {
        authorizer: Some(SIGNED),
        path_parameters: &parameters,
        stage_variables: Some(r#"{"v":"1"}"#),
        ..OF_API_V1
    };
    let wanted = json!({
        "version": "1.0",
        "resource": "/my/{path}",
        "path": "/my/path",
        "httpMethod": "POST",
        "headers": {
            "cookie": "c=d",
            "header2": "value2",
            "host": "x",
            "user-agent": "agent",
            "x-amzn-trace-id": "Root=1-2-3",
            "x-forwarded-for": "192.0.2.7",
            "x-forwarded-port": "4566",
            "x-forwarded-proto": "https",
        },
        "multiValueHeaders": {
            "cookie": ["c=d"],
            "header2": ["value1", "value2"],
            "host": ["x"],
            "user-agent": ["agent"],
            "x-amzn-trace-id": ["Root=1-2-3"],
            "x-forwarded-for": ["192.0.2.7"],
            "x-forwarded-port": ["4566"],
            "x-forwarded-proto": ["https"],
        },
        "queryStringParameters": { "a": "value2", "b": "value" },
        "multiValueQueryStringParameters": { "a": ["value1", "value2"], "b": ["value"] },
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "id",
            "authorizer": { "claims": null, "scopes": null },
            "domainName": "id.execute-api.us-east-1.amazonaws.com",
            "domainPrefix": "id",
            "extendedRequestId": "id=",
            "httpMethod": "POST",
            "identity": {
                "accessKey": "AKIA",
                "accountId": "111122223333",
                "caller": "AIDA",
                "cognitoAuthenticationProvider": null,
                "cognitoAuthenticationType": null,
                "cognitoIdentityId": null,
                "cognitoIdentityPoolId": null,
                "principalOrgId": null,
                "sourceIp": "192.0.2.7",
                "user": "AIDA",
                "userAgent": "agent",
                "userArn": "arn:aws:iam::111122223333:user/example",
            },
            "path": "/my/path",
            "protocol": "HTTP/1.1",
            "requestId": "id=",
            "requestTime": "04/Mar/2020:19:15:17 +0000",
            "requestTimeEpoch": 1_583_349_317_135_i64,
            "resourceId": null,
            "resourcePath": "/my/{path}",
            "stage": "$default",
        },
        "pathParameters": { "path": "path" },
        "stageVariables": { "v": "1" },
        "body": null,
        "isBase64Encoded": false,
    });
    assert_eq!(sent.v1(&context), wanted);
    let bare = super::tests::sent(Method::GET, "/", "", &[], b"").v1(&OF_API_V1);
    for member in [
        "queryStringParameters",
        "multiValueQueryStringParameters",
        "pathParameters",
        "stageVariables",
        "body",
    ] {
        assert_eq!(bare[member], Value::Null, "{member}");
    }
    assert_eq!(bare["requestContext"]["identity"]["accessKey"], Value::Null);
}

#[test]
fn what_a_route_and_a_stage_add() {
    let parameters = [
        (Cow::Borrowed("proxy"), Cow::Borrowed("a\"b/c")),
        (Cow::Borrowed("id"), Cow::Borrowed("1")),
    ];
    let context = v2::Context {
        path_parameters: &parameters,
        stage_variables: Some(r#"{"a":"b"}"#),
        ..OF_API
    };
    let event = sent(Method::GET, "/", "", &[], b"").v2(&context);
    assert_eq!(event["pathParameters"], json!({ "proxy": "a\"b/c", "id": "1" }));
    assert_eq!(event["stageVariables"], json!({ "a": "b" }));
}

fn headers() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    // Few names, so that they repeat.
    proptest::collection::vec(
        (
            "x-[ab]|cookie|Accept|x-forwarded-for",
            "[\\x20-\\x7e\\x{80}-\\x{ff}]{0,12}",
        ),
        0..8,
    )
    .prop_map(|pairs| {
        pairs
            .into_iter()
            .map(|(name, value)| (name, value.into_bytes()))
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_request_makes_an_event_that_says_it(
        path in "/[\\PC]{0,20}",
        query in "([a-c%=&+]|%4[0-9]){0,24}",
        headers in headers(),
        body in proptest::collection::vec(any::<u8>(), 0..40),
        is_text in any::<bool>(),
    ) {
        let mut map = HeaderMap::new();
        for (name, value) in &headers {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                map.append(HeaderName::try_from(name.as_str()).unwrap(), value);
            }
        }
        if is_text {
            map.insert("content-type", HeaderValue::from_static("text/plain"));
        }
        let mut sent = sent(Method::PUT, &path, &query, &[], &body);
        sent.headers = map;
        let event = sent.v2(&OF_URL);
        prop_assert_eq!(&event["rawPath"], &path);
        prop_assert_eq!(&event["rawQueryString"], &query);
        let text = event.get("body").map_or("", |body| body.as_str().unwrap());
        let arrived = if event["isBase64Encoded"] == true { STANDARD.decode(text).unwrap() } else { text.into() };
        prop_assert_eq!(&arrived, &body);
        let format_1 = sent.v1(&OF_API_V1);
        prop_assert_eq!(format_1.get("body"), Some(event.get("body").unwrap_or(&Value::Null)));
        // Format 2.0 joins what format 1.0 lists.
        for (name, joined) in event["headers"].as_object().unwrap().iter().filter(|(name, _)| !name.starts_with("x-amzn")) {
            let listed = format_1["multiValueHeaders"][name].as_array().unwrap();
            let values: Vec<&str> = listed.iter().map(|value| value.as_str().unwrap()).collect();
            prop_assert_eq!(joined, &values.join(if name == "cookie" { "; " } else { "," }));
            prop_assert_eq!(format_1["headers"][name].as_str(), values.last().copied());
        }
        let joined = event.get("queryStringParameters");
        let listed = format_1["multiValueQueryStringParameters"].as_object();
        prop_assert_eq!(joined.map(|map| map.as_object().unwrap().len()), listed.map(serde_json::Map::len));
        for (name, values) in listed.into_iter().flatten() {
            let values: Vec<&str> = values.as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect();
            prop_assert_eq!(&joined.unwrap()[name], &values.join(","));
        }
    }
}
