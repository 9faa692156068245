//! Frames over a descriptor, without blocking a thread.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Instant;

use bytes::{BufMut, Bytes};
use ephyra_core::id::RequestId;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::frame::{self, Decoder, Frame, FrameError};
use crate::pace::Pace;

/// Read at once. What is larger is read to where it stays.
const SCRATCH_BYTES: usize = 16 * 1024;
/// What is read of one answer as fast as it comes, in bytes: any whole answer, and its streamed parts.
pub(crate) const ANSWER_BURST: u64 = 16 << 20;
/// How fast more than that is read, in bytes a second. The guest waits meanwhile, as the socket is full.
pub(crate) const ANSWER_RATE: u64 = 32 << 20;

/// The host's end of a managed runtime's descriptor 3.
pub(crate) struct Channel {
    /// The socket, looked at for reading alone as the end of a pipe is: a guest that takes an event makes room, and would
    /// wake this side for it.
    socket: pipe::Receiver,
    decoder: Decoder,
    scratch: Box<[u8]>,
    unread: std::ops::Range<usize>,
    head: Vec<u8>,
    pace: Pace,
}

/// Why a channel is of no more use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChannelError {
    /// The guest has closed its end.
    #[error("the runtime closed its control socket")]
    Closed,
    /// The guest broke the protocol.
    #[error(transparent)]
    Breach(#[from] FrameError),
    /// The system refused to read or write.
    #[error("the control socket failed")]
    Io(#[source] io::Error),
}

impl Channel {
    pub(crate) fn open(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self {
            socket: pipe::Receiver::from_owned_fd_unchecked(fd)?,
            decoder: Decoder::default(),
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            unread: 0..0,
            head: Vec::new(),
            pace: Pace::new(ANSWER_BURST, ANSWER_RATE),
        })
    }

    /// The next frame. Nothing is lost when the future is dropped.
    pub(crate) async fn receive(&mut self) -> Result<Frame, ChannelError> {
        // A read may bring hundreds of frames: each is a reason to let others have their turn.
        tokio::task::coop::consume_budget().await;
        loop {
            while !self.unread.is_empty() {
                let (used, frame) = self.decoder.feed(&self.scratch[self.unread.clone()])?;
                self.unread.start += used;
                if let Some(frame) = frame {
                    self.pace.spend(used, 1);
                    return Ok(frame);
                }
                self.pace.spend(used, 0);
            }
            if let Some(time) = self.pace.wait(Instant::now) {
                tokio::time::sleep(time).await;
            }
            let Some(mut room) = self.decoder.room(SCRATCH_BYTES) else {
                let count = self.read().await?;
                self.unread = 0..count;
                continue;
            };
            let count = read(&mut self.socket, &mut room).await?;
            self.pace.spend(count, 1);
            if let Some(frame) = self.decoder.take_directly(count)? {
                return Ok(frame);
            }
        }
    }

    /// Resolves when the guest has sent bytes, which stay to be received, or can send no more.
    pub(crate) async fn disturbed(&mut self) {
        if !self.has_unread()
            && let Ok(count) = self.read().await
        {
            self.unread = 0..count;
        }
    }

    /// Whether the guest has sent something just now, or closed its end; without waiting. What it sent stays.
    pub(crate) fn has_spoken(&mut self) -> bool {
        if self.has_unread() {
            return true;
        }
        match self.socket.try_read(&mut self.scratch) {
            Ok(count) => {
                self.unread = 0..count;
                true
            }
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Whether the guest has sent bytes that were not asked for.
    pub(crate) fn has_unread(&self) -> bool {
        !self.unread.is_empty() || !self.decoder.is_at_boundary()
    }

    async fn read(&mut self) -> Result<usize, ChannelError> {
        read(&mut self.socket, &mut &mut self.scratch[..]).await
    }

    /// Sends the configuration, a whole frame. The socket is fresh, so that it has room for all of it.
    pub(crate) fn send_configuration(&self, frame: &[u8]) -> Result<(), ChannelError> {
        let sent = rustix::io::retry_on_intr(|| rustix::net::send(&self.socket, frame, SendFlags::NOSIGNAL));
        match sent.map_err(io::Error::from) {
            Ok(count) if count == frame.len() => Ok(()),
            Ok(_) => Err(ChannelError::Io(io::ErrorKind::WriteZero.into())),
            Err(error) => match error.kind() {
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Err(ChannelError::Closed),
                _ => Err(ChannelError::Io(error)),
            },
        }
    }

    /// Sends an event: one system call when the socket takes it whole.
    pub(crate) async fn send_event(
        &mut self,
        request_id: RequestId,
        deadline_ms: u64,
        is_streaming: bool,
        meta: &[u8],
        payload: &Bytes,
    ) -> Result<(), ChannelError> {
        self.pace.renew();
        frame::encode_event(
            &mut self.head,
            request_id,
            deadline_ms,
            is_streaming,
            meta,
            payload.len(),
        )
        .map_err(|error| ChannelError::Io(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let total = self.head.len() + payload.len();
        let mut sent = 0;
        while sent < total {
            let head = &self.head[sent.min(self.head.len())..];
            let body = &payload[sent.saturating_sub(self.head.len())..];
            match write(&self.socket, head, body) {
                Ok(count) => sent += count,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => writable(&self.socket).await.map_err(ChannelError::Io)?,
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => return Err(ChannelError::Closed),
                    _ => return Err(ChannelError::Io(error)),
                },
            }
        }
        Ok(())
    }
}

/// Reads what is there, at least a byte. Nothing is lost when the future is dropped.
async fn read(socket: &mut pipe::Receiver, into: &mut impl BufMut) -> Result<usize, ChannelError> {
    loop {
        match socket.read_buf(into).await {
            Ok(0) => return Err(ChannelError::Closed),
            Ok(count) => return Ok(count),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::ConnectionReset => return Err(ChannelError::Closed),
                _ => return Err(ChannelError::Io(error)),
            },
        }
    }
}

/// Waits until the guest has taken some of a large event.
async fn writable(socket: &pipe::Receiver) -> io::Result<()> {
    pipe::Sender::from_owned_fd_unchecked(socket.as_fd().try_clone_to_owned()?)?
        .writable()
        .await
}

/// Writes what goes at once, without the signal that a closed socket would bring.
fn write(socket: &pipe::Receiver, head: &[u8], body: &[u8]) -> io::Result<usize> {
    let parts = [IoSlice::new(head), IoSlice::new(body)];
    let mut ancillary = SendAncillaryBuffer::default();
    Ok(rustix::net::sendmsg(
        socket,
        &parts,
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?)
}
