//! One kept-alive connection with blocking calls, and requests that are signed before the clock runs.
//!
//! The client is a bare socket: what it costs itself would be in every figure.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use ephyra_wire::sigv4::{BodyHash, Signer, SigningTime};
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderValue, Method};

use crate::answer::{Reader, Reply};
use crate::server::{ACCESS_KEY, SECRET_KEY};
use crate::stop;

/// How long a connection may take to open.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// How long a read waits before it looks whether the run has to end.
const LOOK_TIME: Duration = Duration::from_millis(500);

/// A request as it goes over the wire.
pub(crate) type Bytes = Arc<[u8]>;

/// A connection.
pub(crate) struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    reader: Reader,
    buffer: Box<[u8]>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_TIME).context("could not connect")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOOK_TIME))?;
        Ok(Self {
            address,
            stream,
            reader: Reader::default(),
            buffer: vec![0; 16 << 10].into_boxed_slice(),
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a request, reads its answer to the end, and says how long that took.
    pub(crate) fn send(&mut self, request: &[u8]) -> Result<(Reply, Duration)> {
        let start = Instant::now();
        self.stream.write_all(request).context("could not send")?;
        loop {
            match self.stream.read(&mut self.buffer) {
                Ok(count) => {
                    if let Some(reply) = self.reader.feed(&self.buffer[..count])? {
                        return Ok((reply, start.elapsed()));
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    stop::check()?;
                    if start.elapsed() > ANSWER_TIME {
                        bail!("no answer within {ANSWER_TIME:?}");
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("could not read"),
            }
        }
    }

    /// Sends a request that must be answered with `body` and says how long that took.
    pub(crate) fn expect(&mut self, request: &[u8], body: &[u8]) -> Result<Duration> {
        let (reply, took) = self.send(request)?;
        let got = reply.success("the call")?;
        if got != body {
            bail!("the call was answered {:?}", String::from_utf8_lossy(&got));
        }
        Ok(took)
    }
}

/// A request without a signature.
pub(crate) fn unsigned(address: SocketAddr, method: &Method, path: &str, body: &[u8]) -> Bytes {
    to_host(&address.to_string(), method, path, "", body)
}

/// A request for a host, with more header lines.
pub(crate) fn to_host(host: &str, method: &Method, path: &str, more: &str, body: &[u8]) -> Bytes {
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\n{more}content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request.into()
}

/// A request that is signed for Lambda; `query` is percent-encoded.
pub(crate) fn signed(address: SocketAddr, method: &Method, path: &str, query: &str, body: &[u8]) -> Result<Bytes> {
    signed_for("lambda", address, method, path, query, body)
}

/// The same for another service.
pub(crate) fn signed_for(
    service: &str,
    address: SocketAddr,
    method: &Method,
    path: &str,
    query: &str,
    body: &[u8],
) -> Result<Bytes> {
    let signer = Signer::new(ACCESS_KEY, SECRET_KEY, "us-east-1", service);
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_str(&address.to_string())?);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let (hash, now) = (BodyHash::of(body), SigningTime::from_clock(SystemTime::now()));
    signer.sign_headers(method.as_str(), path, query, &mut headers, hash.as_str(), now)?;
    let mark = if query.is_empty() { "" } else { "?" };
    let mut request = format!("{method} {path}{mark}{query} HTTP/1.1\r\n").into_bytes();
    for (name, value) in &headers {
        request.extend_from_slice(name.as_str().as_bytes());
        request.extend_from_slice(b": ");
        request.extend_from_slice(value.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(body);
    Ok(request.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_call_goes_over_one_connection_again_and_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut all = Vec::new();
            for _ in 0..2 {
                let mut buffer = [0; 4096];
                let count = stream.read(&mut buffer).unwrap();
                all.extend_from_slice(&buffer[..count]);
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnull")
                    .unwrap();
            }
            String::from_utf8(all).unwrap()
        });
        let mut connection = Connection::open(address).unwrap();
        let request = signed(address, &Method::POST, "/x", "a=b", b"{}").unwrap();
        connection.expect(&request, b"null").unwrap();
        assert!(
            connection
                .expect(&unsigned(address, &Method::GET, "/y", b""), b"else")
                .is_err()
        );
        let seen = server.join().unwrap();
        assert!(seen.starts_with("POST /x?a=b HTTP/1.1\r\n") && seen.contains("authorization: AWS4-HMAC-SHA256"));
        assert!(seen.contains("GET /y HTTP/1.1\r\n"));
    }
}
