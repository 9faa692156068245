//! Traces: what `X-Amzn-Trace-Id` says of a request.
//! Source: <https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader>.

use std::fmt::Write as _;

use crate::id::RequestId;

/// The longest trace that is taken from somebody nobody knows, in bytes.
const STRANGERS_BYTES: usize = 256;

/// The trace of a request that brings none, made at `now_ms` milliseconds since 1970. It is not sampled.
pub fn new_trace(now_ms: i64) -> String {
    let root = RequestId::new();
    let parent = RequestId::new();
    let mut text = String::with_capacity(80);
    // Writing to a String does not fail.
    let _ = write!(text, "Root=1-{:08x}-", now_ms / 1000);
    push_hex(&mut text, &root.as_bytes()[4..]);
    text.push_str(";Parent=");
    push_hex(&mut text, &parent.as_bytes()[8..]);
    text.push_str(";Sampled=0");
    text
}

/// Whether a text that anybody may have sent can be taken for a trace: it has a root, and nothing in it that means anything elsewhere.
pub fn is_trace(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"=;:-_".contains(&byte);
    text.starts_with("Root=") && text.len() <= STRANGERS_BYTES && text.bytes().all(is_part)
}

/// Adds two digits for each byte. Each call that brings no trace makes one: formatting it byte by byte was 3 % of its cost.
fn push_hex(text: &mut String, bytes: &[u8]) {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    text.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_trace_has_the_form_of_xray() {
        let trace = new_trace(1_764_037_671_023);
        let (root, rest) = trace.split_once(";Parent=").unwrap();
        assert!(root.starts_with("Root=1-69251427-"), "{trace}");
        assert_eq!(root.len(), "Root=1-69251427-".len() + 24);
        assert_eq!(rest.len(), 16 + ";Sampled=0".len());
        assert!(is_trace(&trace));
    }

    #[test]
    fn not_everything_is_a_trace() {
        assert!(is_trace("Root=1-643ec28d-5503dc7274559e68706dae64"));
        for text in [
            "",
            "Self=1",
            "Root=a b",
            "Root=\"",
            &format!("Root={}", "a".repeat(256)),
        ] {
            assert!(!is_trace(text), "{text}");
        }
    }
}
