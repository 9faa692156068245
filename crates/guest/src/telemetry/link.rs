//! One subscriber's connection: how a batch gets there.

use std::future::Future;
use std::io;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::socket::Socket;
use super::subscription::Destination;

/// What is read of a subscriber's reply, in bytes.
const REPLY_BYTES: usize = 64 * 1024;

/// Why a batch did not arrive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// The subscriber could not be reached, or broke off.
    #[error("the subscriber could not be reached")]
    Io(#[from] io::Error),
    /// It does not speak HTTP.
    #[error("the subscriber broke HTTP")]
    Http(#[from] hyper::Error),
    /// The request could not be made.
    #[error("the request could not be made")]
    Request(#[from] http::Error),
    /// It answered with this status.
    #[error("the subscriber answered {0}")]
    Refused(http::StatusCode),
    /// Its answer goes on and on.
    #[error("the subscriber's answer is too long")]
    Endless,
}

/// A connection that is kept between batches.
enum Link {
    Http {
        sender: http1::SendRequest<Full<Bytes>>,
        connection: Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>,
    },
    Tcp(TcpStream),
}

/// The way to one subscriber.
pub(crate) struct Way {
    socket: Socket,
    destination: Destination,
    link: Option<Link>,
}

impl Way {
    pub(crate) const fn new(socket: Socket, destination: Destination) -> Self {
        Self {
            socket,
            destination,
            link: None,
        }
    }

    /// Sends records over the connection that there is, or a new one.
    pub(crate) async fn send(&mut self, records: &[Bytes]) -> Result<(), SendError> {
        let is_kept = self.link.is_some();
        match self.try_send(records).await {
            // One that was kept may have been closed meanwhile.
            Err(SendError::Io(_) | SendError::Http(_)) if is_kept => self.try_send(records).await,
            result => result,
        }
    }

    /// The connection is kept only when all went well.
    async fn try_send(&mut self, records: &[Bytes]) -> Result<(), SendError> {
        let link = match self.link.take() {
            Some(link) => link,
            None => connect(&self.socket, &self.destination).await?,
        };
        match link {
            Link::Tcp(mut stream) => {
                stream.write_all(&joined(records, b"", b"\n", b"\n")).await?;
                self.link = Some(Link::Tcp(stream));
            }
            Link::Http {
                mut sender,
                mut connection,
            } => {
                let request = request(&self.destination, joined(records, b"[", b",", b"]"))?;
                let mut exchange = Box::pin(exchange(&mut sender, request));
                tokio::select! {
                    biased;
                    sent = &mut exchange => sent?,
                    // Closed behind the reply, which may still be read, or without one, which dropping it tells.
                    ended = &mut connection => {
                        drop(connection);
                        ended?;
                        return exchange.await;
                    }
                }
                drop(exchange);
                self.link = Some(Link::Http { sender, connection });
            }
        }
        Ok(())
    }
}

async fn connect(socket: &Socket, destination: &Destination) -> Result<Link, SendError> {
    match destination {
        Destination::Tcp { port } => Ok(Link::Tcp(socket.connect(*port).await?)),
        Destination::Http { port, .. } => {
            let stream = socket.connect(*port).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            Ok(Link::Http {
                sender,
                connection: Box::pin(connection),
            })
        }
    }
}

fn request(destination: &Destination, body: Bytes) -> Result<Request<Full<Bytes>>, http::Error> {
    let Destination::Http {
        port,
        path,
        method,
        host,
    } = destination
    else {
        return Ok(Request::new(Full::new(body)));
    };
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, format!("{host}:{port}"))
        .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .body(Full::new(body))
}

/// Sends a request and reads the reply.
async fn exchange(
    sender: &mut http1::SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<(), SendError> {
    let reply = sender.send_request(request).await?;
    let status = reply.status();
    let mut body = reply.into_body();
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        read += frame?.data_ref().map_or(0, Bytes::len);
        if read > REPLY_BYTES {
            return Err(SendError::Endless);
        }
    }
    if status.is_client_error() || status.is_server_error() {
        return Err(SendError::Refused(status));
    }
    Ok(())
}

fn joined(records: &[Bytes], head: &[u8], between: &[u8], tail: &[u8]) -> Bytes {
    let length: usize = records.iter().map(|record| record.len() + between.len()).sum();
    let mut all = BytesMut::with_capacity(head.len() + length + tail.len());
    all.extend_from_slice(head);
    for (number, record) in records.iter().enumerate() {
        if number > 0 {
            all.extend_from_slice(between);
        }
        all.extend_from_slice(record);
    }
    all.extend_from_slice(tail);
    all.freeze()
}
