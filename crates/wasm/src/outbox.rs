//! The sending side of the socket, for both ends: messages go out at once when there is room, else in their turn.
//!
//! What may lie here is bounded by what the callers may have under way: a message for each call and the credit of its
//! flows.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use tokio::net::unix::pipe;
use tokio::sync::Notify;

use crate::frame::{self, HEADER_BYTES, TooLong};
use crate::message::Outgoing;

/// Bodies up to this size are copied behind their header: one piece less for the kernel to gather.
const COPIED: usize = 2048;
/// Pieces that one call of the kernel takes.
const PIECES: usize = 32;

/// Sends frames, from any thread.
pub(crate) struct Outbox {
    socket: OwnedFd,
    queue: Mutex<VecDeque<Bytes>>,
    has_more: Notify,
}

impl Outbox {
    /// An outbox for `socket`; [`Outbox::drive`] has to run beside it.
    fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            queue: Mutex::default(),
            has_more: Notify::new(),
        }
    }

    /// Puts a message at the end, to be sent with the next one that is [sent](Outbox::send) or by [`Outbox::flush`].
    pub(crate) fn push(&self, message: Outgoing) -> Result<(), TooLong> {
        let Outgoing { kind, id, small, large } = message;
        let header = frame::header(kind, id, small.len() + large.len())?;
        let copied = if large.len() <= COPIED { large.len() } else { 0 };
        let mut first = BytesMut::with_capacity(HEADER_BYTES + small.len() + copied);
        first.extend_from_slice(&header);
        first.extend_from_slice(&small);
        let mut queue = self.queue.lock();
        if copied == large.len() {
            first.extend_from_slice(&large);
            queue.push_back(first.freeze());
        } else {
            queue.push_back(first.freeze());
            queue.push_back(large);
        }
        Ok(())
    }

    /// Sends a message, and what was pushed before it.
    pub(crate) fn send(&self, message: Outgoing) -> Result<(), TooLong> {
        self.push(message)?;
        self.flush();
        Ok(())
    }

    /// Sends what there is room for; the rest goes by itself later.
    pub(crate) fn flush(&self) {
        let mut queue = self.queue.lock();
        if queue.is_empty() {
            return;
        }
        // An error shows again, and is told, where the socket is read.
        drop(write(&mut queue, |pieces| self.write(pieces)));
        if !queue.is_empty() {
            self.has_more.notify_one();
        }
    }

    fn write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let mut nothing = SendAncillaryBuffer::default();
        sendmsg(&self.socket, pieces, &mut nothing, flags).map_err(io::Error::from)
    }

    /// Sends what had no room, until the socket breaks.
    pub(crate) async fn drive(&self) -> io::Error {
        loop {
            self.has_more.notified().await;
            if let Err(error) = self.send_rest().await {
                return error;
            }
        }
    }

    /// Sends what lies here. The socket is looked at for room only meanwhile: else each message that the other side
    /// takes would wake this one.
    async fn send_rest(&self) -> io::Result<()> {
        let socket = pipe::Sender::from_owned_fd_unchecked(self.socket.try_clone()?)?;
        loop {
            match write(&mut self.queue.lock(), |pieces| socket.try_write_vectored(pieces)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            socket.writable().await?;
        }
    }
}

/// The two halves of a socket. Inside the asynchronous runtime.
pub(crate) fn halves(socket: UnixStream) -> io::Result<(pipe::Receiver, Outbox)> {
    socket.set_nonblocking(true)?;
    let outbox = Outbox::new(socket.as_fd().try_clone_to_owned()?);
    // Looked at for reading alone, as the end of a pipe is.
    Ok((pipe::Receiver::from_owned_fd_unchecked(socket.into())?, outbox))
}

/// Writes until the queue is empty or the socket full, which is an error.
fn write(queue: &mut VecDeque<Bytes>, mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>) -> io::Result<()> {
    while !queue.is_empty() {
        let pieces: Vec<IoSlice<'_>> = queue.iter().take(PIECES).map(|piece| IoSlice::new(piece)).collect();
        let mut written = write(&pieces)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while let Some(first) = queue.front_mut() {
            if first.len() > written {
                first.advance(written);
                break;
            }
            written -= first.len();
            queue.pop_front();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_is_taken_at_once_nothing_is_lost(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 1..40),
            taken in 1..30usize,
        ) {
            let mut queue: VecDeque<Bytes> = pieces.iter().cloned().map(Bytes::from).collect();
            let mut found = Vec::new();
            let result = write(&mut queue, |slices| {
                let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
                let count = all.len().min(taken);
                found.extend_from_slice(&all[..count]);
                Ok(count)
            });
            result.unwrap();
            prop_assert_eq!(found, pieces.concat());
        }
    }
}
