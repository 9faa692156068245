//! Payload format 1.0.

use std::collections::HashSet;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};

use super::{Answer, Headers, Malformed, Members, each_member, is_bodiless, member, scalar};

/// Reads a function's answer: an object with `statusCode`, part by part. A header that stands in `multiValueHeaders` has
/// those values, whatever `headers` says. Without a content type of its own the answer has `default_type`.
pub fn read(payload: &Bytes, default_type: HeaderValue) -> Result<Answer, Malformed> {
    let members = Members::read(payload)?.ok_or(Malformed::NoStatus)?;
    let status = members.status()?.ok_or(Malformed::NoStatus)?;
    let mut headers = Headers::default();
    let multiple = add_multiple(&members, &mut headers)?;
    add_others(&members, &mut headers, &multiple)?;
    let mut answer = Answer {
        status,
        headers: headers.map,
        body: members.body(payload)?,
    };
    if is_bodiless(status) {
        answer.body = Bytes::new();
    } else {
        answer.headers.entry(CONTENT_TYPE).or_insert(default_type);
    }
    Ok(answer)
}

/// Adds `multiValueHeaders`, and gives their names.
fn add_multiple(members: &Members<'_>, headers: &mut Headers) -> Result<HashSet<HeaderName>, Malformed> {
    let mut names = HashSet::new();
    let Some(raw) = members.multi_value_headers else {
        return Ok(names);
    };
    let mut add = |name: &str, values: &str| {
        let Some(key) = Headers::name(name)? else {
            return Ok(());
        };
        let values: Option<Vec<&serde_json::value::RawValue>> =
            serde_json::from_str(values).map_err(member("multiValueHeaders"))?;
        let Some(values) = values else {
            return Ok(());
        };
        names.insert(key.clone());
        values.iter().try_for_each(|value| match scalar(value.get()) {
            Some(text) => headers.add(key.clone(), &text),
            None => Err(Malformed::Header(key.as_str().to_owned())),
        })
    };
    let mut result = Ok(());
    let visited = each_member(raw.get(), &mut |name, values| {
        if result.is_ok() {
            result = add(name, values.get());
        }
    });
    visited.map_err(member("multiValueHeaders"))?;
    result.map(|()| names)
}

/// Adds those of `headers` that were not among the multiple ones.
fn add_others(members: &Members<'_>, headers: &mut Headers, others: &HashSet<HeaderName>) -> Result<(), Malformed> {
    if others.is_empty() {
        return members.add_headers(headers);
    }
    let Some(raw) = members.headers else {
        return Ok(());
    };
    let mut result = Ok(());
    let visited = each_member(raw.get(), &mut |name, value| {
        let is_there = HeaderName::from_bytes(name.as_bytes()).is_ok_and(|name| others.contains(&name));
        if result.is_ok() && !is_there {
            result = headers.add_scalar(name, value);
        }
    });
    visited.map_err(member("headers"))?;
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(payload: &str) -> Result<Answer, Malformed> {
        read(&Bytes::from(payload.to_owned()), HeaderValue::from_static("text/plain"))
    }

    #[test]
    fn multiple_values_go_before_single_ones() {
        let answer = read_text(
            r#"{"statusCode":200,"body":"x","headers":{"A":"1","B":"2","Content-Type":"a/b"},
                "multiValueHeaders":{"a":["3",4],"Set-Cookie":["c=1","d=2"],"Connection":["close"],"n":null}}"#,
        )
        .unwrap();
        let values = |name| answer.headers.get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(values("a"), ["3", "4"]);
        assert_eq!(values("b"), ["2"]);
        assert_eq!(values("set-cookie"), ["c=1", "d=2"]);
        assert_eq!(values("content-type"), ["a/b"]);
        assert!(!answer.headers.contains_key("connection"));
        assert_eq!(answer.body, "x");
    }

    #[test]
    fn there_has_to_be_a_status() {
        for payload in ["{}", "1", "\"x\"", "[]", r#"{"body":"x"}"#] {
            assert!(matches!(read_text(payload), Err(Malformed::NoStatus)), "{payload}");
        }
        for payload in [
            "",
            r#"{"statusCode":200,"multiValueHeaders":{"a":"b"}}"#,
            r#"{"statusCode":200,"multiValueHeaders":{"a":[["b"]]}}"#,
            r#"{"statusCode":200,"multiValueHeaders":[]}"#,
        ] {
            assert!(read_text(payload).is_err(), "{payload}");
        }
        assert_eq!(read_text(r#"{"statusCode":"201"}"#).unwrap().status, 201);
    }
}
