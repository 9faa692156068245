//! What `InvokeWithResponseStream` sends: parts of the answer, then how it ended.
//! Source: <https://docs.aws.amazon.com/lambda/latest/api/API_InvokeWithResponseStream.html>.

use bytes::Bytes;
use serde::Deserialize;

use super::{EncodeError, Message};

/// The largest part that is sent as one message, in bytes; larger ones are cut.
const PART_BYTES: usize = 1024 * 1024;

/// One event of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvokeEvent {
    /// A part of the answer.
    PayloadChunk(Bytes),
    /// The end of the answer.
    InvokeComplete(InvokeComplete),
    /// The stream failed for another reason than the function.
    Exception {
        /// Such as `InternalStreamFailure`.
        code: String,
        /// The text.
        message: String,
    },
}

/// How an answer ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InvokeComplete {
    /// Such as `Unhandled`; None when the function succeeded.
    pub error_code: Option<String>,
    /// What went wrong.
    pub error_details: Option<String>,
    /// The base64 of the log's tail, when it was asked for.
    pub log_result: Option<String>,
}

/// Why a message is no event of this stream.
#[derive(Debug, thiserror::Error)]
pub enum ReadInvokeEventError {
    /// A message of a type that is not known.
    #[error("a message is of the unknown type {0:?}")]
    Type(String),
    /// The JSON in a message is not what it should be.
    #[error("the payload of a message could not be read")]
    Payload(#[from] serde_json::Error),
}

/// A part of the answer as bytes to send; one message for each MiB.
pub fn payload_chunk(part: &[u8]) -> Result<Bytes, EncodeError> {
    let encode = |part: &[u8]| {
        let headers = Message::default()
            .text(":event-type", "PayloadChunk")
            .text(":content-type", "application/octet-stream")
            .text(":message-type", "event");
        headers.encode_with(part)
    };
    if part.len() <= PART_BYTES {
        return encode(part);
    }
    let messages: Result<Vec<Bytes>, EncodeError> = part.chunks(PART_BYTES).map(encode).collect();
    Ok(messages?.concat().into())
}

/// The end of the answer as bytes to send.
pub fn invoke_complete(complete: &InvokeComplete) -> Result<Bytes, EncodeError> {
    let mut document = serde_json::Map::new();
    for (name, value) in [
        ("ErrorCode", &complete.error_code),
        ("ErrorDetails", &complete.error_details),
        ("LogResult", &complete.log_result),
    ] {
        if let Some(value) = value {
            document.insert(name.to_owned(), value.as_str().into());
        }
    }
    Message::new(serde_json::Value::Object(document).to_string())
        .text(":event-type", "InvokeComplete")
        .text(":content-type", "application/json")
        .text(":message-type", "event")
        .encode()
}

/// A failure of the stream itself as bytes to send, such as `InternalStreamFailure`.
pub fn exception(code: &str, message: &str) -> Result<Bytes, EncodeError> {
    Message::new(serde_json::json!({ "message": message }).to_string())
        .text(":exception-type", code)
        .text(":content-type", "application/json")
        .text(":message-type", "exception")
        .encode()
}

impl Message {
    /// The message as bytes, with another payload than its own.
    fn encode_with(&self, payload: &[u8]) -> Result<Bytes, EncodeError> {
        let mut headers = bytes::BytesMut::new();
        for (name, value) in &self.headers {
            super::write_header(&mut headers, name, value)?;
        }
        super::frame(&headers, payload)
    }
}

impl TryFrom<Message> for InvokeEvent {
    type Error = ReadInvokeEventError;

    fn try_from(message: Message) -> Result<Self, Self::Error> {
        #[derive(Deserialize)]
        struct Failure {
            #[serde(alias = "Message", default)]
            message: String,
        }
        match (message.header(":message-type"), message.header(":event-type")) {
            (Some("event"), Some("PayloadChunk")) => Ok(Self::PayloadChunk(message.payload)),
            (Some("event"), Some("InvokeComplete")) => {
                Ok(Self::InvokeComplete(serde_json::from_slice(&message.payload)?))
            }
            (Some("exception"), _) => Ok(Self::Exception {
                code: message.header(":exception-type").unwrap_or_default().to_owned(),
                message: serde_json::from_slice::<Failure>(&message.payload)?.message,
            }),
            (Some("error"), _) => Ok(Self::Exception {
                code: message.header(":error-code").unwrap_or_default().to_owned(),
                message: message.header(":error-message").unwrap_or_default().to_owned(),
            }),
            (kind, event) => {
                let kind = event.or(kind).unwrap_or_default();
                Err(ReadInvokeEventError::Type(kind.chars().take(64).collect()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Decoder;
    use super::*;

    fn read(bytes: &[u8]) -> Vec<InvokeEvent> {
        let mut decoder = Decoder::default();
        decoder.put(bytes);
        let mut events = Vec::new();
        while let Some(message) = decoder.next_message().unwrap() {
            events.push(message.try_into().unwrap());
        }
        decoder.finish().unwrap();
        events
    }

    #[test]
    fn events_are_read_as_they_were_written() {
        let complete = InvokeComplete {
            error_code: Some("Unhandled".into()),
            error_details: Some("{\"errorType\":\"E\"}".into()),
            log_result: None,
        };
        let mut stream = payload_chunk(b"one").unwrap().to_vec();
        stream.extend_from_slice(&invoke_complete(&complete).unwrap());
        stream.extend_from_slice(&exception("InternalStreamFailure", "gone").unwrap());
        assert_eq!(
            read(&stream),
            [
                InvokeEvent::PayloadChunk("one".into()),
                InvokeEvent::InvokeComplete(complete),
                InvokeEvent::Exception {
                    code: "InternalStreamFailure".into(),
                    message: "gone".into()
                }
            ]
        );
        let end = read(&invoke_complete(&InvokeComplete::default()).unwrap());
        assert_eq!(end, [InvokeEvent::InvokeComplete(InvokeComplete::default())]);
    }

    #[test]
    fn a_large_part_is_cut() {
        let part = vec![7; PART_BYTES * 2 + 1];
        let events = read(&payload_chunk(&part).unwrap());
        let lengths: Vec<usize> = events
            .iter()
            .map(|event| match event {
                InvokeEvent::PayloadChunk(part) => part.len(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(lengths, [PART_BYTES, PART_BYTES, 1]);
    }

    #[test]
    fn what_is_not_known_is_named() {
        let message = Message::default()
            .text(":message-type", "event")
            .text(":event-type", "Other");
        let error = InvokeEvent::try_from(message).unwrap_err();
        assert_eq!(error.to_string(), "a message is of the unknown type \"Other\"");
    }
}
