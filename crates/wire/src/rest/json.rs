//! Members in bodies and queries.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::ApiError;
use crate::service::{Body, Request, Response};

/// Reads a JSON body. An empty one is an object without members; unknown members are ignored; of a member that is
/// there twice the last counts. Nesting deeper than 127 is refused.
pub fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let value = if body.is_empty() {
        Value::Object(serde_json::Map::new())
    } else {
        // By way of a `Value`, for a derived reader refuses members that are there twice. Strings are moved, not
        // copied, on the way from it.
        serde_json::from_slice(body)
            .map_err(|error| serialization_error(format!("The request body is not JSON: {error}")))?
    };
    if !value.is_object() {
        return Err(serialization_error(
            "Start of structure or map expected in the request body.",
        ));
    }
    serde_json::from_value(value).map_err(|error| serialization_error(conversion_text(&error.to_string())))
}

/// A `SerializationException`: a member is of the wrong type or cannot be read at all.
pub fn serialization_error(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "SerializationException", message)
}

/// A number in the query, None when it is not there.
pub fn query_integer(request: &Request, name: &str) -> Result<Option<i64>, ApiError> {
    let number = request.query(name).map(str::parse).transpose();
    number.map_err(|_| serialization_error("STRING_VALUE can not be converted to an Integer"))
}

/// A truth value in the query, None when it is not there.
pub fn query_boolean(request: &Request, name: &str) -> Result<Option<bool>, ApiError> {
    let boolean = request.query(name).map(str::parse).transpose();
    boolean.map_err(|_| serialization_error("STRING_VALUE can not be converted to a Boolean"))
}

/// An answer with a JSON body.
pub fn json_response(status: StatusCode, document: &impl Serialize) -> Response {
    match serde_json::to_vec(document) {
        Ok(text) => Response {
            status,
            headers: HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]),
            body: Body::Full(Bytes::from(text)),
        },
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            let message = "The service encountered an internal error.";
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "ServiceException", message).into_response()
        }
    }
}

/// An answer without a body.
pub fn empty_response(status: StatusCode) -> Response {
    Response {
        status,
        headers: HeaderMap::new(),
        body: Body::Full(Bytes::new()),
    }
}

/// AWS's text for serde's `invalid type: string "x", expected u32`, or serde's own where AWS's is not known.
fn conversion_text(serde: &str) -> String {
    let Some((found, expected)) = serde
        .strip_prefix("invalid type: ")
        .and_then(|text| text.split_once(", expected "))
    else {
        return serde.to_owned();
    };
    let wanted = match expected {
        _ if expected.starts_with("a sequence") => return "Expected list or null".to_owned(),
        _ if expected.starts_with("a map") || expected.starts_with("struct ") => {
            return "Expected map or null".to_owned();
        }
        _ if expected.contains("string") => "a String",
        "a boolean" => "a Boolean",
        "i8" | "i16" | "i32" | "u8" | "u16" | "u32" => "an Integer",
        "i64" | "u64" | "usize" => "a Long",
        "f32" => "a Float",
        "f64" => "a Double",
        _ => return serde.to_owned(),
    };
    let kind = match found.split([' ', '`']).next().unwrap_or_default() {
        "string" => "STRING_VALUE",
        "integer" => "NUMBER_VALUE",
        "floating" => "DECIMAL_VALUE",
        "boolean" if found.contains("true") => "TRUE_VALUE",
        "boolean" => "FALSE_VALUE",
        "null" => "NULL_VALUE",
        "map" => return "Start of structure or map found where not expected.".to_owned(),
        "sequence" => return "Start of list found where not expected".to_owned(),
        _ => return serde.to_owned(),
    };
    format!("{kind} can not be converted to {wanted}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Input {
        name: Option<String>,
        timeout: Option<i32>,
        tags: Option<BTreeMap<String, String>>,
        layers: Option<Vec<String>>,
        publish: bool,
    }

    #[track_caller]
    fn check(body: &str, want: &str) {
        let error = read_json::<Input>(body.as_bytes()).unwrap_err();
        assert_eq!(
            (error.status, error.code),
            (StatusCode::BAD_REQUEST, "SerializationException")
        );
        assert!(error.message.starts_with(want), "{}", error.message);
    }

    #[test]
    fn wrong_types_are_named_as_aws_names_them() {
        check(r#"{"Timeout":"3"}"#, "STRING_VALUE can not be converted to an Integer");
        check(r#"{"Name":3}"#, "NUMBER_VALUE can not be converted to a String");
        check(r#"{"Name":true}"#, "TRUE_VALUE can not be converted to a String");
        check(r#"{"Name":{}}"#, "Start of structure or map found where not expected.");
        check(r#"{"Name":[]}"#, "Start of list found where not expected");
        check(r#"{"Layers":"x"}"#, "Expected list or null");
        check(r#"{"Tags":"x"}"#, "Expected map or null");
        check(r#"{"Publish":"x"}"#, "STRING_VALUE can not be converted to a Boolean");
        check("[]", "Start of structure or map expected");
        check("{", "The request body is not JSON");
        check(
            &"[".repeat(100_000),
            "The request body is not JSON: recursion limit exceeded",
        );
    }

    #[test]
    fn the_last_of_two_counts_and_the_unknown_is_ignored() {
        let input: Input = read_json(br#"{"Name":"a","Name":"b","Other":[1],"Timeout":null}"#).unwrap();
        assert_eq!(input.name.as_deref(), Some("b"));
        assert_eq!(read_json::<Input>(b"").unwrap(), Input::default());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_body_breaks_the_reader(body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = read_json::<Input>(&body);
        }
    }
}
