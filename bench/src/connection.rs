//! One kept-alive connection, and requests that are signed before the clock runs.

use std::net::SocketAddr;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use ephyra_wire::sigv4::{BodyHash, Signer, SigningTime};
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::server::{ACCESS_KEY, SECRET_KEY};

/// A connection to the server.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
    signer: Signer,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("could not connect")?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                eprintln!("a connection broke: {error}");
            }
        });
        Ok(Self {
            sender,
            host: HeaderValue::from_str(&address.to_string())?,
            signer: Signer::new(ACCESS_KEY, SECRET_KEY, "us-east-1", "lambda"),
        })
    }

    /// A request without a signature.
    pub(crate) fn unsigned(&self, method: Method, path: &str) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::builder().method(method).uri(path).body(Full::default())?;
        request.headers_mut().insert(HOST, self.host.clone());
        Ok(request)
    }

    /// A signed request; `query` is percent-encoded.
    pub(crate) fn signed(&self, method: Method, path: &str, query: &str, body: Bytes) -> Result<Request<Full<Bytes>>> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, self.host.clone());
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        let (hash, now) = (BodyHash::of(&body), SigningTime::from_clock(SystemTime::now()));
        self.signer
            .sign_headers(method.as_str(), path, query, &mut headers, hash.as_str(), now)?;
        let target = if query.is_empty() {
            path.to_owned()
        } else {
            format!("{path}?{query}")
        };
        let mut request = Request::builder().method(method).uri(target).body(Full::new(body))?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Sends a request and reads its answer to the end.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes)> {
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        if head.headers.contains_key("x-amz-function-error") {
            bail!("the function failed: {}", String::from_utf8_lossy(&body));
        }
        Ok((head.status, body))
    }

    /// Sends a signed request of which an answer other than 2xx is an error.
    pub(crate) async fn call(&mut self, method: Method, path: &str, query: &str, body: Bytes) -> Result<Bytes> {
        let what = format!("{method} {path}");
        let request = self.signed(method, path, query, body)?;
        let (status, body) = self.send(request).await.with_context(|| what.clone())?;
        if !status.is_success() {
            bail!("{what} was answered {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }
}
