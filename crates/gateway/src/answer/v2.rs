//! Payload format 2.0.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::de::IgnoredAny;

use super::{Answer, Headers, Malformed, Members, Text, is_bodiless};

/// The type of what a function returns without saying more.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Reads a function's answer.
///
/// An object with `statusCode` is the response, part by part; without a content type of its own it has `default_type`. Any other
/// JSON is the body of a response with status 200 and the type `application/json`: a string without its quotes, all else as
/// it stands.
pub fn read(payload: &Bytes, default_type: HeaderValue) -> Result<Answer, Malformed> {
    let members = Members::read(payload)?;
    if let Some(members) = &members
        && let Some(status) = members.status()?
    {
        let mut headers = Headers::default();
        members.add_headers(&mut headers)?;
        members.add_cookies(&mut headers)?;
        let body = members.body(payload)?;
        return Ok(answer(status, headers.map, body, default_type));
    }
    let body = match members {
        Some(_) => payload.clone(),
        None => inferred(payload)?,
    };
    Ok(answer(StatusCode::OK, HeaderMap::new(), body, JSON))
}

/// The body that a value stands for which is no object.
fn inferred(payload: &Bytes) -> Result<Bytes, Malformed> {
    if payload.trim_ascii_start().starts_with(b"\"") {
        let text: Text<'_> = serde_json::from_slice(payload).map_err(Malformed::NotJson)?;
        return Ok(match text.0 {
            std::borrow::Cow::Borrowed(text) => payload.slice_ref(text.as_bytes()),
            std::borrow::Cow::Owned(text) => Bytes::from(text),
        });
    }
    serde_json::from_slice::<IgnoredAny>(payload).map_err(Malformed::NotJson)?;
    Ok(payload.clone())
}

fn answer(status: StatusCode, mut headers: HeaderMap, body: Bytes, default_type: HeaderValue) -> Answer {
    if is_bodiless(status) {
        return Answer {
            status,
            headers,
            body: Bytes::new(),
        };
    }
    headers.entry(CONTENT_TYPE).or_insert(default_type);
    Answer { status, headers, body }
}

/// Reads what comes before the body of a streamed answer: `statusCode`, `headers` and `cookies`, each of which may be
/// missing. Without a content type of its own the answer has `default_type`.
pub fn read_prelude(prelude: &[u8], default_type: HeaderValue) -> Result<(StatusCode, HeaderMap), Malformed> {
    let members = Members::read(prelude)?.ok_or(Malformed::NoStatus)?;
    let status = members.status()?.unwrap_or(StatusCode::OK);
    let mut headers = Headers::default();
    members.add_headers(&mut headers)?;
    members.add_cookies(&mut headers)?;
    let mut headers = headers.map;
    headers.entry(CONTENT_TYPE).or_insert(default_type);
    Ok((status, headers))
}

#[cfg(test)]
mod tests {
    use http::header::SET_COOKIE;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const PLAIN: HeaderValue = HeaderValue::from_static("text/plain");

    fn read_text(payload: &str) -> Result<Answer, Malformed> {
        read(&Bytes::from(payload.to_owned()), PLAIN)
    }

    #[track_caller]
    fn check(payload: &str, status: u16, content_type: &str, body: &[u8]) -> Answer {
        let answer = read_text(payload).unwrap();
        assert_eq!(answer.status, status, "{payload}");
        assert_eq!(answer.headers[CONTENT_TYPE], content_type, "{payload}");
        assert_eq!(answer.body, body, "{payload}");
        answer
    }

    #[test]
    fn what_has_no_status_is_the_body() {
        for (payload, body) in [
            (r#"{"hello":"world"}"#, r#"{"hello":"world"}"#),
            (r#"["hello",3,true]"#, r#"["hello",3,true]"#),
            (r#""hello""#, "hello"),
            (r#""say \"hi\"\n""#, "say \"hi\"\n"),
            ("3", "3"),
            ("3.1", "3.1"),
            ("true", "true"),
            ("null", "null"),
            (r#"{"body":"not a response"}"#, r#"{"body":"not a response"}"#),
            (r#"{"statusCode":null}"#, r#"{"statusCode":null}"#),
        ] {
            check(payload, 200, "application/json", body.as_bytes());
        }
    }

    #[test]
    fn what_has_a_status_is_the_response() {
        check(r#"{"statusCode":200,"body":"body123"}"#, 200, "text/plain", b"body123");
        check(
            r#"{"statusCode":"404","body":"{\"a\":1}"}"#,
            404,
            "text/plain",
            br#"{"a":1}"#,
        );
        check(
            r#"{"statusCode":201,"body":{"a": 1}}"#,
            201,
            "text/plain",
            br#"{"a": 1}"#,
        );
        check(r#"{"statusCode":200}"#, 200, "text/plain", b"");
        check(
            r#"{"statusCode":200,"body":null,"headers":null,"cookies":null}"#,
            200,
            "text/plain",
            b"",
        );
        check(
            r#"{"statusCode":200,"body":"AP+A","isBase64Encoded":true}"#,
            200,
            "text/plain",
            b"\x00\xff\x80",
        );
        check(
            r#"{"statusCode":200,"body":"x","headers":{"Content-Type":"a/b"}}"#,
            200,
            "a/b",
            b"x",
        );
        let answer = read_text(r#"{"statusCode":204,"body":"x"}"#).unwrap();
        assert!(answer.body.is_empty() && answer.headers.is_empty());
    }

    #[test]
    fn headers_are_scalars_and_none_of_the_connection() {
        let answer = check(
            r#"{"statusCode":200,"headers":{"X-A":1,"x-b":true,"x-c":1.5,"x-d":null,"X-E":"\u00e4","Connection":"close",
                "Content-Length":"7","Transfer-Encoding":"chunked","Upgrade":"websocket"},
                "multiValueHeaders":{"x-a":["2"]},"cookies":["a=1; Path=/","b=2"]}"#,
            200,
            "text/plain",
            b"",
        );
        let mut sent: Vec<_> = answer.headers.keys().map(http::HeaderName::as_str).collect();
        sent.sort_unstable();
        assert_eq!(sent, ["content-type", "set-cookie", "x-a", "x-b", "x-c", "x-e"]);
        assert_eq!(answer.headers["x-a"], "1");
        assert_eq!(answer.headers["x-c"], "1.5");
        assert_eq!(answer.headers["x-e"].as_bytes(), "ä".as_bytes());
        let cookies: Vec<_> = answer.headers.get_all(SET_COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; Path=/", "b=2"]);
    }

    #[test]
    fn what_no_response_can_be_is_malformed() {
        for payload in [
            "",
            "hello",
            "{",
            "{} {}",
            "\"",
            r#"{"statusCode":100}"#,
            r#"{"statusCode":600}"#,
            r#"{"statusCode":-200}"#,
            r#"{"statusCode":"200 OK"}"#,
            r#"{"statusCode":""}"#,
            r#"{"statusCode":200.5}"#,
            r#"{"statusCode":[200]}"#,
            r#"{"statusCode":200,"headers":[]}"#,
            r#"{"statusCode":200,"headers":{"x":["a"]}}"#,
            r#"{"statusCode":200,"headers":{"x y":"a"}}"#,
            r#"{"statusCode":200,"headers":{"":"a"}}"#,
            r#"{"statusCode":200,"headers":{"x":"a\r\nset-cookie: b"}}"#,
            r#"{"statusCode":200,"cookies":"a"}"#,
            r#"{"statusCode":200,"cookies":["a\nb"]}"#,
            r#"{"statusCode":200,"body":"!","isBase64Encoded":true}"#,
            r#"{"statusCode":200,"isBase64Encoded":"yes"}"#,
        ] {
            assert!(read_text(payload).is_err(), "{payload}");
        }
        let many: serde_json::Map<_, _> = (0..40_000).map(|number| (format!("x{number}"), json!(1))).collect();
        let payload = json!({ "statusCode": 200, "headers": many }).to_string();
        assert!(matches!(read_text(&payload), Err(Malformed::TooManyHeaders)));
    }

    #[test]
    fn a_body_without_escapes_is_not_copied() {
        let payload = Bytes::from_static(br#"{"statusCode":200,"body":"as it is"}"#);
        let answer = read(&payload, PLAIN).unwrap();
        let range = payload.as_ptr_range();
        assert!(range.contains(&answer.body.as_ptr()), "the body is elsewhere");
    }

    #[test]
    fn a_prelude_says_status_headers_and_cookies() {
        let (status, headers) =
            read_prelude(br#"{"statusCode":418,"headers":{"X-A":"b"},"cookies":["c=d"]}"#, PLAIN).unwrap();
        assert_eq!(status, 418);
        assert_eq!(headers["x-a"], "b");
        assert_eq!(headers[SET_COOKIE], "c=d");
        assert_eq!(headers[CONTENT_TYPE], "text/plain");
        assert_eq!(read_prelude(b"{}", PLAIN).unwrap().0, 200);
        for prelude in [&b""[..], b"[]", b"{", b"\xff"] {
            assert!(read_prelude(prelude, PLAIN).is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_answer_is_too_much(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _any = read(&Bytes::from(payload), PLAIN);
        }

        #[test]
        fn bodies_arrive_as_they_were(body in "\\PC{0,40}|[\\x00-\\x7f]{0,20}", status in 200..600u16) {
            let payload = json!({ "statusCode": status, "body": body }).to_string();
            let answer = read_text(&payload).unwrap();
            prop_assert_eq!(answer.status.as_u16(), status);
            if !is_bodiless(answer.status) {
                prop_assert_eq!(answer.body, body.as_bytes());
            }
        }
    }
}
