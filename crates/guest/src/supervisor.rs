//! The conversation with a sandbox's own pid 1: one command there, one notice back.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use ephyra_sandbox::supervisor::{self, Command, Notice, PACKET_BYTES, Process, StartCommand};
use rustix::net::SendFlags;
use tokio::io::ReadBuf;
use tokio::net::UnixDatagram;

/// How the runtime process came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The program could not be executed: the errno.
    ExecFailed(i32),
    /// It ended with this status.
    Status(u8),
    /// It was ended by this signal.
    Signal(u8),
    /// The sandbox's pid 1 is gone, and with it everything: somebody has killed it.
    Vanished,
}

/// The host's end of the supervisor socket.
pub(crate) struct Supervisor {
    // What std and tokio call a datagram socket is any that keeps packets apart.
    socket: UnixDatagram,
    exit: Option<Exit>,
}

impl Supervisor {
    pub(crate) fn open(fd: OwnedFd) -> io::Result<Self> {
        let socket = std::os::unix::net::UnixDatagram::from(fd);
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: UnixDatagram::from_std(socket)?,
            exit: None,
        })
    }

    /// Has the runtime started. The socket is fresh, so the packet fits.
    pub(crate) fn start(&self, command: &StartCommand) -> io::Result<()> {
        let packet = Command::Start(command.clone()).encode().map_err(io::Error::other)?;
        if packet.len() > PACKET_BYTES {
            return Err(io::Error::other(format!(
                "the start command is larger than {PACKET_BYTES} bytes"
            )));
        }
        rustix::net::send(&self.socket, &packet, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Resolves when the runtime process has ended; the same again ever after.
    pub(crate) fn poll_exit(&mut self, cx: &mut Context<'_>) -> Poll<Exit> {
        while self.exit.is_none() {
            let mut packet = [0; 64];
            let mut packet = ReadBuf::new(&mut packet);
            self.exit = match ready!(self.socket.poll_recv(cx, &mut packet)) {
                Ok(()) => match Notice::decode(packet.filled()) {
                    Ok(Notice {
                        process: Process::Runtime,
                        exit,
                    }) => Some(match exit {
                        supervisor::Exit::ExecFailed(errno) => Exit::ExecFailed(errno),
                        supervisor::Exit::Exited(status) => Exit::Status(status),
                        supervisor::Exit::Signalled(signal) => Exit::Signal(signal),
                    }),
                    Ok(_) => None,
                    // An empty packet is the end of the socket.
                    Err(_) => Some(Exit::Vanished),
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
                Err(_) => Some(Exit::Vanished),
            };
        }
        self.exit.map_or(Poll::Pending, Poll::Ready)
    }
}
