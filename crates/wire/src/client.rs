//! A small HTTP client that signs: for the command line and for tests. One server.
//!
//! Read [`Outgoing`], then [`Client::send`], then [`Answer`].

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::sigv4::{BodyHash, SignError, Signer, SigningTime};

/// How long connecting may take.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How many idle connections are kept.
const IDLE: usize = 16;

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens, or nothing that is reachable.
    #[error("could not connect to {endpoint}")]
    Connect {
        /// Where to.
        endpoint: Endpoint,
        /// Why not.
        source: std::io::Error,
    },
    /// The request is none that can be sent.
    #[error("the request cannot be sent: its {0} is not valid")]
    Request(&'static str),
    /// The request could not be signed.
    #[error("the request could not be signed")]
    Sign(#[from] SignError),
    /// The connection broke. Whether the request was carried out is not known.
    #[error("the connection to {endpoint} broke before the answer was complete")]
    Broken {
        /// Where to.
        endpoint: Endpoint,
        /// How.
        source: hyper::Error,
    },
    /// No answer within the client's time limit. Whether the request was carried out is not known.
    #[error("no answer from {endpoint} within {limit:?}")]
    TimedOut {
        /// Where to.
        endpoint: Endpoint,
        /// How long was waited.
        limit: Duration,
    },
    /// The answer's body is larger than the caller allows.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

/// Where the server is: `http://127.0.0.1:4566`, or `https://fn.example.org`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Host and port, as in the `Host` header.
    authority: Arc<str>,
    has_port: bool,
    is_tls: bool,
}

/// Why a text is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an endpoint such as http://127.0.0.1:4566")]
pub struct ParseEndpointError(String);

impl FromStr for Endpoint {
    type Err = ParseEndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseEndpointError(text.chars().take(140).collect());
        let uri: http::Uri = text.parse().map_err(|_| error())?;
        let authority = uri.authority().ok_or_else(error)?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(error()),
        };
        let is_bare = uri.path() == "/" && uri.query().is_none();
        if !is_bare || authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(error());
        }
        Ok(Self {
            authority: authority.as_str().into(),
            has_port: authority.port().is_some(),
            is_tls,
        })
    }
}

impl Endpoint {
    /// Whether TLS is spoken there: see [`Client::with_tls`].
    pub const fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The host alone, an IPv6 address without its brackets.
    fn host(&self) -> &str {
        let host = match self.authority.rsplit_once(':') {
            Some((host, _)) if self.has_port => host,
            _ => &self.authority,
        };
        host.trim_matches(['[', ']'])
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

/// A request to be sent.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The method.
    pub method: Method,
    /// The path, percent-encoded; see [`encode_segment`].
    pub path: String,
    /// The query, percent-encoded, without the question mark; may be empty.
    pub query: String,
    /// The headers besides `Host`, `Content-Length` and those of the signature.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Outgoing {
    /// A request without query, headers and body.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            query: String::new(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// The same with one more parameter in the query.
    pub fn query(mut self, name: &str, value: &str) -> Self {
        if !self.query.is_empty() {
            self.query.push('&');
        }
        self.query += &format!("{}={}", encode_segment(name), encode_segment(value));
        self
    }

    /// The same with one more header.
    pub fn header(mut self, name: &'static str, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// The same with a body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

/// Percent-encodes a label of a path, or a name or value of a query.
pub fn encode_segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    crate::sigv4::encode_query(&mut encoded, text);
    encoded
}

type Sender = SendRequest<Full<Bytes>>;
type Pool = Arc<Mutex<Vec<Sender>>>;

/// A client of one server. Keeps connections open between requests.
pub struct Client {
    endpoint: Endpoint,
    signer: Option<Signer>,
    time_limit: Duration,
    idle: Pool,
    tls: Option<TlsConnector>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client of `endpoint`. Without a signer requests are sent as they are. An answer must begin within
    /// `time_limit`.
    pub fn new(endpoint: Endpoint, signer: Option<Signer>, time_limit: Duration) -> Self {
        Self {
            endpoint,
            signer,
            time_limit,
            idle: Pool::default(),
            tls: None,
        }
    }

    /// The same with whom to believe, which an endpoint with TLS needs: see [`crate::trust`].
    pub fn with_tls(mut self, config: Arc<ClientConfig>) -> Self {
        self.tls = Some(TlsConnector::from(config));
        self
    }

    /// Sends a request and waits for the beginning of its answer.
    pub async fn send(&self, outgoing: Outgoing) -> Result<Answer, ClientError> {
        let request = self.request(outgoing)?;
        let answered = timeout(self.time_limit, self.exchange(request)).await;
        let (response, sender) = answered.map_err(|_| ClientError::TimedOut {
            endpoint: self.endpoint.clone(),
            limit: self.time_limit,
        })??;
        let (head, body) = response.into_parts();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
            endpoint: self.endpoint.clone(),
            sender,
            idle: self.idle.clone(),
        })
    }

    fn request(&self, outgoing: Outgoing) -> Result<http::Request<Full<Bytes>>, ClientError> {
        let Outgoing {
            method,
            path,
            query,
            mut headers,
            body,
        } = outgoing;
        let host = HeaderValue::from_str(&self.endpoint.authority).map_err(|_| ClientError::Request("host"))?;
        headers.insert(HOST, host);
        if !body.is_empty() || method != Method::GET {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        if let Some(signer) = &self.signer {
            let (hash, now) = (BodyHash::of(&body), SigningTime::from_clock(SystemTime::now()));
            signer.sign_headers(method.as_str(), &path, &query, &mut headers, hash.as_str(), now)?;
        }
        let target = if query.is_empty() {
            path
        } else {
            format!("{path}?{query}")
        };
        let mut request = http::Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = target.parse().map_err(|_| ClientError::Request("path or query"))?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    async fn exchange(
        &self,
        mut request: http::Request<Full<Bytes>>,
    ) -> Result<(http::Response<Incoming>, Sender), ClientError> {
        loop {
            let idle = self.idle.lock().pop();
            let (mut sender, is_used) = match idle {
                Some(sender) => (sender, true),
                None => (self.connect().await?, false),
            };
            // The server may have closed a connection that was idle; then nothing was sent and the next will do.
            if sender.ready().await.is_err() && is_used {
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, sender)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if is_used => request = unsent,
                    _ => return Err(broken(&self.endpoint, error.into_error())),
                },
            }
        }
    }

    async fn connect(&self) -> Result<Sender, ClientError> {
        let failed = |source| ClientError::Connect {
            endpoint: self.endpoint.clone(),
            source,
        };
        let authority: &str = &self.endpoint.authority;
        let connecting = async {
            if self.endpoint.has_port {
                TcpStream::connect(authority).await
            } else {
                TcpStream::connect((self.endpoint.host(), if self.endpoint.is_tls { 443 } else { 80 })).await
            }
        };
        let late = |_| failed(std::io::ErrorKind::TimedOut.into());
        let stream = timeout(CONNECT_TIME, connecting).await.map_err(late)?.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        if !self.endpoint.is_tls {
            return self.greet(stream).await;
        }
        let unset = || std::io::Error::other("it is not said whom to trust");
        let connector = self.tls.as_ref().ok_or_else(|| failed(unset()))?;
        let name = ServerName::try_from(self.endpoint.host().to_owned());
        let name = name.map_err(|error| failed(std::io::Error::other(error)))?;
        let handshake = timeout(CONNECT_TIME, connector.connect(name, stream)).await;
        let late = |_| failed(std::io::ErrorKind::TimedOut.into());
        self.greet(handshake.map_err(late)?.map_err(failed)?).await
    }

    async fn greet(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Sender, ClientError> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|source| broken(&self.endpoint, source))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
        Ok(sender)
    }
}

fn broken(endpoint: &Endpoint, source: hyper::Error) -> ClientError {
    ClientError::Broken {
        endpoint: endpoint.clone(),
        source,
    }
}

/// An answer whose body is still to be read.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    body: Incoming,
    endpoint: Endpoint,
    sender: Sender,
    idle: Pool,
}

/// An answer with all of its body.
#[derive(Clone, Debug)]
pub struct Whole {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl Answer {
    /// The next part of the body; None at its end.
    pub async fn part(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|source| broken(&self.endpoint, source))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Reads a body of at most `limit` bytes to its end.
    pub async fn whole(mut self, limit: usize) -> Result<Whole, ClientError> {
        let mut body = BytesMut::new();
        while let Some(part) = self.part().await? {
            if part.len() > limit - body.len() {
                return Err(ClientError::TooLarge(limit));
            }
            body.extend_from_slice(&part);
        }
        let Self {
            status,
            headers,
            sender,
            idle,
            ..
        } = self;
        let mut idle = idle.lock();
        if idle.len() < IDLE && !sender.is_closed() {
            idle.push(sender);
        }
        Ok(Whole {
            status,
            headers,
            body: body.freeze(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_origins() {
        for (text, host) in [
            ("http://127.0.0.1:4566", "127.0.0.1"),
            ("http://localhost/", "localhost"),
            ("https://a.test", "a.test"),
            ("https://[::1]", "::1"),
            ("http://[::1]:80", "::1"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(
                (endpoint.to_string(), endpoint.host()),
                (text.trim_end_matches('/').to_owned(), host)
            );
        }
        for text in [
            "",
            "127.0.0.1:4566",
            "ftp://a",
            "https://a/b",
            "http://a/b",
            "http://a?b",
            "http://u:p@a",
            "http://",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn queries_are_encoded() {
        let outgoing = Outgoing::new(Method::GET, "/").query("a b", "x/y").query("c", "");
        assert_eq!(outgoing.query, "a%20b=x%2Fy&c=");
    }
}
