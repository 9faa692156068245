//! Requests to other servers: issuers of tokens, and the back ends of HTTP integrations.
//!
//! Connections are kept and used again. No redirection is followed: where a request goes is the operator's to say.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use ephyra_wire::trust::{TrustError, client_config};
use futures_util::future::BoxFuture;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

/// How long a connection may take to come about, TLS included.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long a connection is kept without being used.
const IDLE_TIME: Duration = Duration::from_secs(60);
/// How many connections to one server are kept without being used.
const IDLE_CONNECTIONS: usize = 64;
/// How long an issuer's document may take.
const DOCUMENT_TIME: Duration = Duration::from_secs(5);
/// Why a request to another server came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// There was no connection, or it broke off.
    #[error("the server could not be reached")]
    Connection(#[source] hyper_util::client::legacy::Error),
    /// The answer broke off.
    #[error("the answer broke off")]
    Body(#[source] Box<dyn Error + Send + Sync>),
    /// It took too long.
    #[error("the server has not answered in time")]
    TimeOut,
    /// The answer is larger than it may be.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The answer has another status than was wanted.
    #[error("the server has answered with status {0}")]
    Status(u16),
}

/// Fetches documents.
pub trait Fetch: Send + Sync + 'static {
    /// The document at an address, `limit` bytes at most; only an answer with status 200 has one.
    fn get(&self, uri: Uri, limit: usize) -> BoxFuture<'_, Result<Bytes, FetchError>>;
}

/// A client of other servers. Clones share its connections.
#[derive(Clone)]
pub struct Client {
    pool: Pool<Connector, Full<Bytes>>,
    connector: Connector,
}

impl Client {
    /// A client that believes those certificates that the system does, and those in `authorities` (PEM) besides.
    pub fn new(authorities: Vec<u8>) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIME));
        let trust = Arc::new(Trust {
            authorities,
            config: OnceLock::new(),
        });
        Self::of(Connector {
            http,
            trust,
            name: None,
        })
    }

    fn of(connector: Connector) -> Self {
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(connector.clone());
        Self { pool, connector }
    }

    /// This client; with a name, one with connections of its own, to servers whose certificates are for that name.
    pub fn verifying(&self, name: Option<&str>) -> Self {
        match name {
            None => self.clone(),
            Some(_) => Self::of(Connector {
                name: name.map(Into::into),
                ..self.connector.clone()
            }),
        }
    }

    /// Sends a request and takes the whole answer, `limit` bytes at most.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        limit: usize,
        time: Duration,
    ) -> Result<Response<Bytes>, FetchError> {
        let exchange = async {
            let response = self.pool.request(request).await.map_err(FetchError::Connection)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, limit).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    FetchError::TooLarge(limit)
                } else {
                    FetchError::Body(error)
                }
            })?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        tokio::time::timeout(time, exchange)
            .await
            .unwrap_or(Err(FetchError::TimeOut))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Fetch for Client {
    fn get(&self, uri: Uri, limit: usize) -> BoxFuture<'_, Result<Bytes, FetchError>> {
        Box::pin(async move {
            let mut request = Request::new(Full::default());
            *request.uri_mut() = uri;
            let accept = http::HeaderValue::from_static("application/json");
            request.headers_mut().insert(http::header::ACCEPT, accept);
            let response = self.send(request, limit, DOCUMENT_TIME).await?;
            match response.status().as_u16() {
                200 => Ok(response.into_body()),
                status => Err(FetchError::Status(status)),
            }
        })
    }
}

/// Whom to believe. Reading the system's certificates takes milliseconds, and most never need them.
struct Trust {
    /// In PEM.
    authorities: Vec<u8>,
    config: OnceLock<Arc<ClientConfig>>,
}

impl Trust {
    fn config(&self) -> Result<Arc<ClientConfig>, TrustError> {
        if let Some(config) = self.config.get() {
            return Ok(Arc::clone(config));
        }
        let config = client_config(&self.authorities)?;
        Ok(Arc::clone(self.config.get_or_init(|| config)))
    }
}

/// Opens connections, with TLS where the address says so.
#[derive(Clone)]
struct Connector {
    http: HttpConnector,
    trust: Arc<Trust>,
    /// Whose certificate is wanted, when it is not the host's own.
    name: Option<Arc<str>>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.http.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let host = uri
            .host()
            .unwrap_or_default()
            .trim_start_matches('[')
            .trim_end_matches(']');
        let host = self.name.as_deref().unwrap_or(host).to_owned();
        let config = (uri.scheme_str() == Some("https"))
            .then(|| self.trust.config())
            .transpose();
        let connecting = self.http.call(uri);
        Box::pin(async move {
            let stream = connecting.await?.into_inner();
            let Some(config) = config? else {
                return Ok(TokioIo::new(Stream::Plain(stream)));
            };
            let name = ServerName::try_from(host)?;
            let handshake = TlsConnector::from(config).connect(name, stream);
            let stream = tokio::time::timeout(CONNECT_TIME, handshake).await??;
            Ok(TokioIo::new(Stream::Tls(Box::new(stream))))
        })
    }
}

/// A connection.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
