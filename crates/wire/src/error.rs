//! Errors as AWS's REST-JSON protocol writes them.
//! Source: <https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html#operation-error-serialization>.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value};

use crate::service::{Body, Response};

/// An error that goes to the client.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// The code, such as `ResourceNotFoundException`.
    pub code: &'static str,
    /// The text. Says what to do where the client can do something.
    pub message: String,
    /// How AWS spells the member that holds the text for this error.
    pub message_member: MessageMember,
    /// Other members, such as `Type` and `Reason`.
    pub members: Vec<(&'static str, Value)>,
}

/// The spelling of the member that holds the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageMember {
    /// `message`.
    Lower,
    /// `Message`.
    Upper,
}

impl ApiError {
    /// An error with `message` and no other member.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            message_member: MessageMember::Lower,
            members: Vec::new(),
        }
    }

    /// The same with the text under `Message`.
    pub fn upper(mut self) -> Self {
        self.message_member = MessageMember::Upper;
        self
    }

    /// The same with one more member.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.members.push((name, value.into()));
        self
    }

    /// The answer that carries it: the code in `x-amzn-ErrorType`, the rest in a JSON object.
    pub fn into_response(self) -> Response {
        let mut document = Map::new();
        let member = match self.message_member {
            MessageMember::Lower => "message",
            MessageMember::Upper => "Message",
        };
        for (name, value) in self.members {
            document.insert(name.to_owned(), value);
        }
        document.insert(member.to_owned(), Value::String(self.message));
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert("x-amzn-errortype", HeaderValue::from_static(self.code));
        Response {
            status: self.status,
            headers,
            body: Body::Full(Bytes::from(Value::Object(document).to_string())),
        }
    }
}
