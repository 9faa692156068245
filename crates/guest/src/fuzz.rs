//! What fuzzing feeds: what guests send, with bytes that may be anything. A target panics where a parser breaks its
//! promise.

use crate::frame::{Decoder, Frame};

/// A target, with its name.
pub type Target = (&'static str, fn(&[u8]));

/// The targets.
pub const TARGETS: &[Target] = &[("guest-frames", frames)];

/// A first byte says where the rest is cut in two: what comes out does not depend on that.
fn frames(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else {
        return;
    };
    let (first, second) = bytes.split_at(usize::from(*cut).min(bytes.len()));
    assert_eq!(read(&[bytes]), read(&[first, second]));
}

/// The frames, and whether all went well.
fn read(parts: &[&[u8]]) -> (Vec<Frame>, bool) {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for part in parts {
        let mut rest = *part;
        loop {
            let Ok((used, frame)) = decoder.feed(rest) else {
                return (frames, false);
            };
            assert!(used <= rest.len());
            rest = &rest[used..];
            let Some(frame) = frame else { break };
            frames.push(frame);
        }
    }
    (frames, true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn targets_hold(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for (_, target) in TARGETS {
                target(&bytes);
            }
        }
    }
}
