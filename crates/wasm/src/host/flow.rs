//! What a call says to the server: its log, and its answer. Neither may be ahead of what the server takes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use crate::message::{CREDIT, Flow, FromHost, PIECE};
use crate::outbox::Outbox;

/// The longest piece of a flow, in bytes.
const PIECE_BYTES: usize = 64 * 1024;
/// What is collected of a log before it is sent without waiting for the end of a line.
const COLLECTED: usize = 8 * 1024;

/// What a call tried to write is more than its answer may have.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer is larger than one may be")]
pub(crate) struct AnswerTooLarge;

/// A flow of one call.
pub(crate) struct Stream {
    outbox: Arc<Outbox>,
    call: u32,
    flow: Flow,
    state: Mutex<State>,
}

struct State {
    credit: u64,
    /// What a streamed answer begins with, until it has.
    head: Option<String>,
    collected: BytesMut,
    waiting: Vec<Waker>,
}

impl Stream {
    /// A flow with the credit of a new call.
    pub(crate) fn new(outbox: Arc<Outbox>, call: u32, flow: Flow) -> Self {
        let state = State {
            credit: u64::from(CREDIT),
            head: None,
            collected: BytesMut::new(),
            waiting: Vec::new(),
        };
        Self {
            outbox,
            call,
            flow,
            state: Mutex::new(state),
        }
    }

    /// The server has taken as much.
    pub(crate) fn give_back(&self, bytes: u32) {
        let waiting = {
            let mut state = self.state.lock();
            state.credit = state.credit.saturating_add(bytes.into());
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Says what a streamed answer is; told to the server with the first of its bytes, or at its good end.
    pub(crate) fn begin(&self, content_type: String) {
        self.state.lock().head = Some(content_type);
    }

    /// The answer has ended well.
    pub(crate) fn complete(&self) {
        let mut state = self.state.lock();
        self.push_head(&mut state);
        self.push(&mut state);
    }

    fn push_head(&self, state: &mut State) {
        if let Some(content_type) = state.head.take() {
            let call = self.call;
            // A head is shorter than a frame may be.
            self.outbox
                .push(FromHost::Head { call, content_type }.encode())
                .unwrap_or_default();
        }
    }

    /// How much may be written now; waits until it is something.
    fn poll_room(&self, context: &mut Context<'_>) -> Poll<usize> {
        let mut state = self.state.lock();
        match state.room() {
            0 => {
                // What is collected has to go, or the server would not know that there is anything to take.
                self.push(&mut state);
                self.outbox.flush();
                if !state.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                    state.waiting.push(context.waker().clone());
                }
                Poll::Pending
            }
            room => Poll::Ready(room),
        }
    }

    fn room(&self) -> usize {
        self.state.lock().room()
    }

    /// Takes what there is room for.
    fn write(&self, bytes: &[u8]) {
        let mut state = self.state.lock();
        state.collected.extend_from_slice(bytes);
        let is_whole = match self.flow {
            Flow::Log => state.collected.len() >= COLLECTED || state.collected.ends_with(b"\n"),
            Flow::Answer => true,
        };
        if is_whole {
            self.push(&mut state);
        }
    }

    /// Puts what is collected into the outbox, to be sent with what comes next.
    pub(crate) fn finish(&self) {
        self.push(&mut self.state.lock());
    }

    fn push(&self, state: &mut State) {
        if !state.collected.is_empty() {
            self.push_head(state);
        }
        while !state.collected.is_empty() {
            let length = state.collected.len().min(PIECE_BYTES);
            let bytes = state.collected.split_to(length).freeze();
            state.credit = state.credit.saturating_sub(length as u64 + u64::from(PIECE));
            let call = self.call;
            let message = match self.flow {
                Flow::Log => FromHost::Log { call, bytes },
                Flow::Answer => FromHost::Chunk { call, bytes },
            };
            // A piece is shorter than a frame may be.
            self.outbox.push(message.encode()).unwrap_or_default();
        }
    }

    /// Writes all of `bytes`, as the server takes them.
    pub(crate) async fn write_all(&self, mut bytes: Bytes) {
        while !bytes.is_empty() {
            let room = std::future::poll_fn(|context| self.poll_room(context)).await;
            let length = bytes.len().min(room);
            self.write(&bytes.split_to(length));
        }
    }

    /// Sends what is in the outbox.
    pub(crate) fn flush(&self) {
        self.outbox.flush();
    }
}

impl State {
    fn room(&self) -> usize {
        // What is collected will be charged with a piece of its own.
        let charged = self.collected.len() as u64 + 2 * u64::from(PIECE);
        let room = self.credit.saturating_sub(charged);
        usize::try_from(room).unwrap_or(usize::MAX).min(PIECE_BYTES)
    }
}

/// An answer that is kept until it is whole.
pub(crate) struct Kept {
    bytes: Mutex<Vec<u8>>,
    limit: usize,
}

impl Kept {
    /// One of at most `limit` bytes.
    pub(crate) const fn new(limit: usize) -> Self {
        let bytes = Mutex::new(Vec::new());
        Self { bytes, limit }
    }

    /// Adds to it.
    pub(crate) fn write(&self, more: &[u8]) -> Result<(), AnswerTooLarge> {
        let mut bytes = self.bytes.lock();
        if bytes.len() + more.len() > self.limit {
            return Err(AnswerTooLarge);
        }
        bytes.extend_from_slice(more);
        Ok(())
    }

    /// Takes it.
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.bytes.lock())
    }
}

/// Where a guest's standard output or standard error goes.
#[derive(Clone)]
pub(crate) enum Output {
    /// To the server, as it comes.
    Stream(Arc<Stream>),
    /// Into the answer.
    Kept(Arc<Kept>),
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        match self {
            Self::Stream(stream) => stream.write(&bytes),
            Self::Kept(kept) => kept.write(&bytes).map_err(|error| StreamError::Trap(error.into()))?,
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        match self {
            Self::Stream(stream) => Ok(stream.room()),
            Self::Kept(_) => Ok(PIECE_BYTES),
        }
    }
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        if let Self::Stream(stream) = self {
            std::future::poll_fn(|context| stream.poll_room(context)).await;
        }
    }
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &*self {
            Self::Stream(stream) => stream.poll_room(context).map(|room| {
                let length = bytes.len().min(room);
                stream.write(&bytes[..length]);
                Ok(length)
            }),
            Self::Kept(kept) => {
                let written = kept.write(bytes).map_err(io::Error::other);
                Poll::Ready(written.map(|()| bytes.len()))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
