//! The codec of the socket between the server and a host process: a pure one.
//!
//! A frame is `length: u32`, `kind: u8`, `id: u32`, all little-endian, and a body of `length` bytes. What the kinds mean
//! is in [`message`](crate::message).

use bytes::{Buf, Bytes, BytesMut};

/// The bytes before a body.
pub const HEADER_BYTES: usize = 9;
/// The longest body in bytes: the largest answer, or the largest event with its function's variables.
pub const BODY_BYTES: usize = 7 * 1024 * 1024;

/// A frame as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it means.
    pub kind: u8,
    /// What it is about: a call or a module.
    pub id: u32,
    /// The rest.
    pub body: Bytes,
}

/// A frame claims to be longer than frames are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes is longer than one may be")]
pub struct TooLong(pub usize);

/// The header of a frame with a body of `length` bytes, which is at most [`BODY_BYTES`].
pub fn header(kind: u8, id: u32, length: usize) -> Result<[u8; HEADER_BYTES], TooLong> {
    let length = u32::try_from(length)
        .ok()
        .filter(|length| *length as usize <= BODY_BYTES)
        .ok_or(TooLong(length))?;
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&length.to_le_bytes());
    header[4] = kind;
    header[5..].copy_from_slice(&id.to_le_bytes());
    Ok(header)
}

/// Takes the first frame out of what was read, when it is whole. Afterwards `buffer` has room for what is missing.
pub fn take(buffer: &mut BytesMut) -> Result<Option<Frame>, TooLong> {
    let Some((header, rest)) = buffer.split_first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let [a, b, c, d, kind, e, f, g, h] = *header;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    if length > BODY_BYTES {
        return Err(TooLong(length));
    }
    if rest.len() < length {
        let missing = length - rest.len();
        buffer.reserve(missing);
        return Ok(None);
    }
    buffer.advance(HEADER_BYTES);
    Ok(Some(Frame {
        kind,
        id: u32::from_le_bytes([e, f, g, h]),
        body: buffer.split_to(length).freeze(),
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(frame: &Frame) -> Vec<u8> {
        let mut bytes = header(frame.kind, frame.id, frame.body.len()).unwrap().to_vec();
        bytes.extend_from_slice(&frame.body);
        bytes
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_anything_is_kept_for_it() {
        let mut buffer = BytesMut::from(&[0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0][..]);
        assert_eq!(take(&mut buffer), Err(TooLong(0xffff_ffff)));
        assert_eq!(header(1, 1, BODY_BYTES + 1), Err(TooLong(BODY_BYTES + 1)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn frames_read_back_however_they_were_cut(
            frames in proptest::collection::vec(
                (any::<u8>(), any::<u32>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..6),
            step in 1..17usize,
        ) {
            let frames: Vec<Frame> =
                frames.into_iter().map(|(kind, id, body)| Frame { kind, id, body: body.into() }).collect();
            let bytes: Vec<u8> = frames.iter().flat_map(encode).collect();
            let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
            for part in bytes.chunks(step) {
                buffer.extend_from_slice(part);
                while let Some(frame) = take(&mut buffer).unwrap() {
                    found.push(frame);
                }
            }
            prop_assert!(buffer.is_empty());
            prop_assert_eq!(found, frames);
        }

        #[test]
        fn any_bytes_are_frames_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(frame)) = take(&mut buffer) {
                prop_assert!(frame.body.len() <= bytes.len());
            }
        }
    }
}
