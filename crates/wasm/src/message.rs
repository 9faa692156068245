//! What the server and a host process say to each other.
//!
//! The host begins with [`FromHost::Hello`]. A module is registered by [`ToHost::Load`], and mapped at its first call
//! or ahead of it by [`ToHost::Map`].
//! Each [`ToHost::Call`] ends with one [`FromHost::Done`], also when it was cancelled; nothing of a call follows its
//! `Done`. A call's log and its streamed answer each have a credit, [`CREDIT`] at first, of which a piece of n bytes
//! takes n + [`PIECE`]; [`ToHost::Credit`] gives back. A host that overdraws has broken the protocol.

use bytes::{BufMut, Bytes, BytesMut};
use ephyra_core::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::artefact::Artefact;
use crate::frame::Frame;

/// This protocol's version, said in [`FromHost::Hello`].
pub const VERSION: u16 = 2;
/// The credit of a new call for its log, and for its streamed answer, in bytes.
pub const CREDIT: u32 = 256 * 1024;
/// What a piece of a log or an answer costs besides its bytes.
pub const PIECE: u32 = 64;
/// The longest text of an error, in bytes.
pub const TEXT_BYTES: usize = 16 * 1024;

const LOAD: u8 = 0x01;
const UNLOAD: u8 = 0x02;
const CALL: u8 = 0x03;
const CANCEL: u8 = 0x04;
const CREDIT_OF: u8 = 0x05;
const MAP: u8 = 0x06;
const HELLO: u8 = 0x81;
const LOG: u8 = 0x82;
const HEAD: u8 = 0x83;
const CHUNK: u8 = 0x84;
const DONE: u8 = 0x85;

/// A frame that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// No message has this kind.
    #[error("a frame has the unknown kind {0}")]
    Kind(u8),
    /// The body is not what its kind says.
    #[error("a frame of kind {kind} cannot be read")]
    Body {
        /// The frame's kind.
        kind: u8,
    },
}

/// What one credit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Flow {
    /// What the function logs.
    Log,
    /// What it answers, streamed.
    Answer,
}

/// What is the same for all calls of an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The function's environment variables.
    pub variables: Vec<(String, String)>,
    /// The memory of all its instances together, in bytes.
    pub memory_bytes: u64,
    /// Its share of one processor, in thousandths.
    pub cpu_permille: u32,
}

/// What is a call's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallHead {
    /// A registered module.
    pub module: u32,
    /// How long it may take, in microseconds.
    pub time_us: u64,
    /// Whether the answer is streamed.
    pub streams: bool,
    /// The request's identifier, told to the function as `AWS_LAMBDA_REQUEST_ID` and in a header.
    pub request_id: String,
    /// The value of `X-Amzn-Trace-Id`, told as `_X_AMZN_TRACE_ID`.
    pub trace_id: Option<String>,
    /// The client context, told as `AWS_LAMBDA_CLIENT_CONTEXT`.
    pub client_context: Option<String>,
    /// The ARN that was called, told as `AWS_LAMBDA_INVOKED_FUNCTION_ARN`.
    pub invoked_arn: String,
}

/// A call as the host reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What is its own.
    pub head: CallHead,
    /// What it shares with other calls, a [`Setting`] still encoded.
    pub setting: Bytes,
    /// The event.
    pub payload: Bytes,
}

/// From the server to the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToHost {
    /// Registers a compiled module.
    Load {
        /// Its number from now on.
        module: u32,
        /// The name of its file.
        artefact: Artefact,
    },
    /// Forgets a module; calls of it that run go on.
    Unload {
        /// Its number.
        module: u32,
    },
    /// Maps a module, for its first call to find that done.
    Map {
        /// Its number.
        module: u32,
    },
    /// Runs an instance.
    Call {
        /// A number that was not used before.
        call: u32,
        /// What is to run.
        body: Call,
    },
    /// Ends a call.
    Cancel {
        /// Its number.
        call: u32,
    },
    /// Gives credit back.
    Credit {
        /// The call.
        call: u32,
        /// What for.
        flow: Flow,
        /// How much, in bytes.
        bytes: u32,
    },
}

/// From the host to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromHost {
    /// The host is there.
    Hello {
        /// Its [`VERSION`].
        version: u16,
    },
    /// A part of what a call logs.
    Log {
        /// The call.
        call: u32,
        /// Bytes as written, not cut at lines.
        bytes: Bytes,
    },
    /// A streamed answer begins.
    Head {
        /// The call.
        call: u32,
        /// Its content type.
        content_type: String,
    },
    /// A part of a streamed answer.
    Chunk {
        /// The call.
        call: u32,
        /// Bytes of it.
        bytes: Bytes,
    },
    /// A call is over.
    Done {
        /// The call.
        call: u32,
        /// What it took and how it ended.
        done: Done,
        /// The answer, when it was buffered.
        answer: Bytes,
    },
}

/// How a call ended and what it took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// How it ended.
    pub outcome: Ended,
    /// CPU time, in nanoseconds.
    pub cpu_ns: u64,
    /// The most linear memory at once, in bytes.
    pub peak_bytes: u64,
    /// Mapping the module, when this call did it, in nanoseconds.
    pub load_ns: u64,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// With an answer, behind or streamed.
    Answered,
    /// The module's file is missing or not for this host: it has to be compiled.
    Unloadable(String),
    /// The guest ended itself with a status other than 0.
    Exit(i32),
    /// It trapped: the trap's name, and where.
    Trap {
        /// Such as `unreachable`.
        name: String,
        /// Of several lines.
        trace: String,
    },
    /// It wanted more memory than it may have, and failed.
    OutOfMemory,
    /// Its time was up.
    Timeout,
    /// The server did not want it any more.
    Cancelled,
    /// The answer is larger than one may be.
    TooLarge,
    /// It ended without an answer, in this way.
    NoAnswer(String),
    /// No instance could be made, by no fault of the function.
    Busy(String),
}

/// `text` cut to [`TEXT_BYTES`].
pub fn bounded(mut text: String) -> String {
    if text.len() > TEXT_BYTES {
        let mut end = TEXT_BYTES;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
    // Only sequences of unknown length cannot be encoded, and there are none.
    postcard::to_stdvec(value).unwrap_or_default()
}

/// Parts with their lengths before them, as bodies of several parts have.
fn put_part(part: &[u8], body: &mut BytesMut) {
    body.put_u32_le(u32::try_from(part.len()).unwrap_or(u32::MAX));
    body.put_slice(part);
}

fn take_part(body: &mut Bytes) -> Option<Bytes> {
    let (length, _) = body.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    if body.len() - 4 < length {
        return None;
    }
    drop(body.split_to(4));
    Some(body.split_to(length))
}

impl Setting {
    /// As a call carries it.
    pub fn encode(&self) -> Bytes {
        encoded(self).into()
    }

    /// From a call.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

/// A message as it is sent: a frame's kind, its id, and its body in up to two parts, of which the second is not copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The frame's kind.
    pub kind: u8,
    /// The frame's id.
    pub id: u32,
    /// The beginning of the body.
    pub small: BytesMut,
    /// The rest.
    pub large: Bytes,
}

impl Outgoing {
    fn new(kind: u8, id: u32, small: BytesMut) -> Self {
        let large = Bytes::new();
        Self { kind, id, small, large }
    }
}

impl ToHost {
    /// The message as a frame.
    pub fn encode(self) -> Outgoing {
        match self {
            Self::Load { module, artefact } => {
                let mut small = BytesMut::from(&artefact.package.as_bytes()[..]);
                small.put_slice(artefact.entry.as_bytes());
                Outgoing::new(LOAD, module, small)
            }
            Self::Unload { module } => Outgoing::new(UNLOAD, module, BytesMut::new()),
            Self::Map { module } => Outgoing::new(MAP, module, BytesMut::new()),
            Self::Call { call, body } => {
                let head = encoded(&body.head);
                let mut small = BytesMut::with_capacity(8 + head.len() + body.setting.len());
                put_part(&head, &mut small);
                put_part(&body.setting, &mut small);
                let large = body.payload;
                Outgoing {
                    kind: CALL,
                    id: call,
                    small,
                    large,
                }
            }
            Self::Cancel { call } => Outgoing::new(CANCEL, call, BytesMut::new()),
            Self::Credit { call, flow, bytes } => {
                let mut small = BytesMut::with_capacity(5);
                small.put_u8(u8::from(flow == Flow::Answer));
                small.put_u32_le(bytes);
                Outgoing::new(CREDIT_OF, call, small)
            }
        }
    }

    /// A frame as a message.
    pub fn decode(frame: Frame) -> Result<Self, MessageError> {
        let Frame { kind, id, mut body } = frame;
        let broken = MessageError::Body { kind };
        match kind {
            LOAD => {
                let bytes: [u8; 64] = body[..].try_into().map_err(|_| broken)?;
                let (package, entry) = bytes.split_at(32);
                let digest = |bytes: &[u8]| Digest::from_bytes(bytes.try_into().unwrap_or_default());
                let artefact = Artefact {
                    package: digest(package),
                    entry: digest(entry),
                };
                Ok(Self::Load { module: id, artefact })
            }
            UNLOAD if body.is_empty() => Ok(Self::Unload { module: id }),
            MAP if body.is_empty() => Ok(Self::Map { module: id }),
            CALL => {
                let parts = (take_part(&mut body), take_part(&mut body));
                let (Some(head), Some(setting)) = parts else {
                    return Err(broken);
                };
                let head = postcard::from_bytes(&head).map_err(|_| broken)?;
                let payload = body;
                let body = Call { head, setting, payload };
                Ok(Self::Call { call: id, body })
            }
            CANCEL if body.is_empty() => Ok(Self::Cancel { call: id }),
            CREDIT_OF => match body[..] {
                [flow @ 0..=1, a, b, c, d] => Ok(Self::Credit {
                    call: id,
                    flow: if flow == 0 { Flow::Log } else { Flow::Answer },
                    bytes: u32::from_le_bytes([a, b, c, d]),
                }),
                _ => Err(broken),
            },
            UNLOAD | MAP | CANCEL => Err(broken),
            _ => Err(MessageError::Kind(kind)),
        }
    }
}

impl FromHost {
    /// The message as a frame.
    pub fn encode(self) -> Outgoing {
        match self {
            Self::Hello { version } => Outgoing::new(HELLO, 0, BytesMut::from(&version.to_le_bytes()[..])),
            Self::Log { call, bytes } => Outgoing {
                large: bytes,
                ..Outgoing::new(LOG, call, BytesMut::new())
            },
            Self::Head { call, content_type } => Outgoing::new(HEAD, call, BytesMut::from(content_type.as_bytes())),
            Self::Chunk { call, bytes } => Outgoing {
                large: bytes,
                ..Outgoing::new(CHUNK, call, BytesMut::new())
            },
            Self::Done { call, done, answer } => {
                let mut small = BytesMut::new();
                put_part(&encoded(&done), &mut small);
                Outgoing {
                    large: answer,
                    ..Outgoing::new(DONE, call, small)
                }
            }
        }
    }

    /// A frame as a message.
    pub fn decode(frame: Frame) -> Result<Self, MessageError> {
        let Frame {
            kind,
            id: call,
            mut body,
        } = frame;
        let broken = MessageError::Body { kind };
        match kind {
            HELLO => {
                let version = body[..].try_into().map_err(|_| broken)?;
                let version = u16::from_le_bytes(version);
                Ok(Self::Hello { version })
            }
            LOG => Ok(Self::Log { call, bytes: body }),
            HEAD => {
                let text = std::str::from_utf8(&body).ok().filter(|text| text.len() <= TEXT_BYTES);
                let content_type = text.ok_or(broken)?.to_owned();
                Ok(Self::Head { call, content_type })
            }
            CHUNK => Ok(Self::Chunk { call, bytes: body }),
            DONE => {
                let done = take_part(&mut body).ok_or_else(|| broken.clone())?;
                let done = postcard::from_bytes(&done).map_err(|_| broken)?;
                Ok(Self::Done {
                    call,
                    done,
                    answer: body,
                })
            }
            _ => Err(MessageError::Kind(kind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(message: Outgoing) -> Frame {
        let mut body = message.small;
        body.extend_from_slice(&message.large);
        Frame {
            kind: message.kind,
            id: message.id,
            body: body.freeze(),
        }
    }

    fn bytes() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
    }

    fn to_host() -> impl Strategy<Value = ToHost> {
        let head = (
            any::<u32>(),
            any::<u64>(),
            any::<bool>(),
            ".{0,9}",
            proptest::option::of(".{0,9}"),
        );
        let head = head.prop_map(|(module, time_us, streams, text, maybe)| CallHead {
            module,
            time_us,
            streams,
            request_id: text.clone(),
            trace_id: maybe.clone(),
            client_context: maybe,
            invoked_arn: text,
        });
        prop_oneof![
            (any::<u32>(), any::<[[u8; 32]; 2]>()).prop_map(|(module, digests)| {
                let [package, entry] = digests.map(Digest::from_bytes);
                let artefact = Artefact { package, entry };
                ToHost::Load { module, artefact }
            }),
            any::<u32>().prop_map(|module| ToHost::Unload { module }),
            any::<u32>().prop_map(|module| ToHost::Map { module }),
            (any::<u32>(), head, bytes(), bytes()).prop_map(|(call, head, setting, payload)| ToHost::Call {
                call,
                body: Call { head, setting, payload },
            }),
            any::<u32>().prop_map(|call| ToHost::Cancel { call }),
            (any::<u32>(), any::<bool>(), any::<u32>()).prop_map(|(call, log, bytes)| ToHost::Credit {
                call,
                flow: if log { Flow::Log } else { Flow::Answer },
                bytes,
            }),
        ]
    }

    fn from_host() -> impl Strategy<Value = FromHost> {
        let ended = prop_oneof![
            Just(Ended::Answered),
            any::<i32>().prop_map(Ended::Exit),
            (".{0,9}", ".{0,9}").prop_map(|(name, trace)| Ended::Trap { name, trace }),
            ".{0,9}".prop_map(Ended::Unloadable),
        ];
        let done = (ended, any::<u64>()).prop_map(|(outcome, n)| Done {
            outcome,
            cpu_ns: n,
            peak_bytes: n / 2,
            load_ns: n / 3,
        });
        prop_oneof![
            any::<u16>().prop_map(|version| FromHost::Hello { version }),
            (any::<u32>(), bytes()).prop_map(|(call, bytes)| FromHost::Log { call, bytes }),
            (any::<u32>(), ".{0,20}").prop_map(|(call, content_type)| FromHost::Head { call, content_type }),
            (any::<u32>(), bytes()).prop_map(|(call, bytes)| FromHost::Chunk { call, bytes }),
            (any::<u32>(), done, bytes()).prop_map(|(call, done, answer)| FromHost::Done { call, done, answer }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn messages_read_back(to in to_host(), from in from_host()) {
            prop_assert_eq!(ToHost::decode(frame(to.clone().encode())), Ok(to));
            prop_assert_eq!(FromHost::decode(frame(from.clone().encode())), Ok(from));
        }

        #[test]
        fn any_frame_is_a_message_or_refused(kind in 0..0x90u8, id in any::<u32>(), body in bytes()) {
            let frame = Frame { kind, id, body };
            // That neither panics nor takes more than was there is what is tested.
            let (to, from) = (ToHost::decode(frame.clone()), FromHost::decode(frame));
            prop_assert!(to.is_err() || from.is_err());
        }

        #[test]
        fn settings_read_back(name in ".{0,9}", memory_bytes in any::<u64>(), cpu_permille in any::<u32>()) {
            let setting = Setting { variables: vec![(name.clone(), name)], memory_bytes, cpu_permille };
            prop_assert_eq!(Setting::decode(&setting.encode()), Some(setting));
        }
    }
}
