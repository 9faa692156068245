//! What fuzzing feeds: every parser of this crate's, with bytes that may be anybody's. Each target panics where a parser
//! breaks its promise.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::eventstream::{Decoder, Message};
use crate::front;
use crate::sigv4::{Claim, Parts, SigningTime};

/// A target, with its name.
pub type Target = (&'static str, fn(&[u8]));

/// The targets.
pub const TARGETS: &[Target] = &[
    ("wire-claim", claim),
    ("wire-event-stream", event_stream),
    ("wire-framing", front::fuzz::framing),
    ("wire-headers", front::fuzz::headers),
    ("wire-signing-time", signing_time),
];

/// Lines: the method, the path, the query, then headers.
fn claim(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let (method, path, query) = (line(), line(), line());
    let mut headers = HeaderMap::new();
    for line in lines.take(64) {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    let parts = Parts {
        method,
        path,
        query,
        headers: &headers,
        authority: None,
    };
    if let Ok(claim) = Claim::read(&parts) {
        // It is made of what was said, cut where it was found.
        assert!(claim.access_key().len() + claim.date().len() + claim.region().len() <= bytes.len());
    }
}

/// A first byte says where the rest is cut in two: what comes out does not depend on that.
fn event_stream(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else {
        return;
    };
    let (first, second) = bytes.split_at(usize::from(*cut).min(bytes.len()));
    let whole = messages(&[bytes]);
    assert_eq!(whole, messages(&[first, second]));
    for message in &whole {
        // What was read can be written, and is read as the same.
        let Ok(encoded) = message.encode() else { continue };
        assert_eq!(messages(&[&encoded]), std::slice::from_ref(message));
    }
}

fn messages(parts: &[&[u8]]) -> Vec<Message> {
    let mut decoder = Decoder::default();
    let mut messages = Vec::new();
    for part in parts {
        decoder.put(part);
        while let Ok(Some(message)) = decoder.next_message() {
            messages.push(message);
        }
    }
    messages
}

fn signing_time(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(time) = SigningTime::parse(text) {
        assert_eq!(time.as_str(), text);
    }
    if let Some(time) = SigningTime::parse_http_date(text) {
        assert_eq!(SigningTime::parse(time.as_str()), Some(time));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn targets_hold(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,80}") {
            for (_, target) in TARGETS {
                target(&bytes);
                target(text.as_bytes());
            }
        }
    }
}
