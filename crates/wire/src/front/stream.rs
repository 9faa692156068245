//! A connection's bytes: plain or out of TLS, watched for silence, and held to the shape of HTTP/1.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::connection::Activity;
use super::framing::Framing;

/// What stands for a malformed line: hyper refuses it wherever it comes.
const POISON: u8 = 0;
/// Reads of what nobody wants, before the end.
const DISCARDED: usize = 16;

/// Bytes in both directions.
pub(super) enum Stream {
    /// As they are sent.
    Plain(TcpStream),
    /// Decrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn pinned(&mut self) -> Pin<&mut (dyn Both + Unpin + '_)> {
        match self {
            Self::Plain(stream) => Pin::new(stream),
            Self::Tls(stream) => Pin::new(&mut **stream),
        }
    }
}

/// Both directions of a stream.
trait Both: AsyncRead + AsyncWrite {}

impl<T: AsyncRead + AsyncWrite> Both for T {}

/// A stream that tells what it does, and breaks off where its requests do not have the shape that they must have.
pub(super) struct Watched {
    stream: Stream,
    activity: Arc<Activity>,
    framing: Framing,
    is_malformed: bool,
    /// Whether there is nobody who would understand an answer.
    is_foreign: bool,
}

impl Watched {
    /// Watches a new connection, of whose unfinished lines `limit` bytes are kept at most.
    pub(super) const fn new(stream: Stream, activity: Arc<Activity>, limit: usize) -> Self {
        Self {
            stream,
            activity,
            framing: Framing::new(limit),
            is_malformed: false,
            is_foreign: false,
        }
    }

    /// Reads and forgets what has come already: a connection that is closed with bytes that nobody has read is reset, and
    /// the client may never see what was last said to it.
    fn discard(&mut self, context: &mut Context<'_>) {
        let mut scratch = [0; 4096];
        for _ in 0..DISCARDED {
            let mut buf = ReadBuf::new(&mut scratch);
            match self.stream.pinned().poll_read(context, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                _ => return,
            }
        }
    }

    fn understood(&self) -> io::Result<()> {
        let error = || io::Error::new(io::ErrorKind::InvalidData, "what came is not HTTP");
        let is_understood = !self.is_foreign && (self.is_malformed || !self.framing.is_beginning());
        is_understood.then_some(()).ok_or_else(error)
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.is_malformed {
            // An end: nothing of what came behind is a request.
            return Poll::Ready(Ok(()));
        }
        if this.activity.is_fickle() {
            let message = "the client takes its requests back";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, message)));
        }
        let before = buf.filled().len();
        let result = ready!(this.stream.pinned().poll_read(context, buf));
        let new = &buf.filled()[before..];
        if !new.is_empty() {
            this.activity.has_read();
            if let Err(malformed) = this.framing.follow(new) {
                this.is_malformed = true;
                this.is_foreign = malformed.is_foreign;
                if malformed.is_foreign {
                    this.discard(context);
                    return Poll::Ready(this.understood());
                }
                let good = before + malformed.before;
                buf.filled_mut()[good] = POISON;
                buf.set_filled(good + 1);
            }
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Err(error) = self.understood() {
            self.discard(context);
            return Poll::Ready(Err(error));
        }
        let result = self.stream.pinned().poll_write(context, bytes);
        self.activity.has_written(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Err(error) = self.understood() {
            self.discard(context);
            return Poll::Ready(Err(error));
        }
        let result = self.stream.pinned().poll_write_vectored(context, bufs);
        self.activity.has_written(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = self.stream.pinned().poll_flush(context);
        // TLS takes what is written into a buffer of its own: a client that reads nothing shows here.
        self.activity.has_written(&result);
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_malformed {
            self.discard(context);
        }
        self.stream.pinned().poll_shutdown(context)
    }
}
