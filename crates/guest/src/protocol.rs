//! One conversation for both protocols: frames and the Runtime API.

use bytes::{Bytes, BytesMut};
use ephyra_core::id::RequestId;
use ephyra_core::invocation::StreamPart;
use ephyra_core::limits;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::api::RuntimeApi;
use crate::channel::{Channel, ChannelError};
use crate::failure::Failure;
use crate::frame::{Document, Frame, RESTORE};

/// An event on its way to a guest.
pub(crate) struct Delivery<'a> {
    pub(crate) request_id: RequestId,
    pub(crate) deadline_ms: u64,
    pub(crate) invoked_arn: &'a str,
    pub(crate) client_context: Option<&'a str>,
    pub(crate) trace_id: Option<&'a str>,
    pub(crate) payload: &'a Bytes,
    pub(crate) stream: Option<&'a mpsc::Sender<StreamPart>>,
}

/// What a guest says during an invocation.
#[derive(Debug)]
pub(crate) enum Answer {
    /// All of the answer, with its content type.
    Whole(Bytes, String),
    /// More than an answer may be.
    Oversized,
    /// The function failed.
    Failed(Document),
    /// The function failed, and the runtime with it.
    Fatal(Document),
    /// A stream begins.
    Head(String),
    /// A part of it.
    Chunk(Bytes),
    /// It is complete.
    End,
}

/// Why a conversation cannot go on.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The guest has closed its end; its exit will say why.
    Closed,
    /// It said what it must not say.
    Breach(String),
}

impl From<ChannelError> for Broken {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Closed => Self::Closed,
            ChannelError::Breach(breach) => Self::Breach(breach.to_string()),
            ChannelError::Io(cause) => Self::Breach(format!("the control socket failed: {cause}")),
        }
    }
}

const JSON: &str = "application/json";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'a> {
    invoked_function_arn: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_context: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
}

/// How a guest is spoken to.
pub(crate) struct Protocol {
    talk: Talk,
    /// A wrapper script may start a runtime of ours, or a program that speaks the Runtime API itself: until one of them
    /// is heard of.
    alternative: Option<Box<RuntimeApi>>,
}

enum Talk {
    Frames(Box<Channel>),
    Api(Box<RuntimeApi>),
}

impl Protocol {
    /// In frames, or by the Runtime API where `alternative` is heard of first.
    pub(crate) fn frames(channel: Channel, alternative: Option<RuntimeApi>) -> Self {
        Self {
            talk: Talk::Frames(Box::new(channel)),
            alternative: alternative.map(Box::new),
        }
    }

    /// By the Runtime API.
    pub(crate) fn api(api: RuntimeApi) -> Self {
        Self {
            talk: Talk::Api(Box::new(api)),
            alternative: None,
        }
    }

    /// Resolves when the runtime waits to be told which function it is.
    pub(crate) async fn booted(&mut self) -> Result<(), Broken> {
        let Talk::Frames(channel) = &mut self.talk else {
            // It does not say: all of its start counts as loading.
            return Ok(());
        };
        let frame = match &mut self.alternative {
            None => channel.receive().await?,
            Some(api) => {
                let received = tokio::select! {
                    biased;
                    received = channel.receive() => received,
                    () = api.heard() => Err(ChannelError::Closed),
                };
                match (received, self.alternative.take()) {
                    // A program that speaks for itself has no use for the channel, and may close it.
                    (Err(ChannelError::Closed), Some(mut api)) => {
                        api.heard().await;
                        self.talk = Talk::Api(api);
                        return Ok(());
                    }
                    (received, api) => {
                        if let Some(api) = api {
                            api.give_up();
                        }
                        received?
                    }
                }
            }
        };
        match frame {
            Frame::Booted => Ok(()),
            frame => Err(unexpected(&frame, "before it had booted")),
        }
    }

    /// Tells the runtime which function it is; `configuration` is a whole frame.
    pub(crate) async fn configure(&mut self, configuration: &[u8]) -> Result<(), Broken> {
        match &mut self.talk {
            Talk::Frames(channel) => {
                if channel.has_unread() {
                    return Err(Broken::Breach("it spoke without being asked".to_owned()));
                }
                Ok(channel.send_configuration(configuration).await?)
            }
            // It was started with all there is to know.
            Talk::Api(_) => Ok(()),
        }
    }

    /// Resolves when the function is loaded, or has failed to.
    pub(crate) async fn ready(&mut self) -> Result<Result<(), Document>, Broken> {
        match &mut self.talk {
            Talk::Frames(channel) => match channel.receive().await? {
                Frame::Ready => Ok(Ok(())),
                Frame::InitError(document) => Ok(Err(document)),
                frame => Err(unexpected(&frame, "while it loaded the function")),
            },
            Talk::Api(api) => api.ready().await,
        }
    }

    /// Tells a runtime that was kept with its function loaded that the first event comes, and waits until it is ready
    /// for it.
    pub(crate) async fn restore(&mut self) -> Result<Result<(), Document>, Broken> {
        match &mut self.talk {
            Talk::Frames(channel) => {
                if channel.has_unread() {
                    return Err(Broken::Breach("it spoke without being asked".to_owned()));
                }
                channel.send_configuration(&RESTORE).await?;
                self.ready().await
            }
            Talk::Api(api) => api.restore().await,
        }
    }

    /// Resolves when an idle guest says or does what only a broken one does.
    pub(crate) async fn disturbed(&mut self) {
        match &mut self.talk {
            Talk::Frames(channel) => channel.disturbed().await,
            // What it says out of turn is refused.
            Talk::Api(_) => std::future::pending().await,
        }
    }

    /// Resolves when a guest that has told a failure is fit for another event.
    pub(crate) async fn settled(&mut self) {
        match &mut self.talk {
            // It would have told otherwise.
            Talk::Frames(_) => {}
            // It asks for another event or exits; this is the only way to know.
            Talk::Api(api) => {
                let _asks_again = api.ready().await;
            }
        }
    }

    /// Delivers an event and takes the answer; `sent` counts the bytes of it.
    pub(crate) async fn converse(
        &mut self,
        delivery: &Delivery<'_>,
        sent: &mut u64,
    ) -> Result<Result<Bytes, Failure>, Broken> {
        self.deliver(delivery).await?;
        match self.answer(delivery.request_id).await? {
            Answer::Whole(bytes, content_type) => {
                *sent = bytes.len() as u64;
                let Some(stream) = delivery.stream else {
                    return Ok(Ok(bytes));
                };
                // A closed stream means that nobody reads on: the function ends as usual.
                let _closed = stream.send(StreamPart::Head { content_type }).await;
                let _closed = stream.send(StreamPart::Chunk(bytes)).await;
                Ok(Ok(Bytes::new()))
            }
            Answer::Oversized => Ok(Err(Failure::too_large())),
            Answer::Failed(document) => Ok(Err(Failure::Reported(document))),
            Answer::Fatal(document) => Ok(Err(Failure::Fatal(document))),
            Answer::Head(content_type) => match delivery.stream {
                Some(stream) => {
                    let _closed = stream.send(StreamPart::Head { content_type }).await;
                    self.pass_on(delivery.request_id, stream, sent).await
                }
                None => self.gather(delivery.request_id, sent).await,
            },
            Answer::Chunk(_) | Answer::End => Err(Broken::Breach("a stream without a head".to_owned())),
        }
    }

    /// Passes the parts of a stream on.
    async fn pass_on(
        &mut self,
        id: RequestId,
        stream: &mpsc::Sender<StreamPart>,
        sent: &mut u64,
    ) -> Result<Result<Bytes, Failure>, Broken> {
        loop {
            match self.answer(id).await? {
                Answer::Chunk(bytes) => {
                    *sent += bytes.len() as u64;
                    if *sent <= limits::STREAMED_RESPONSE_BYTES {
                        let _closed = stream.send(StreamPart::Chunk(bytes)).await;
                    }
                }
                Answer::End if *sent > limits::STREAMED_RESPONSE_BYTES => {
                    return Ok(Err(Failure::TooLarge(limits::STREAMED_RESPONSE_BYTES)));
                }
                Answer::End => return Ok(Ok(Bytes::new())),
                Answer::Failed(document) => return Ok(Err(Failure::Reported(document))),
                Answer::Fatal(document) => return Ok(Err(Failure::Fatal(document))),
                Answer::Oversized => return Ok(Err(Failure::too_large())),
                Answer::Whole(..) | Answer::Head(_) => return Err(Broken::Breach("a second answer".to_owned())),
            }
        }
    }

    /// Gathers the parts of a stream that is wanted whole.
    async fn gather(&mut self, id: RequestId, sent: &mut u64) -> Result<Result<Bytes, Failure>, Broken> {
        let mut whole = BytesMut::new();
        loop {
            match self.answer(id).await? {
                Answer::Chunk(bytes) => {
                    *sent += bytes.len() as u64;
                    if *sent <= limits::SYNC_RESPONSE_BYTES as u64 {
                        whole.extend_from_slice(&bytes);
                    } else {
                        whole = BytesMut::new();
                    }
                }
                Answer::End if *sent > limits::SYNC_RESPONSE_BYTES as u64 => return Ok(Err(Failure::too_large())),
                Answer::End => return Ok(Ok(whole.freeze())),
                Answer::Failed(document) => return Ok(Err(Failure::Reported(document))),
                Answer::Fatal(document) => return Ok(Err(Failure::Fatal(document))),
                Answer::Oversized => return Ok(Err(Failure::too_large())),
                Answer::Whole(..) | Answer::Head(_) => return Err(Broken::Breach("a second answer".to_owned())),
            }
        }
    }

    async fn deliver(&mut self, delivery: &Delivery<'_>) -> Result<(), Broken> {
        match &mut self.talk {
            Talk::Frames(channel) => {
                if channel.has_unread() {
                    return Err(Broken::Breach("it spoke without being asked".to_owned()));
                }
                let meta = Meta {
                    invoked_function_arn: delivery.invoked_arn,
                    client_context: delivery.client_context,
                    trace_id: delivery.trace_id,
                };
                let meta = serde_json::to_vec(&meta).map_err(|error| Broken::Breach(error.to_string()))?;
                let is_streaming = delivery.stream.is_some();
                channel
                    .send_event(
                        delivery.request_id,
                        delivery.deadline_ms,
                        is_streaming,
                        &meta,
                        delivery.payload,
                    )
                    .await?;
                Ok(())
            }
            Talk::Api(api) => {
                api.deliver(delivery);
                Ok(())
            }
        }
    }

    async fn answer(&mut self, id: RequestId) -> Result<Answer, Broken> {
        match &mut self.talk {
            Talk::Frames(channel) => {
                let frame = channel.receive().await?;
                if !frame.goes_on() {
                    channel.expect_nothing();
                }
                if frame.request_id() != Some(id) {
                    return Err(unexpected(&frame, "which is not about this invocation"));
                }
                Ok(match frame {
                    Frame::Response(_, payload) => Answer::Whole(payload, JSON.to_owned()),
                    Frame::Oversized(_) => Answer::Oversized,
                    Frame::Error(_, document) | Frame::StreamError(_, document) => Answer::Failed(document),
                    Frame::FatalError(_, document) => Answer::Fatal(document),
                    Frame::StreamHead(_, content_type) => Answer::Head(content_type),
                    Frame::StreamChunk(_, bytes) => Answer::Chunk(bytes),
                    Frame::StreamEnd(_) => Answer::End,
                    Frame::Booted | Frame::Ready | Frame::InitError(_) => {
                        return Err(unexpected(&frame, "during an invocation"));
                    }
                })
            }
            Talk::Api(api) => api.answer().await,
        }
    }
}

fn unexpected(frame: &Frame, when: &str) -> Broken {
    let name = match frame {
        Frame::Booted => "BOOTED",
        Frame::Ready => "READY",
        Frame::InitError(_) => "INIT_ERROR",
        Frame::Response(..) => "RESPONSE",
        Frame::Oversized(_) => "an oversized frame",
        Frame::Error(..) => "ERROR",
        Frame::StreamHead(..) => "STREAM_HEAD",
        Frame::StreamChunk(..) => "STREAM_CHUNK",
        Frame::StreamEnd(_) => "STREAM_END",
        Frame::StreamError(..) => "STREAM_ERROR",
        Frame::FatalError(..) => "FATAL_ERROR",
    };
    Broken::Breach(format!("{name} {when}"))
}
