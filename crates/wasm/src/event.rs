//! How an event becomes an HTTP request, and a response an answer: pure. SPEC.md has the rules in words.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use http::{Method, Request, StatusCode, Uri};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// The content type of a streamed answer that begins with its status and headers.
pub const INTEGRATION_RESPONSE: &str = "application/vnd.awslambda.http-integration-response";
/// What ends the status and headers of a streamed answer.
const PRELUDE_END: [u8; 8] = [0; 8];
/// The host of a request whose event names none.
const NO_HOST: &str = "lambda.invalid";

/// Where an event came from, which says what its answer looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Of a function URL or an API Gateway HTTP API, format 2.0.
    Http,
    /// Anything else.
    Invoke,
}

/// Why a response is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// Its status says so, where an invocation is not HTTP.
    #[error("the component answered with status {status}: {text}")]
    Status {
        /// The status.
        status: u16,
        /// The beginning of its body.
        text: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    version: Option<&'a str>,
    raw_path: Option<String>,
    raw_query_string: Option<String>,
    #[serde(default)]
    cookies: Vec<String>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    #[serde(borrow)]
    request_context: Option<Context<'a>>,
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Context<'a> {
    #[serde(borrow)]
    http: Option<ContextHttp<'a>>,
    domain_name: Option<String>,
}

#[derive(Deserialize)]
struct ContextHttp<'a> {
    method: &'a str,
}

/// The request that an event stands for.
pub fn request(payload: &Bytes, request_id: &str, trace_id: Option<&str>) -> (Origin, Request<Bytes>) {
    let (origin, mut request) = match http_request(payload) {
        Some(request) => (Origin::Http, request),
        None => (Origin::Invoke, plain_request(payload)),
    };
    let headers = request.headers_mut();
    for (name, value) in [("x-amzn-requestid", Some(request_id)), ("x-amzn-trace-id", trace_id)] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    (origin, request)
}

fn plain_request(payload: &Bytes) -> Request<Bytes> {
    let mut request = Request::new(payload.clone());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("/");
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_static(NO_HOST));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(payload.len()));
    request
}

/// `None` when it is no event of format 2.0.
fn http_request(payload: &[u8]) -> Option<Request<Bytes>> {
    let event: Event<'_> = serde_json::from_slice(payload).ok()?;
    let context = event.request_context?;
    let path = event.raw_path.filter(|path| path.starts_with('/'))?;
    if event.version != Some("2.0") {
        return None;
    }
    let body = match (event.body, event.is_base64_encoded) {
        (None, _) => Bytes::new(),
        (Some(body), false) => Bytes::from(body),
        (Some(body), true) => STANDARD.decode(body).ok()?.into(),
    };
    let path = encoded(&path);
    let target = match event.raw_query_string.filter(|query| !query.is_empty()) {
        Some(query) => format!("{path}?{}", encoded(&query)),
        None => path,
    };
    let mut request = Request::new(body);
    *request.method_mut() = context.http?.method.parse().ok()?;
    *request.uri_mut() = target.parse().ok()?;
    let length = request.body().len();
    let headers = request.headers_mut();
    for (name, value) in event.headers {
        headers.append(name.parse::<HeaderName>().ok()?, text(&value)?);
    }
    if !event.cookies.is_empty() && !headers.contains_key(COOKIE) {
        headers.insert(COOKIE, text(&event.cookies.join("; "))?);
    }
    if !headers.contains_key(HOST) {
        let host = context.domain_name.unwrap_or_else(|| NO_HOST.to_owned());
        headers.insert(HOST, text(&host)?);
    }
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    Some(request)
}

/// A header's value. It may be any text without line ends: what a stranger sends is never to make his request something else.
fn text(value: &str) -> Option<HeaderValue> {
    HeaderValue::from_bytes(value.as_bytes()).ok()
}

/// A path or query as it can stand in a request: HTTP APIs give it to functions decoded.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'!' | b'$'..=b';' | b'=' | b'?' | b'@'..=b'Z' | b'[' | b']' | b'_' | b'a'..=b'z' | b'|' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => {
                let digit = |value: u8| char::from(b"0123456789ABCDEF"[usize::from(value)]);
                encoded.extend(['%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
    encoded
}

/// The answer that a whole response stands for.
pub fn answer(
    origin: Origin,
    status: StatusCode,
    headers: &HeaderMap,
    body: Vec<u8>,
) -> Result<Vec<u8>, ResponseError> {
    match origin {
        Origin::Http => {
            let mut document = described(status, headers);
            match String::from_utf8(body) {
                Ok(text) => {
                    document.insert("body".to_owned(), text.into());
                    document.insert("isBase64Encoded".to_owned(), false.into());
                }
                Err(error) => {
                    document.insert("body".to_owned(), STANDARD.encode(error.as_bytes()).into());
                    document.insert("isBase64Encoded".to_owned(), true.into());
                }
            }
            Ok(Value::Object(document).to_string().into_bytes())
        }
        Origin::Invoke if !status.is_success() => Err(ResponseError::Status {
            status: status.as_u16(),
            text: String::from_utf8_lossy(&body[..body.len().min(1024)]).into_owned(),
        }),
        Origin::Invoke => Ok(as_json(body)),
    }
}

/// A body as JSON: as it is, when it is; else as a string, of base64 when it is no text.
fn as_json(body: Vec<u8>) -> Vec<u8> {
    if body.is_empty() {
        return b"null".to_vec();
    }
    if serde_json::from_slice::<&RawValue>(&body).is_ok() {
        return body;
    }
    let text = String::from_utf8(body).unwrap_or_else(|error| STANDARD.encode(error.as_bytes()));
    Value::String(text).to_string().into_bytes()
}

/// The content type and the first bytes of a streamed answer.
pub fn stream_head(origin: Origin, status: StatusCode, headers: &HeaderMap) -> (String, Bytes) {
    match origin {
        Origin::Http => {
            let mut prelude = Value::Object(described(status, headers)).to_string().into_bytes();
            prelude.extend_from_slice(&PRELUDE_END);
            (INTEGRATION_RESPONSE.to_owned(), prelude.into())
        }
        Origin::Invoke => {
            let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            (
                content_type.unwrap_or("application/octet-stream").to_owned(),
                Bytes::new(),
            )
        }
    }
}

fn described(status: StatusCode, headers: &HeaderMap) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut cookies = Vec::new();
    for name in headers.keys() {
        let values = headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()));
        if name == SET_COOKIE {
            cookies.extend(values.map(|value| Value::String(value.into_owned())));
        } else {
            let joined = values.collect::<Vec<_>>().join(",");
            fields.insert(name.as_str().to_owned(), joined.into());
        }
    }
    let mut document = Map::new();
    document.insert("statusCode".to_owned(), json!(status.as_u16()));
    document.insert("headers".to_owned(), Value::Object(fields));
    if !cookies.is_empty() {
        document.insert("cookies".to_owned(), Value::Array(cookies));
    }
    document
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(changes: Value) -> Bytes {
        let mut event = json!({
            "version": "2.0", "rawPath": "/a/b", "rawQueryString": "x=1&y=2", "cookies": ["a=1", "b=2"],
            "headers": { "content-type": "text/plain", "host": "example.org" },
            "requestContext": { "http": { "method": "PUT" }, "domainName": "other.example.org" },
            "body": "aGVsbG8=", "isBase64Encoded": true,
        });
        for (name, value) in changes.as_object().unwrap() {
            event[name] = value.clone();
        }
        event.to_string().into()
    }

    #[test]
    fn an_event_of_format_2_is_its_request() {
        let (origin, request) = request(&event(json!({})), "id", Some("trace"));
        assert_eq!(origin, Origin::Http);
        assert_eq!(
            (request.method(), request.uri().to_string().as_str()),
            (&Method::PUT, "/a/b?x=1&y=2")
        );
        let headers = request.headers();
        for (name, want) in [
            ("host", "example.org"),
            ("cookie", "a=1; b=2"),
            ("content-length", "5"),
            ("content-type", "text/plain"),
            ("x-amzn-requestid", "id"),
            ("x-amzn-trace-id", "trace"),
        ] {
            assert_eq!(headers[name], want, "{name}");
        }
        assert_eq!(request.body(), "hello");
    }

    #[test]
    fn what_a_stranger_sends_is_a_request() {
        for (changes, target) in [
            (
                json!({ "rawPath": "/ä b\"#%", "rawQueryString": "" }),
                "/%C3%A4%20b%22%23%",
            ),
            (
                json!({ "rawPath": "/a%20b", "rawQueryString": "x=%20&{}" }),
                "/a%20b?x=%20&%7B%7D",
            ),
            (
                json!({ "headers": { "x-a": "ä\u{fffd}\t", "host": "ü" }, "cookies": ["ö"] }),
                "/a/b?x=1&y=2",
            ),
        ] {
            let (origin, request) = request(&event(changes.clone()), "id", None);
            assert_eq!(
                (origin, request.uri().to_string().as_str()),
                (Origin::Http, target),
                "{changes}"
            );
        }
    }

    #[test]
    fn whatever_else_is_posted_as_it_is() {
        for payload in [
            Bytes::from_static(b"{}"),
            Bytes::from_static(b"not json"),
            event(json!({ "version": "1.0" })),
            event(json!({ "rawPath": "no slash" })),
            event(json!({ "headers": { "a\nb": "c" } })),
            event(json!({ "body": "!" })),
        ] {
            let (origin, request) = request(&payload, "id", None);
            assert_eq!(origin, Origin::Invoke);
            assert_eq!((request.method(), request.uri().path()), (&Method::POST, "/"));
            assert_eq!(request.body(), &payload);
            assert_eq!(request.headers()["content-type"], "application/json");
        }
    }

    #[test]
    fn a_response_to_http_is_described() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_static("2"));
        headers.append(SET_COOKIE, HeaderValue::from_static("c=1"));
        headers.append(SET_COOKIE, HeaderValue::from_static("d=2"));
        let found = answer(Origin::Http, StatusCode::CREATED, &headers, b"ok".to_vec()).unwrap();
        let want = json!({
            "statusCode": 201, "headers": { "x-a": "1,2" }, "cookies": ["c=1", "d=2"], "body": "ok",
            "isBase64Encoded": false,
        });
        assert_eq!(serde_json::from_slice::<Value>(&found).unwrap(), want);
        let found = answer(Origin::Http, StatusCode::OK, &HeaderMap::new(), vec![0xff]).unwrap();
        let found: Value = serde_json::from_slice(&found).unwrap();
        assert_eq!(
            (&found["body"], &found["isBase64Encoded"]),
            (&json!("/w=="), &json!(true))
        );
        let (kind, prelude) = stream_head(Origin::Http, StatusCode::OK, &HeaderMap::new());
        assert_eq!(kind, INTEGRATION_RESPONSE);
        assert_eq!(&prelude[..], b"{\"headers\":{},\"statusCode\":200}\0\0\0\0\0\0\0\0");
    }

    #[test]
    fn an_answer_to_an_invocation_is_json() {
        let json = |body: &[u8]| answer(Origin::Invoke, StatusCode::OK, &HeaderMap::new(), body.to_vec()).unwrap();
        assert_eq!(json(b""), b"null");
        assert_eq!(json(b"{\"a\": 1}"), b"{\"a\": 1}");
        assert_eq!(json(b"plain"), b"\"plain\"");
        assert_eq!(json(&[0xff]), b"\"/w==\"");
        let error = answer(
            Origin::Invoke,
            StatusCode::NOT_FOUND,
            &HeaderMap::new(),
            b"gone".to_vec(),
        )
        .unwrap_err();
        assert_eq!(error.to_string(), "the component answered with status 404: gone");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_payload_is_a_request(payload in proptest::collection::vec(any::<u8>(), 0..60), method in ".{0,6}") {
            let (_, plain) = request(&payload.into(), &method, Some(&method));
            prop_assert_eq!(plain.uri().path(), "/");
            let odd = event(json!({ "rawPath": format!("/{method}"), "rawQueryString": method }));
            let (_, found) = request(&odd, "id", None);
            prop_assert!(found.uri().path().starts_with('/'));
        }

        #[test]
        fn any_body_answers_as_json(body in proptest::collection::vec(any::<u8>(), 0..60)) {
            for origin in [Origin::Http, Origin::Invoke] {
                let found = answer(origin, StatusCode::OK, &HeaderMap::new(), body.clone()).unwrap();
                prop_assert!(serde_json::from_slice::<Value>(&found).is_ok());
            }
        }
    }
}
