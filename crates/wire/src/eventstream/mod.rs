//! `application/vnd.amazon.eventstream`: messages of headers and a payload, framed and check-summed.
//!
//! Pure. Read [`Message`], [`Message::encode`], [`Decoder`], then [`invoke`] for what Lambda sends.
//!
//! ```text
//! total length (4) │ headers' length (4) │ CRC of these 8 (4) │ headers │ payload │ CRC of all before (4)
//! ```
//!
//! Source: <https://smithy.io/2.0/aws/amazon-eventstream.html>.

pub mod invoke;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The content type of a body that is made of messages.
pub const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// Lengths and their CRC.
const PRELUDE: usize = 12;
/// What a message has besides its headers and payload.
const FRAME: usize = PRELUDE + 4;
/// The largest headers of a message, in bytes.
pub const MAX_HEADERS_BYTES: usize = 128 * 1024;
/// The largest payload of a message, in bytes.
pub const MAX_PAYLOAD_BYTES: usize = 24 * 1024 * 1024;

/// A header's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderValue {
    /// A truth value.
    Bool(bool),
    /// One byte.
    Byte(i8),
    /// Two bytes.
    Short(i16),
    /// Four bytes.
    Int(i32),
    /// Eight bytes.
    Long(i64),
    /// Bytes.
    Blob(Bytes),
    /// Text.
    Text(String),
    /// Milliseconds since 1970.
    Timestamp(i64),
    /// Sixteen bytes.
    Uuid([u8; 16]),
}

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The headers, in their order.
    pub headers: Vec<(String, HeaderValue)>,
    /// The payload.
    pub payload: Bytes,
}

/// Why a message cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A header's name must have 1 to 255 bytes.
    #[error("the name of a header has {0} bytes; 1 to 255 are allowed")]
    Name(usize),
    /// A header's value must have at most 32,767 bytes.
    #[error("the value of a header has {0} bytes; 32767 are allowed")]
    Value(usize),
    /// All headers together are too large.
    #[error("the headers have {0} bytes; {MAX_HEADERS_BYTES} are allowed")]
    Headers(usize),
    /// The payload is too large.
    #[error("the payload has {0} bytes; {MAX_PAYLOAD_BYTES} are allowed")]
    Payload(usize),
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The lengths' checksum is another.
    #[error("the checksum of a message's lengths is wrong")]
    PreludeChecksum,
    /// The message's checksum is another.
    #[error("the checksum of a message is wrong")]
    Checksum,
    /// The lengths contradict each other or are beyond the limits.
    #[error("the lengths of a message are not possible")]
    Length,
    /// The headers are not well formed.
    #[error("the headers of a message are not well formed")]
    Header,
    /// The bytes ended within a message.
    #[error("the stream ended within a message")]
    Truncated,
}

impl Message {
    /// A message without headers.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self {
            headers: Vec::new(),
            payload: payload.into(),
        }
    }

    /// The same with one more header of text.
    pub fn text(mut self, name: &str, value: &str) -> Self {
        self.headers
            .push((name.to_owned(), HeaderValue::Text(value.to_owned())));
        self
    }

    /// The text of a header; None when it is not there or is no text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|(key, value)| match value {
            HeaderValue::Text(text) if key == name => Some(text.as_str()),
            _ => None,
        })
    }

    /// The message as bytes.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut headers = BytesMut::new();
        for (name, value) in &self.headers {
            write_header(&mut headers, name, value)?;
        }
        frame(&headers, &self.payload)
    }
}

/// Puts a frame around headers that are encoded already.
fn frame(headers: &[u8], payload: &[u8]) -> Result<Bytes, EncodeError> {
    if headers.len() > MAX_HEADERS_BYTES {
        return Err(EncodeError::Headers(headers.len()));
    }
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(EncodeError::Payload(payload.len()));
    }
    let total = FRAME + headers.len() + payload.len();
    let mut out = BytesMut::with_capacity(total);
    let length = |bytes: usize| u32::try_from(bytes).map_err(|_| EncodeError::Payload(bytes));
    out.put_u32(length(total)?);
    out.put_u32(length(headers.len())?);
    out.put_u32(crc32fast::hash(&out));
    out.put_slice(headers);
    out.put_slice(payload);
    out.put_u32(crc32fast::hash(&out));
    Ok(out.freeze())
}

fn write_header(out: &mut BytesMut, name: &str, value: &HeaderValue) -> Result<(), EncodeError> {
    let length = u8::try_from(name.len()).ok().filter(|length| *length > 0);
    out.put_u8(length.ok_or(EncodeError::Name(name.len()))?);
    out.put_slice(name.as_bytes());
    let mut put_bytes = |kind: u8, bytes: &[u8]| {
        let length = i16::try_from(bytes.len()).map_err(|_| EncodeError::Value(bytes.len()))?;
        out.put_u8(kind);
        out.put_i16(length);
        out.put_slice(bytes);
        Ok(())
    };
    match value {
        HeaderValue::Blob(bytes) => return put_bytes(6, bytes),
        HeaderValue::Text(text) => return put_bytes(7, text.as_bytes()),
        HeaderValue::Bool(true) => out.put_u8(0),
        HeaderValue::Bool(false) => out.put_u8(1),
        HeaderValue::Byte(number) => {
            out.put_u8(2);
            out.put_i8(*number);
        }
        HeaderValue::Short(number) => {
            out.put_u8(3);
            out.put_i16(*number);
        }
        HeaderValue::Int(number) => {
            out.put_u8(4);
            out.put_i32(*number);
        }
        HeaderValue::Long(number) => {
            out.put_u8(5);
            out.put_i64(*number);
        }
        HeaderValue::Timestamp(milliseconds) => {
            out.put_u8(8);
            out.put_i64(*milliseconds);
        }
        HeaderValue::Uuid(bytes) => {
            out.put_u8(9);
            out.put_slice(bytes);
        }
    }
    Ok(())
}

/// Takes bytes as they come and gives messages as they are complete. After an error it gives nothing more.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
    failed: Option<DecodeError>,
}

impl Decoder {
    /// Takes more bytes. What is not yet asked for is kept: ask for messages before giving more.
    pub fn put(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next message; None when its bytes have not all come.
    pub fn next_message(&mut self) -> Result<Option<Message>, DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.read().inspect_err(|error| {
            self.failed = Some(*error);
            self.buffer = BytesMut::new();
        })
    }

    /// To be called at the stream's end: whether it ended between two messages.
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.failed {
            Some(error) => Err(error),
            None if self.buffer.is_empty() => Ok(()),
            None => Err(DecodeError::Truncated),
        }
    }

    fn read(&mut self) -> Result<Option<Message>, DecodeError> {
        if self.buffer.len() < PRELUDE {
            return Ok(None);
        }
        let mut prelude = &self.buffer[..PRELUDE];
        let mut length = || usize::try_from(prelude.get_u32()).map_err(|_| DecodeError::Length);
        let (total, headers) = (length()?, length()?);
        if crc32fast::hash(&self.buffer[..8]) != prelude.get_u32() {
            return Err(DecodeError::PreludeChecksum);
        }
        let payload = total.checked_sub(FRAME).and_then(|rest| rest.checked_sub(headers));
        if headers > MAX_HEADERS_BYTES || payload.is_none_or(|bytes| bytes > MAX_PAYLOAD_BYTES) {
            return Err(DecodeError::Length);
        }
        if self.buffer.len() < total {
            return Ok(None);
        }
        let mut message = self.buffer.split_to(total).freeze();
        let mut checksum = message.split_off(total - 4);
        if crc32fast::hash(&message) != checksum.get_u32() {
            return Err(DecodeError::Checksum);
        }
        message.advance(PRELUDE);
        let mut fields = message.split_to(headers);
        let mut read = Vec::new();
        while fields.has_remaining() {
            read.push(read_header(&mut fields).ok_or(DecodeError::Header)?);
        }
        Ok(Some(Message {
            headers: read,
            payload: message,
        }))
    }
}

fn read_header(fields: &mut Bytes) -> Option<(String, HeaderValue)> {
    let length = usize::from(fields.try_get_u8().ok()?);
    let name = text(&take(fields, length)?)?;
    let value = match fields.try_get_u8().ok()? {
        0 => HeaderValue::Bool(true),
        1 => HeaderValue::Bool(false),
        2 => HeaderValue::Byte(fields.try_get_i8().ok()?),
        3 => HeaderValue::Short(fields.try_get_i16().ok()?),
        4 => HeaderValue::Int(fields.try_get_i32().ok()?),
        5 => HeaderValue::Long(fields.try_get_i64().ok()?),
        6 => HeaderValue::Blob(take_sized(fields)?),
        7 => HeaderValue::Text(text(&take_sized(fields)?)?),
        8 => HeaderValue::Timestamp(fields.try_get_i64().ok()?),
        9 => HeaderValue::Uuid(take(fields, 16)?.as_ref().try_into().ok()?),
        _ => return None,
    };
    (length > 0).then_some((name, value))
}

fn take(fields: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= fields.len()).then(|| fields.split_to(length))
}

fn take_sized(fields: &mut Bytes) -> Option<Bytes> {
    let length = fields.try_get_i16().ok()?;
    take(fields, usize::try_from(length).ok()?)
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = HeaderValue> {
        prop_oneof![
            any::<bool>().prop_map(HeaderValue::Bool),
            any::<i8>().prop_map(HeaderValue::Byte),
            any::<i16>().prop_map(HeaderValue::Short),
            any::<i32>().prop_map(HeaderValue::Int),
            any::<i64>().prop_map(HeaderValue::Long),
            proptest::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| HeaderValue::Blob(bytes.into())),
            "\\PC{0,20}".prop_map(HeaderValue::Text),
            any::<i64>().prop_map(HeaderValue::Timestamp),
            any::<[u8; 16]>().prop_map(HeaderValue::Uuid),
        ]
    }

    fn message() -> impl Strategy<Value = Message> {
        let headers = proptest::collection::vec(("[a-z:-]{1,12}", value()), 0..5);
        let payload = proptest::collection::vec(any::<u8>(), 0..60);
        (headers, payload).prop_map(|(headers, payload)| Message {
            headers,
            payload: payload.into(),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn messages_come_back_however_they_are_cut(
            messages in proptest::collection::vec(message(), 0..4),
            size in 1_usize..50,
        ) {
            let mut bytes = Vec::new();
            for message in &messages {
                bytes.extend_from_slice(&message.encode().unwrap());
            }
            let mut decoder = Decoder::default();
            let mut back = Vec::new();
            for piece in bytes.chunks(size) {
                decoder.put(piece);
                while let Some(message) = decoder.next_message().unwrap() {
                    back.push(message);
                }
            }
            prop_assert_eq!(back, messages);
            prop_assert_eq!(decoder.finish(), Ok(()));
        }

        #[test]
        fn a_changed_byte_is_noticed(message in message(), at in any::<prop::sample::Index>(), change in 1_u8..) {
            let mut bytes = message.encode().unwrap().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            let mut decoder = Decoder::default();
            decoder.put(&bytes);
            prop_assert!(decoder.next_message().is_err());
            prop_assert!(decoder.next_message().is_err(), "an error stays");
        }

        #[test]
        fn no_headers_break_the_reader(fields in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut decoder = Decoder::default();
            decoder.put(&frame(&fields, b"").unwrap());
            if let Ok(message) = decoder.next_message() {
                // What is read is written the same way.
                prop_assert_eq!(message.unwrap().encode().unwrap(), frame(&fields, b"").unwrap());
            }
        }
    }

    /// The examples of AWS's own implementations.
    #[test]
    fn bytes_are_those_of_aws() {
        let empty = hex::decode("000000100000000005c248eb7d98c8ff").unwrap();
        assert_eq!(Message::default().encode().unwrap(), empty);
        let json = hex::decode(concat!(
            "0000003d0000002007fd83960c",
            "636f6e74656e742d74797065",
            "0700106170706c69636174696f6e2f6a736f6e",
            "7b27666f6f273a27626172277d8d9c08b1"
        ))
        .unwrap();
        let message = Message::new("{'foo':'bar'}").text("content-type", "application/json");
        assert_eq!(message.encode().unwrap(), json);
    }

    #[test]
    fn limits_hold_on_both_sides() {
        let named = |name: &str| Message::default().text(name, "").encode();
        assert_eq!(named(""), Err(EncodeError::Name(0)));
        assert_eq!(named(&"x".repeat(256)), Err(EncodeError::Name(256)));
        let valued = |length: usize| Message::default().text("a", &"x".repeat(length)).encode();
        assert!(valued(32_767).is_ok());
        assert_eq!(valued(32_768), Err(EncodeError::Value(32_768)));
        let large = Message::new(vec![0; MAX_PAYLOAD_BYTES + 1]);
        assert_eq!(large.encode(), Err(EncodeError::Payload(MAX_PAYLOAD_BYTES + 1)));
        for (total, headers) in [(15_u32, 0_u32), (16, 1), (u32::MAX, 0), (40_000_000, 0)] {
            let mut prelude = BytesMut::new();
            prelude.put_u32(total);
            prelude.put_u32(headers);
            prelude.put_u32(crc32fast::hash(&prelude));
            let mut decoder = Decoder::default();
            decoder.put(&prelude);
            assert_eq!(decoder.next_message(), Err(DecodeError::Length), "{total} {headers}");
        }
        let mut decoder = Decoder::default();
        decoder.put(&[0; 3]);
        assert_eq!(decoder.next_message(), Ok(None));
        assert_eq!(decoder.finish(), Err(DecodeError::Truncated));
    }
}
