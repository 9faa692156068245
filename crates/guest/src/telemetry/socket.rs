//! A socket that was born inside a sandbox and is connected from outside of it.
//!
//! A socket stays in the network namespace that it was made in, whoever holds its descriptor. So the sandbox's pid 1
//! makes one and hands it over; the server, which has no way into that namespace, connects it there, again and again.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, sockopt};
use tokio::net::TcpStream;

/// A TCP socket of a sandbox; clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Socket(Arc<Mutex<Option<OwnedFd>>>);

impl Socket {
    /// Takes a descriptor for what it is said to be; anything else is refused.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        let is_fit =
            sockopt::socket_domain(&fd)? == AddressFamily::INET && sockopt::socket_type(&fd)? == SocketType::STREAM;
        if !is_fit {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the descriptor is no TCP socket",
            ));
        }
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        Ok(Self(Arc::new(Mutex::new(Some(fd)))))
    }

    /// Connects it to a port inside its sandbox. Whatever it was connected to before is gone.
    pub(crate) async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let stream = self.begin(port)?;
        stream.writable().await?;
        match stream.take_error()? {
            None => Ok(stream),
            Some(error) => Err(error),
        }
    }

    fn begin(&self, port: u16) -> io::Result<TcpStream> {
        let socket = self.0.lock();
        let socket = socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        // A TCP socket forgets its connection when it is connected to nothing; see connect(2).
        rustix::net::connect_unspec(socket)?;
        match rustix::net::connect(socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        TcpStream::from_std(socket.try_clone()?.into())
    }

    /// Ends its connection for whoever holds it, and lets nobody connect it again: the network that it belongs to may
    /// be another's next.
    pub(crate) fn cut_off(&self) {
        if let Some(socket) = self.0.lock().take()
            && let Err(error) = rustix::net::connect_unspec(&socket)
        {
            tracing::debug!(%error, "a socket for telemetry could not be disconnected");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsFd;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    pub(crate) fn socket() -> Socket {
        let fd = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        Socket::new(fd).unwrap()
    }

    #[tokio::test]
    async fn one_socket_serves_many_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let socket = socket();
        for _ in 0..3 {
            let mut here = socket.connect(port).await.unwrap();
            let (mut there, _) = listener.accept().await.unwrap();
            here.write_all(b"ab").await.unwrap();
            let mut seen = [0; 2];
            there.read_exact(&mut seen).await.unwrap();
            assert_eq!(&seen, b"ab");
        }
        drop(listener);
        let refused = socket.connect(port).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn one_that_is_cut_off_reaches_nobody() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let socket = socket();
        let mut here = socket.connect(port).await.unwrap();
        let (mut there, _) = listener.accept().await.unwrap();
        socket.clone().cut_off();
        assert!(here.write_all(b"x").await.is_err());
        assert!(matches!(there.read(&mut [0]).await, Ok(0) | Err(_)));
        let refused = socket.connect(port).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::NotConnected);
    }

    #[test]
    fn anything_but_a_tcp_socket_is_refused() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(Socket::new(file.as_fd().try_clone_to_owned().unwrap()).is_err());
        let udp = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
        assert!(Socket::new(udp).is_err());
    }
}
