//! How an event is written into the log: a version, the length of a JSON header, the header, the payload as it came.

use bytes::{BufMut as _, Bytes, BytesMut};
use ephyra_core::compute::AcceptedEvent;
use ephyra_core::id::{FunctionName, Qualifier, RequestId};
use serde::{Deserialize, Serialize};

/// The only version so far.
const VERSION: u8 = 1;
/// The version and the header's length.
const PREFIX: usize = 5;

/// An event with what happened to it so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// The event.
    pub(crate) event: AcceptedEvent,
    /// How often the function has failed on it.
    pub(crate) failures: u32,
}

#[derive(Serialize, Deserialize)]
struct Header {
    request_id: RequestId,
    function: FunctionName,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    qualifier: Option<Qualifier>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    client_context: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    trace_id: Option<String>,
    #[serde(default)]
    failures: u32,
}

/// Why a value of the log could not be understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    /// Written by a newer program.
    #[error("the event has version {0}; this program knows version {VERSION}")]
    Version(u8),
    /// Cut off.
    #[error("the event is cut off")]
    Short,
    /// The header is not what it should be.
    #[error("the event's header cannot be read")]
    Header(#[source] serde_json::Error),
}

impl Envelope {
    /// The value for the log.
    pub(crate) fn encode(&self) -> Result<Bytes, serde_json::Error> {
        let event = &self.event;
        let header = serde_json::to_vec(&Header {
            request_id: event.request_id,
            function: event.function.clone(),
            qualifier: event.qualifier.clone(),
            client_context: event.client_context.clone(),
            trace_id: event.trace_id.clone(),
            failures: self.failures,
        })?;
        let length = u32::try_from(header.len()).map_err(serde::ser::Error::custom)?;
        let mut value = BytesMut::with_capacity(PREFIX + header.len() + event.payload.len());
        value.put_u8(VERSION);
        value.put_u32(length);
        value.put_slice(&header);
        value.put_slice(&event.payload);
        Ok(value.freeze())
    }

    /// Reads a value of the log; the payload is a part of it, not a copy.
    pub(crate) fn decode(value: &Bytes) -> Result<Self, DecodeError> {
        match value.first() {
            Some(&VERSION) => {}
            Some(&other) => return Err(DecodeError::Version(other)),
            None => return Err(DecodeError::Short),
        }
        let length = value.get(1..PREFIX).and_then(|length| length.try_into().ok());
        let length = u32::from_be_bytes(length.ok_or(DecodeError::Short)?);
        let end = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_add(PREFIX))
            .ok_or(DecodeError::Short)?;
        let header = value.get(PREFIX..end).ok_or(DecodeError::Short)?;
        let header: Header = serde_json::from_slice(header).map_err(DecodeError::Header)?;
        Ok(Self {
            event: AcceptedEvent {
                request_id: header.request_id,
                function: header.function,
                qualifier: header.qualifier,
                payload: value.slice(end..),
                client_context: header.client_context,
                trace_id: header.trace_id,
            },
            failures: header.failures,
        })
    }
}

#[cfg(test)]
mod tests {
    use ephyra_core::limits::ASYNC_REQUEST_BYTES;
    use ephyra_store::LOG_VALUE_BYTES;
    use proptest::prelude::*;

    use super::*;

    fn envelope(payload: Vec<u8>, context: Option<String>, qualifier: Option<&str>, failures: u32) -> Envelope {
        Envelope {
            event: AcceptedEvent {
                request_id: RequestId::new(),
                function: "hello".parse().unwrap(),
                qualifier: qualifier.map(|text| text.parse().unwrap()),
                payload: payload.into(),
                client_context: context.clone(),
                trace_id: context,
            },
            failures,
        }
    }

    #[test]
    fn the_largest_event_fits_into_the_log() {
        let context = Some("\"".repeat(8000));
        let value = envelope(vec![0; ASYNC_REQUEST_BYTES], context, Some("live"), 2)
            .encode()
            .unwrap();
        assert!(value.len() <= LOG_VALUE_BYTES, "{}", value.len());
    }

    #[test]
    fn a_newer_version_is_told_from_a_broken_value() {
        let refused = Envelope::decode(&Bytes::from_static(&[2, 0, 0, 0, 0]));
        assert!(matches!(refused, Err(DecodeError::Version(2))));
        for broken in [&[][..], &[1], &[1, 0, 0, 0, 9, b'{'], &[1, 255, 255, 255, 255]] {
            let refused = Envelope::decode(&Bytes::copy_from_slice(broken));
            assert!(matches!(refused, Err(DecodeError::Short)), "{broken:?}");
        }
        let refused = Envelope::decode(&Bytes::from_static(&[1, 0, 0, 0, 2, b'{', b'}']));
        assert!(matches!(refused, Err(DecodeError::Header(_))));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn an_event_reads_back_as_it_was(
            payload in proptest::collection::vec(any::<u8>(), 0..100),
            context in proptest::option::of(".{0,20}"),
            qualifier in proptest::option::of(prop_oneof![Just("live"), Just("7"), Just("$LATEST")]),
            failures in any::<u32>(),
        ) {
            let envelope = envelope(payload, context, qualifier, failures);
            prop_assert_eq!(Envelope::decode(&envelope.encode().unwrap()).unwrap(), envelope);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            drop(Envelope::decode(&bytes.into()));
        }
    }
}
