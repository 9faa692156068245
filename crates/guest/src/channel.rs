//! Frames over a descriptor, without blocking a thread.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Instant;

use bytes::Bytes;
use ephyra_core::id::RequestId;
use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

use crate::frame::{self, Decoder, FIRST_PACKET_BYTES, Frame, FrameError, PACKET_BYTES};
use crate::pace::Pace;

/// What is read of one answer as fast as it comes, in bytes: any whole answer, and its streamed parts.
pub(crate) const ANSWER_BURST: u64 = 16 << 20;
/// How fast more than that is read, in bytes a second: a stream's alone. The guest waits meanwhile, as the socket is full. To read and
/// pass on a byte in parts of a size that makes sense takes a nanosecond of CPU, so that this is an eighth of a core.
pub(crate) const ANSWER_RATE: u64 = 128 << 20;
/// What each frame and each read counts besides its bytes. Tiny frames cost their 3 µs and not their bytes: of these there can be
/// 120,000 in a second, which is a third of a core.
pub(crate) const ANSWER_PIECE_BYTES: u64 = 1024;

/// The host's end of a managed runtime's descriptor 3.
pub(crate) struct Channel {
    socket: Socket,
    decoder: Decoder,
    /// The last packet that was not read to where it stays. Room for the longest, of which little is ever touched.
    packet: Vec<u8>,
    /// How much of it is decoded.
    decoded: usize,
    head: Vec<u8>,
    pace: Pace,
}

/// A socket of packets.
struct Socket {
    /// Looked at for reading alone, as the end of a pipe is: a guest that takes an event makes room, and would wake this side
    /// for it.
    end: pipe::Receiver,
    /// Whether another packet may be there of which no word comes: of a pipe, who reads less than would have fitted knows
    /// that nothing is left, and waits for word of more.
    may_have_more: bool,
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
            socket: Socket {
                end: pipe::Receiver::from_owned_fd_unchecked(fd)?,
                may_have_more: false,
            },
            decoder: Decoder::default(),
            packet: Vec::with_capacity(PACKET_BYTES),
            decoded: 0,
            head: Vec::new(),
            pace: Pace::new(ANSWER_BURST, ANSWER_RATE).with_piece(ANSWER_PIECE_BYTES),
        })
    }

    /// The next frame. Nothing is lost when the future is dropped.
    pub(crate) async fn receive(&mut self) -> Result<Frame, ChannelError> {
        // Packets may be there by the hundred: each frame is a reason to let others have their turn.
        tokio::task::coop::consume_budget().await;
        loop {
            while self.has_undecoded() {
                let (used, frame) = self.decoder.feed(&self.packet[self.decoded..])?;
                self.decoded += used;
                self.pace.spend(used, usize::from(frame.is_some()));
                if let Some(frame) = frame {
                    return Ok(frame);
                }
            }
            if let Some(time) = self.pace.wait(Instant::now) {
                tokio::time::sleep(time).await;
            }
            let Some(room) = self.decoder.room() else {
                self.read().await?;
                continue;
            };
            let count = self.socket.read(room).await?;
            self.pace.spend(count, 1);
            if let Some(frame) = self.decoder.take_directly(count)? {
                return Ok(frame);
            }
        }
    }

    /// The guest is not expected to send more than it has: to look costs a system call. What it sends nevertheless is found
    /// before, or with, what it sends next.
    pub(crate) fn expect_nothing(&mut self) {
        self.socket.may_have_more = false;
    }

    /// Resolves when the guest has sent bytes, which stay to be received, or can send no more.
    pub(crate) async fn disturbed(&mut self) {
        if !self.has_spoken() {
            // A failure disturbs too, and shows again to who reads next.
            let _failed = self.read().await;
        }
    }

    /// Whether the guest has sent something just now, or closed its end; without waiting. What it sent stays.
    pub(crate) fn has_spoken(&mut self) -> bool {
        if self.has_unread() {
            return true;
        }
        self.forget_decoded();
        match receive(&self.socket.end, &mut self.packet) {
            Ok(_) => true,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Whether the guest has sent bytes that were not asked for.
    pub(crate) fn has_unread(&self) -> bool {
        self.has_undecoded() || !self.decoder.is_at_boundary()
    }

    fn has_undecoded(&self) -> bool {
        self.decoded < self.packet.len()
    }

    /// Reads a packet. Nothing is lost when the future is dropped.
    async fn read(&mut self) -> Result<(), ChannelError> {
        self.forget_decoded();
        self.socket.read(&mut self.packet).await.map(drop)
    }

    /// Makes room for another packet, once all of the last one is decoded.
    fn forget_decoded(&mut self) {
        self.packet.clear();
        self.decoded = 0;
    }

    /// Sends the configuration, a whole frame.
    pub(crate) async fn send_configuration(&self, frame: &[u8]) -> Result<(), ChannelError> {
        send(&self.socket.end, frame, &[]).await
    }

    /// Sends an event: one system call when it is small.
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
        send(&self.socket.end, &self.head, payload).await
    }
}

impl Socket {
    /// Reads a packet. Nothing is lost when the future is dropped.
    async fn read(&mut self, into: &mut Vec<u8>) -> Result<usize, ChannelError> {
        loop {
            let read = if std::mem::take(&mut self.may_have_more) {
                receive(&self.end, into)
            } else {
                self.end.read_buf(into).await
            };
            match read {
                Ok(0) => return Err(ChannelError::Closed),
                Ok(count) => {
                    self.may_have_more = true;
                    return Ok(count);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                    io::ErrorKind::ConnectionReset => return Err(ChannelError::Closed),
                    _ => return Err(ChannelError::Io(error)),
                },
            }
        }
    }
}

/// Reads a packet if there is one.
fn receive(socket: &pipe::Receiver, into: &mut Vec<u8>) -> io::Result<usize> {
    let (count, _) = rustix::net::recv(socket, spare_capacity(into), RecvFlags::empty())?;
    Ok(count)
}

/// Waits until the guest has taken some of a large event.
async fn writable(socket: &pipe::Receiver) -> io::Result<()> {
    pipe::Sender::from_owned_fd_unchecked(socket.as_fd().try_clone_to_owned()?)?
        .writable()
        .await
}

/// Sends a frame in two parts, by packets.
async fn send(socket: &pipe::Receiver, head: &[u8], body: &[u8]) -> Result<(), ChannelError> {
    let total = head.len() + body.len();
    let mut sent = 0;
    while sent < total {
        let most = if sent == 0 { FIRST_PACKET_BYTES } else { PACKET_BYTES };
        let head = &head[sent.min(head.len())..];
        let head = &head[..head.len().min(most)];
        let body = &body[sent.saturating_sub(total - body.len())..];
        let body = &body[..body.len().min(most - head.len())];
        match write(socket, head, body) {
            Ok(count) => sent += count,
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => writable(socket).await.map_err(ChannelError::Io)?,
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => return Err(ChannelError::Closed),
                _ => return Err(ChannelError::Io(error)),
            },
        }
    }
    Ok(())
}

/// Writes a packet if there is room for it, without the signal that a closed socket would bring.
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
