//! The conversation with a sandbox's own pid 1: commands there, notices back.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ephyra_sandbox::supervisor::{self, Command, EXTENSIONS, Notice, PACKET_BYTES, Process, StartCommand};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// How a process came to its end.
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

impl From<supervisor::Exit> for Exit {
    fn from(exit: supervisor::Exit) -> Self {
        match exit {
            supervisor::Exit::ExecFailed(errno) => Self::ExecFailed(errno),
            supervisor::Exit::Exited(status) => Self::Status(status),
            supervisor::Exit::Signalled(signal) => Self::Signal(signal),
        }
    }
}

/// The host's end of the supervisor socket, and what was heard over it.
pub(crate) struct Supervisor {
    socket: Arc<UnixDatagram>,
    /// How the runtime has ended.
    runtime: Option<Exit>,
    /// How extensions have ended, by their numbers.
    extensions: Vec<(u8, Exit)>,
    /// Whether pid 1 is gone.
    has_vanished: bool,
}

/// A socket of packets: what std and tokio call a datagram socket is any that keeps them apart.
pub(crate) fn packets(fd: OwnedFd) -> io::Result<UnixDatagram> {
    let socket = std::os::unix::net::UnixDatagram::from(fd);
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)
}

/// The way to pid 1; clones lead to the same.
#[derive(Clone)]
pub(crate) struct Line(Arc<UnixDatagram>);

impl Line {
    /// Has the runtime started. The socket is fresh, so the packet fits.
    pub(crate) fn start(&self, command: StartCommand) -> io::Result<()> {
        self.send(&Command::Start(command))
    }

    /// Has an extension started: the next number, from 0.
    pub(crate) fn start_extension(&self, command: StartCommand) -> io::Result<()> {
        self.send(&Command::Extension(command))
    }

    /// Sends SIGTERM to the runtime.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        self.send(&Command::Terminate)
    }

    /// Kills the runtime and leaves the extensions running.
    pub(crate) fn kill(&self) -> io::Result<()> {
        self.send(&Command::Kill)
    }

    /// Asks for a socket, which then comes as [`News::Socket`].
    pub(crate) fn ask_for_socket(&self) -> io::Result<()> {
        self.send(&Command::Socket)
    }

    /// Sends without waiting: what does not fit is an error.
    fn send(&self, command: &Command) -> io::Result<()> {
        let packet = command.encode().map_err(io::Error::other)?;
        if packet.len() > PACKET_BYTES {
            return Err(io::Error::other(format!(
                "the command is larger than {PACKET_BYTES} bytes"
            )));
        }
        rustix::net::send(&self.0, &packet, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
        Ok(())
    }
}

/// A word of pid 1's.
pub(crate) enum News {
    /// Somebody has ended: see [`Supervisor::runtime`] and [`Supervisor::extensions`].
    Ended,
    /// A socket that was asked for; `None` when there was none to be had.
    Socket(Option<OwnedFd>),
}

impl Supervisor {
    pub(crate) fn open(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            socket: Arc::new(packets(fd)?),
            runtime: None,
            extensions: Vec::new(),
            has_vanished: false,
        })
    }

    /// The way to tell it something.
    pub(crate) fn line(&self) -> Line {
        Line(Arc::clone(&self.socket))
    }

    /// Whether anybody has ended.
    pub(crate) const fn has_lost_any(&self) -> bool {
        self.runtime.is_some() || !self.extensions.is_empty()
    }

    /// Whether pid 1 is gone, and with it everything.
    pub(crate) const fn has_vanished(&self) -> bool {
        self.has_vanished
    }

    /// Everything is gone; how the runtime ended stays what it is, if it was told before.
    fn vanish(&mut self) {
        self.has_vanished = true;
        self.runtime.get_or_insert(Exit::Vanished);
    }

    /// How the runtime has ended, if it is known to have.
    pub(crate) const fn runtime(&self) -> Option<Exit> {
        self.runtime
    }

    /// The extensions that are known to have ended, in the order of their ends.
    pub(crate) fn extensions(&self) -> &[(u8, Exit)] {
        &self.extensions
    }

    /// Resolves when pid 1 has something to say, or is gone. It reads nothing.
    pub(crate) fn stirred(&self) -> impl Future<Output = ()> + Send + use<> {
        let socket = Arc::clone(&self.socket);
        async move {
            // An error is news too.
            drop(socket.readable().await);
        }
    }

    /// How the runtime process has ended, if it has. For a sandbox that is nobody's, where pid 1 says nothing else. The
    /// socket itself is asked, as news may have come that the asynchronous runtime has not looked at yet.
    pub(crate) fn exit_now(&mut self) -> Option<Exit> {
        while !self.has_vanished() && self.take(receive(&self.socket)).is_some() {}
        self.runtime
    }

    /// The next word of pid 1's. Once it has vanished there is none.
    pub(crate) fn poll_news(&mut self, cx: &mut Context<'_>) -> Poll<News> {
        loop {
            if self.has_vanished() {
                return Poll::Pending;
            }
            let received = match ready!(self.socket.poll_recv_ready(cx)) {
                Ok(()) => self.socket.try_io(Interest::READABLE, || receive(&self.socket)),
                Err(error) => Err(error),
            };
            if let Some(news) = self.take(received) {
                return Poll::Ready(news);
            }
        }
    }

    /// What was received, as news; `None` when nothing was.
    fn take(&mut self, received: io::Result<(Option<Notice>, Option<OwnedFd>)>) -> Option<News> {
        match received {
            Ok((Some(Notice::Socket), descriptor)) => return Some(News::Socket(descriptor)),
            Ok((Some(Notice::Ended { process, exit }), _)) => self.ended(process, exit.into()),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return None;
            }
            Ok((None, _)) | Err(_) => self.vanish(),
        }
        Some(News::Ended)
    }

    fn ended(&mut self, process: Process, exit: Exit) {
        match process {
            Process::Runtime => {
                self.runtime.get_or_insert(exit);
            }
            Process::Extension(number) if self.extensions.len() < EXTENSIONS => self.extensions.push((number, exit)),
            Process::Extension(_) => {}
        }
    }
}

/// A packet and the descriptor that came with it; `None` at the end of the socket, or when pid 1 talks nonsense.
fn receive(socket: &UnixDatagram) -> io::Result<(Option<Notice>, Option<OwnedFd>)> {
    let mut packet = [0; 64];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        socket,
        &mut [io::IoSliceMut::new(&mut packet)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
    )?;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok((Notice::decode(&packet[..received.bytes]).ok(), descriptor))
}
