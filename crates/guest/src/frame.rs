//! The frames of managed runtimes, version 2 (`PROTOCOL.md`): a pure codec.

use bytes::Bytes;
use ephyra_core::id::RequestId;
use ephyra_core::limits;

/// The version of the protocol, in every header.
pub const VERSION: u8 = 2;
/// The bytes of a header.
pub const HEADER_BYTES: usize = 8;
/// The largest packet of either side, in bytes. No packet has bytes of two frames.
pub const PACKET_BYTES: usize = 64 * 1024;
/// The largest first packet of a frame to a guest, in bytes: what every runtime reads at once.
pub const FIRST_PACKET_BYTES: usize = 8 * 1024;
/// What stands before the meta of an event: request id, deadline, length of the meta, flags.
pub const EVENT_HEAD_BYTES: usize = 32;
/// The flag of an event whose answer is wanted as a stream.
pub const FLAG_STREAMING: u32 = 1;
/// The largest part of a stream in one frame, in bytes.
pub const CHUNK_BYTES: usize = 1 << 20;
/// The largest configuration, in bytes: 4 KB of variables escaped throughout, our own, and room.
pub const CONFIGURATION_BYTES: usize = 64 * 1024;
/// The longest name of an error's type or of a content type, in bytes.
pub const NAME_BYTES: usize = 256;

const ID_BYTES: usize = 16;
const NAME_LENGTH_BYTES: usize = 2;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Host to guest: run the handler.
    Event = 0x01,
    /// Host to guest: become this function.
    Configure = 0x02,
    /// Host to guest: you were kept, loaded, for a while, and the first event comes now.
    Restore = 0x03,
    /// The runtime waits to be told which function it is.
    Booted = 0x81,
    /// The function is loaded.
    Ready = 0x82,
    /// The function could not be loaded.
    InitError = 0x83,
    /// The whole answer.
    Response = 0x84,
    /// The handler failed.
    Error = 0x85,
    /// A streamed answer begins.
    StreamHead = 0x86,
    /// A part of it.
    StreamChunk = 0x87,
    /// It is complete.
    StreamEnd = 0x88,
    /// It breaks off.
    StreamError = 0x89,
    /// The handler failed in a way that the runtime does not outlive.
    FatalError = 0x8a,
}

impl Kind {
    /// The kinds that a guest may send.
    const fn from_guest(byte: u8) -> Option<Self> {
        Some(match byte {
            0x81 => Self::Booted,
            0x82 => Self::Ready,
            0x83 => Self::InitError,
            0x84 => Self::Response,
            0x85 => Self::Error,
            0x86 => Self::StreamHead,
            0x87 => Self::StreamChunk,
            0x88 => Self::StreamEnd,
            0x89 => Self::StreamError,
            0x8a => Self::FatalError,
            _ => return None,
        })
    }

    /// The largest body that is kept, in bytes.
    const fn limit(self) -> usize {
        const DOCUMENT: usize = NAME_LENGTH_BYTES + NAME_BYTES + limits::SYNC_RESPONSE_BYTES;
        match self {
            Self::Event | Self::Configure | Self::Restore | Self::Booted | Self::Ready => 0,
            Self::InitError => DOCUMENT,
            Self::Response => ID_BYTES + limits::SYNC_RESPONSE_BYTES,
            Self::Error | Self::StreamError | Self::FatalError => ID_BYTES + DOCUMENT,
            Self::StreamHead => ID_BYTES + NAME_BYTES,
            Self::StreamChunk => ID_BYTES + CHUNK_BYTES,
            Self::StreamEnd => ID_BYTES,
        }
    }

    /// Whether a body beyond the limit is read and thrown away, because it is the function's honest answer, and
    /// not a breach of the protocol.
    const fn is_discarded_beyond(self) -> bool {
        matches!(
            self,
            Self::Response | Self::Error | Self::StreamError | Self::FatalError
        )
    }
}

/// A frame from the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The runtime waits to be told which function it is.
    Booted,
    /// The function is loaded.
    Ready,
    /// The function could not be loaded.
    InitError(Document),
    /// The whole answer.
    Response(RequestId, Bytes),
    /// An answer or an error was larger than what is kept, and has been thrown away.
    Oversized(RequestId),
    /// The handler failed.
    Error(RequestId, Document),
    /// A streamed answer begins, of this content type.
    StreamHead(RequestId, String),
    /// A part of it.
    StreamChunk(RequestId, Bytes),
    /// It is complete.
    StreamEnd(RequestId),
    /// It breaks off.
    StreamError(RequestId, Document),
    /// The handler failed in a way that the runtime does not outlive: it exits now.
    FatalError(RequestId, Document),
}

impl Frame {
    /// Whether another frame follows without being asked for.
    pub const fn goes_on(&self) -> bool {
        matches!(self, Self::StreamHead(..) | Self::StreamChunk(..))
    }

    /// The invocation that the frame belongs to; `None` during initialisation.
    pub fn request_id(&self) -> Option<RequestId> {
        match self {
            Self::Booted | Self::Ready | Self::InitError(_) => None,
            Self::Response(id, _)
            | Self::Oversized(id)
            | Self::Error(id, _)
            | Self::StreamHead(id, _)
            | Self::StreamChunk(id, _)
            | Self::StreamEnd(id)
            | Self::StreamError(id, _)
            | Self::FatalError(id, _) => Some(*id),
        }
    }
}

/// A failure as the guest tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The type, such as the class of the exception.
    pub error_type: String,
    /// The error document, unread.
    pub json: Bytes,
}

/// A breach of the protocol: the environment is ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Another protocol, or none.
    #[error("a frame of version {0}, not {VERSION}")]
    Version(u8),
    /// The reserved bytes are not zero.
    #[error("a frame whose reserved bytes are not zero")]
    Reserved,
    /// No such frame comes from a guest.
    #[error("a frame of the unknown kind {0:#04x}")]
    Kind(u8),
    /// The body is longer than its kind may be.
    #[error("a frame of kind {kind:?} with {length} bytes")]
    TooLong {
        /// What the frame is.
        kind: Kind,
        /// What its header says.
        length: u32,
    },
    /// The body is not what its kind demands.
    #[error("a malformed frame of kind {0:?}")]
    Malformed(Kind),
}

/// Takes frames out of a stream of bytes, cut anywhere. After an error it is not to be used again.
#[derive(Debug, Default)]
pub struct Decoder {
    header: [u8; HEADER_BYTES],
    filled: usize,
    body: Option<Body>,
}

#[derive(Debug)]
struct Body {
    kind: Kind,
    kept: Vec<u8>,
    keep: usize,
    discard: usize,
    is_oversized: bool,
}

impl Decoder {
    /// Takes what it can use of `bytes` and says how much that was, with the frame that became complete, if one did.
    /// Without a frame all of `bytes` was used.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(usize, Option<Frame>), FrameError> {
        let mut used = 0;
        if self.body.is_none() {
            used = bytes.len().min(HEADER_BYTES - self.filled);
            self.header[self.filled..self.filled + used].copy_from_slice(&bytes[..used]);
            self.filled += used;
            if self.filled < HEADER_BYTES {
                return Ok((used, None));
            }
            self.body = Some(Body::of(self.header)?);
        }
        let Some(body) = &mut self.body else {
            return Ok((used, None));
        };
        let rest = &bytes[used..];
        let kept = rest.len().min(body.keep);
        body.kept.extend_from_slice(&rest[..kept]);
        body.keep -= kept;
        let discarded = (rest.len() - kept).min(body.discard);
        body.discard -= discarded;
        used += kept + discarded;
        if body.keep > 0 || body.discard > 0 {
            return Ok((used, None));
        }
        let frame = self.body.take().map(Body::into_frame).transpose()?;
        self.filled = 0;
        Ok((used, frame))
    }

    /// Where to read more to without a detour, when bytes of a body that is kept are still to come. What was read there
    /// is for [`Decoder::take_directly`].
    pub fn room(&mut self) -> Option<&mut Vec<u8>> {
        let body = self.body.as_mut().filter(|body| body.keep > 0)?;
        Some(&mut body.kept)
    }

    /// Counts `bytes` that were read into the room, and gives the frame that became complete, if it did.
    pub fn take_directly(&mut self, bytes: usize) -> Result<Option<Frame>, FrameError> {
        if let Some(body) = &mut self.body {
            body.keep = body.keep.checked_sub(bytes).ok_or(FrameError::Malformed(body.kind))?;
        }
        // Whatever was the last of the body, that it is complete is found where it always is.
        self.feed(&[]).map(|(_, frame)| frame)
    }

    /// Whether it is between two frames.
    pub fn is_at_boundary(&self) -> bool {
        self.filled == 0
    }
}

impl Body {
    fn of(header: [u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let [a, b, c, d, kind, version, reserved @ ..] = header;
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        if reserved != [0, 0] {
            return Err(FrameError::Reserved);
        }
        let kind = Kind::from_guest(kind).ok_or(FrameError::Kind(kind))?;
        let length = u32::from_le_bytes([a, b, c, d]);
        let bytes = length as usize;
        let (keep, discard) = match bytes.checked_sub(kind.limit()) {
            None | Some(0) => (bytes, 0),
            Some(_) if kind.is_discarded_beyond() => (ID_BYTES, bytes - ID_BYTES),
            Some(_) => return Err(FrameError::TooLong { kind, length }),
        };
        Ok(Self {
            kind,
            kept: Vec::with_capacity(keep),
            keep,
            discard,
            is_oversized: discard > 0,
        })
    }

    fn into_frame(self) -> Result<Frame, FrameError> {
        let kind = self.kind;
        let mut reader = Reader {
            body: self.kept.into(),
            kind,
        };
        Ok(match kind {
            Kind::Booted => Frame::Booted,
            Kind::Ready => Frame::Ready,
            Kind::InitError => Frame::InitError(reader.document()?),
            _ if self.is_oversized => Frame::Oversized(reader.request_id()?),
            Kind::Response => Frame::Response(reader.request_id()?, reader.body),
            Kind::Error => Frame::Error(reader.request_id()?, reader.document()?),
            Kind::StreamHead => Frame::StreamHead(reader.request_id()?, reader.content_type()?),
            Kind::StreamChunk => Frame::StreamChunk(reader.request_id()?, reader.body),
            Kind::StreamEnd => Frame::StreamEnd(reader.request_id()?),
            Kind::StreamError => Frame::StreamError(reader.request_id()?, reader.document()?),
            Kind::FatalError => Frame::FatalError(reader.request_id()?, reader.document()?),
            Kind::Event | Kind::Configure | Kind::Restore => return Err(FrameError::Kind(kind as u8)),
        })
    }
}

struct Reader {
    body: Bytes,
    kind: Kind,
}

impl Reader {
    fn take(&mut self, count: usize) -> Result<Bytes, FrameError> {
        if self.body.len() < count {
            return Err(FrameError::Malformed(self.kind));
        }
        Ok(self.body.split_to(count))
    }

    fn request_id(&mut self) -> Result<RequestId, FrameError> {
        let bytes = self.take(ID_BYTES)?;
        let bytes = <[u8; ID_BYTES]>::try_from(bytes.as_ref()).map_err(|_| FrameError::Malformed(self.kind))?;
        Ok(RequestId::from_bytes(bytes))
    }

    fn document(&mut self) -> Result<Document, FrameError> {
        let length = self.take(NAME_LENGTH_BYTES)?;
        let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
        if length > NAME_BYTES {
            return Err(FrameError::Malformed(self.kind));
        }
        let name = self.take(length)?;
        let error_type = self.text(&name)?;
        Ok(Document {
            error_type,
            json: std::mem::take(&mut self.body),
        })
    }

    fn content_type(&mut self) -> Result<String, FrameError> {
        let name = std::mem::take(&mut self.body);
        self.text(&name)
    }

    fn text(&self, bytes: &[u8]) -> Result<String, FrameError> {
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.chars().any(char::is_control) => Ok(text.to_owned()),
            _ => Err(FrameError::Malformed(self.kind)),
        }
    }
}

/// Replaces `buffer` by an event frame up to its payload, which is to follow it on the wire.
///
/// `meta` is JSON. Fails when meta and payload are longer than a frame can say.
pub fn encode_event(
    buffer: &mut Vec<u8>,
    request_id: RequestId,
    deadline_ms: u64,
    is_streaming: bool,
    meta: &[u8],
    payload_bytes: usize,
) -> Result<(), std::num::TryFromIntError> {
    let length = u32::try_from(EVENT_HEAD_BYTES + meta.len() + payload_bytes)?;
    let meta_length = u32::try_from(meta.len())?;
    buffer.clear();
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.extend_from_slice(&[Kind::Event as u8, VERSION, 0, 0]);
    buffer.extend_from_slice(request_id.as_bytes());
    buffer.extend_from_slice(&deadline_ms.to_le_bytes());
    buffer.extend_from_slice(&meta_length.to_le_bytes());
    buffer.extend_from_slice(&(if is_streaming { FLAG_STREAMING } else { 0 }).to_le_bytes());
    buffer.extend_from_slice(meta);
    Ok(())
}

/// A whole configuration frame around `body`, which is JSON. `None` when it is larger than [`CONFIGURATION_BYTES`].
pub fn encode_configuration(body: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(body.len()).ok()?;
    if body.len() > CONFIGURATION_BYTES {
        return None;
    }
    let mut frame = Vec::with_capacity(HEADER_BYTES + body.len());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&[Kind::Configure as u8, VERSION, 0, 0]);
    frame.extend_from_slice(body);
    Some(frame)
}

/// A whole restore frame. Its body is JSON without members: what may come to be told is ignored by who does not know.
pub const RESTORE: [u8; HEADER_BYTES + 2] = [2, 0, 0, 0, Kind::Restore as u8, VERSION, 0, 0, b'{', b'}'];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes_of(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
        bytes.extend_from_slice(&[kind, VERSION, 0, 0]);
        bytes.extend_from_slice(body);
        bytes
    }

    fn decode(parts: &[&[u8]]) -> Result<Vec<Frame>, FrameError> {
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        for part in parts {
            let mut rest = *part;
            while !rest.is_empty() {
                let (used, frame) = decoder.feed(rest)?;
                frames.extend(frame);
                rest = &rest[used..];
            }
        }
        Ok(frames)
    }

    fn check(kind: u8, body: &[u8], want: Result<Frame, FrameError>) {
        assert_eq!(decode(&[&bytes_of(kind, body)]), want.map(|frame| vec![frame]));
    }

    const ID: [u8; 16] = [7; 16];

    #[test]
    fn each_kind_is_read() {
        let id = RequestId::from_bytes(ID);
        let document = Document {
            error_type: "E".into(),
            json: Bytes::from_static(b"{}"),
        };
        check(0x81, b"", Ok(Frame::Booted));
        check(0x82, b"", Ok(Frame::Ready));
        check(0x83, b"\x01\0E{}", Ok(Frame::InitError(document.clone())));
        check(
            0x84,
            &[&ID[..], b"[]"].concat(),
            Ok(Frame::Response(id, Bytes::from_static(b"[]"))),
        );
        check(
            0x85,
            &[&ID[..], b"\x01\0E{}"].concat(),
            Ok(Frame::Error(id, document.clone())),
        );
        check(
            0x86,
            &[&ID[..], b"a/b"].concat(),
            Ok(Frame::StreamHead(id, "a/b".into())),
        );
        check(
            0x87,
            &[&ID[..], b"x"].concat(),
            Ok(Frame::StreamChunk(id, Bytes::from_static(b"x"))),
        );
        check(0x88, &ID, Ok(Frame::StreamEnd(id)));
        check(
            0x89,
            &[&ID[..], b"\x01\0E{}"].concat(),
            Ok(Frame::StreamError(id, document.clone())),
        );
        check(
            0x8a,
            &[&ID[..], b"\x01\0E{}"].concat(),
            Ok(Frame::FatalError(id, document)),
        );
    }

    #[test]
    fn breaches_are_told_apart() {
        check(0x01, b"", Err(FrameError::Kind(1)));
        check(0x02, b"", Err(FrameError::Kind(2)));
        check(
            0x81,
            b"x",
            Err(FrameError::TooLong {
                kind: Kind::Booted,
                length: 1,
            }),
        );
        check(0x84, b"short", Err(FrameError::Malformed(Kind::Response)));
        check(0x83, b"\x05\0E", Err(FrameError::Malformed(Kind::InitError)));
        check(
            0x86,
            &[&ID[..], b"a\r\nb"].concat(),
            Err(FrameError::Malformed(Kind::StreamHead)),
        );
        assert_eq!(decode(&[&[0, 0, 0, 0, 0x81, 1, 0, 0]]), Err(FrameError::Version(1)));
        assert_eq!(decode(&[&[0, 0, 0, 0, 0x81, 2, 0, 1]]), Err(FrameError::Reserved));
        assert_eq!(
            decode(&[&[0xff, 0xff, 0xff, 0xff, 0x87, 2, 0, 0]]),
            Err(FrameError::TooLong {
                kind: Kind::StreamChunk,
                length: u32::MAX
            })
        );
    }

    #[test]
    fn an_answer_of_the_largest_size_is_kept_and_a_larger_one_is_discarded() {
        let mut body = ID.to_vec();
        body.resize(16 + limits::SYNC_RESPONSE_BYTES, b'a');
        let frames = decode(&[&bytes_of(0x84, &body)]).unwrap();
        assert!(matches!(&frames[..], [Frame::Response(_, payload)] if payload.len() == limits::SYNC_RESPONSE_BYTES));
        body.push(b'a');
        let frames = decode(&[&bytes_of(0x84, &body), &bytes_of(0x82, b"")]).unwrap();
        assert_eq!(frames, [Frame::Oversized(RequestId::from_bytes(ID)), Frame::Ready]);
    }

    #[test]
    fn an_event_is_laid_out_as_documented() {
        let mut buffer = vec![9; 3];
        encode_event(&mut buffer, RequestId::from_bytes(ID), 5, true, b"{}", 4).unwrap();
        let mut want = vec![38, 0, 0, 0, 1, 2, 0, 0];
        want.extend_from_slice(&ID);
        want.extend_from_slice(&[5, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, b'{', b'}']);
        assert_eq!(buffer, want);
    }

    #[test]
    fn a_configuration_is_laid_out_as_documented_and_bounded() {
        let frame = encode_configuration(b"{}").unwrap();
        assert_eq!(frame, [2, 0, 0, 0, 2, 2, 0, 0, b'{', b'}']);
        assert!(encode_configuration(&vec![b' '; CONFIGURATION_BYTES]).is_some());
        assert_eq!(encode_configuration(&vec![b' '; CONFIGURATION_BYTES + 1]), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _frames_or_breach = decode(&[&bytes]);
        }

        #[test]
        fn arbitrary_bodies_never_panic(
            kind in 0x80..0x8cu8,
            body in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let _frames_or_breach = decode(&[&bytes_of(kind, &body)]);
        }

        #[test]
        fn cuts_change_nothing(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 16..60), 1..5),
            cuts in proptest::collection::vec(0..400usize, 0..8),
        ) {
            let stream: Vec<u8> = bodies.iter().flat_map(|body| bytes_of(0x87, body)).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let parts: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
            prop_assert_eq!(decode(&parts), decode(&[&stream]));
            prop_assert_eq!(decode(&parts).map(|frames| frames.len()), Ok(bodies.len()));
        }

        #[test]
        fn what_is_read_without_a_detour_is_the_same(
            body in proptest::collection::vec(any::<u8>(), 16..300),
            first in 8..320usize,
            parts in proptest::collection::vec(1..50usize, 1..20),
        ) {
            let stream = [bytes_of(0x84, &body), bytes_of(0x82, b"")].concat();
            let mut decoder = Decoder::default();
            let mut frames = Vec::new();
            let mut rest = &stream[..];
            let mut sizes = std::iter::once(first).chain(parts.into_iter().cycle());
            while !rest.is_empty() {
                let size = sizes.next().unwrap_or(1).min(rest.len());
                if let Some(room) = decoder.room() {
                    let size = size.min(8 + body.len() - (stream.len() - rest.len()));
                    room.extend_from_slice(&rest[..size]);
                    frames.extend(decoder.take_directly(size).unwrap());
                    rest = &rest[size..];
                } else {
                    let (used, frame) = decoder.feed(&rest[..size]).unwrap();
                    frames.extend(frame);
                    rest = &rest[used..];
                }
            }
            prop_assert_eq!(Ok(frames), decode(&[&stream]));
        }
    }
}
