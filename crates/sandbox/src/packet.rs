//! Packets with descriptors over SOCK_SEQPACKET sockets.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::protocol::{PACKET_BYTES, PACKET_DESCRIPTORS};

/// What came out of a socket.
#[derive(Debug)]
pub(crate) enum Received {
    /// A packet.
    Packet {
        /// Its bytes.
        bytes: Vec<u8>,
        /// The descriptors that came with it.
        descriptors: Vec<OwnedFd>,
    },
    /// The other end is closed.
    Closed,
    /// Nothing is there now.
    Nothing,
}

/// A pair of connected sockets that keep packets apart.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Sends one packet, without waiting when `waits` is false: `WouldBlock` then says that there is no room. `BrokenPipe`
/// says that the other end is closed.
pub(crate) fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>], waits: bool) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PACKET_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let wait = if waits { SendFlags::empty() } else { SendFlags::DONTWAIT };
    let flags = SendFlags::NOSIGNAL | wait;
    match rustix::io::retry_on_intr(|| sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, flags)) {
        Ok(_) => Ok(()),
        // The first send after the other end was closed with packets unread says so in this way.
        Err(Errno::CONNRESET) => Err(io::ErrorKind::BrokenPipe.into()),
        Err(error) => Err(error.into()),
    }
}

/// Takes one packet of at most [`PACKET_BYTES`] without waiting; a larger one is an error.
pub(crate) fn receive(socket: impl AsFd) -> io::Result<Received> {
    receive_up_to(socket, PACKET_BYTES)
}

/// Takes one packet of at most `limit` bytes without waiting; a larger one is an error.
pub(crate) fn receive_up_to(socket: impl AsFd, limit: usize) -> io::Result<Received> {
    let mut bytes = vec![0; limit];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PACKET_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received =
        rustix::io::retry_on_intr(|| recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags));
    let message = match received {
        Ok(message) => message,
        Err(Errno::AGAIN) => return Ok(Received::Nothing),
        Err(Errno::CONNRESET) => return Ok(Received::Closed),
        Err(error) => return Err(error.into()),
    };
    let descriptors: Vec<OwnedFd> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a packet was too large"));
    }
    // Neither side sends empty packets: no bytes mean that the other end is closed.
    if message.bytes == 0 {
        return Ok(Received::Closed);
    }
    bytes.truncate(message.bytes);
    Ok(Received::Packet { bytes, descriptors })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_gone_is_a_broken_pipe_whatever_was_left_unread() {
        for is_read in [false, true] {
            let (here, there) = pair().unwrap();
            send(&here, b"one", &[], false).unwrap();
            if is_read {
                assert!(matches!(receive(&there).unwrap(), Received::Packet { .. }));
            }
            drop(there);
            for _ in 0..2 {
                let error = send(&here, b"two", &[], false).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
            }
        }
    }

    #[test]
    fn packets_keep_their_bounds_and_carry_descriptors() {
        let (here, there) = pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        send(&here, b"one", &[null.as_fd()], false).unwrap();
        send(&here, b"two", &[], false).unwrap();
        let Received::Packet { bytes, descriptors } = receive(&there).unwrap() else {
            panic!("no packet");
        };
        assert_eq!((bytes.as_slice(), descriptors.len()), (b"one".as_slice(), 1));
        let Received::Packet { bytes, descriptors } = receive(&there).unwrap() else {
            panic!("no packet");
        };
        assert_eq!((bytes.as_slice(), descriptors.len()), (b"two".as_slice(), 0));
        assert!(matches!(receive(&there).unwrap(), Received::Nothing));
        drop(here);
        assert!(matches!(receive(&there).unwrap(), Received::Closed));
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let (here, there) = pair().unwrap();
        send(&here, &vec![1; PACKET_BYTES + 1], &[], false).unwrap();
        assert!(receive(&there).is_err());
    }
}
