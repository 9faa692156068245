//! HTTPS to an ACME server: a connection for each request, as there are few.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use ephyra_wire::trust::client_config;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::AcmeError;

/// How long one request may take.
const TIME: Duration = Duration::from_secs(30);
/// Bytes of an answer.
const ANSWER: usize = 1024 * 1024;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The client.
#[derive(Clone)]
pub(super) struct HttpsClient {
    tls: TlsConnector,
}

impl HttpsClient {
    /// Trusts whom the machine trusts, and `authorities`, certificates in PEM.
    pub(super) fn new(authorities: Option<&[u8]>) -> Result<Self, AcmeError> {
        let config = client_config(authorities.unwrap_or_default())?;
        Ok(Self {
            tls: TlsConnector::from(config),
        })
    }

    async fn send(self, request: Request<BodyWrapper<Bytes>>) -> Result<Response<Full<Bytes>>, Cause> {
        let (mut head, body) = request.into_parts();
        let authority = head.uri.authority().ok_or("the URL has no host")?.clone();
        if head.uri.scheme_str() != Some("https") {
            return Err("the URL is not https".into());
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let stream = TcpStream::connect((host.as_str(), authority.port_u16().unwrap_or(443))).await?;
        let stream = self.tls.connect(ServerName::try_from(host)?, stream).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let target = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        head.uri = target.parse()?;
        head.headers.insert(header::HOST, authority.as_str().parse()?);
        let response = sender.send_request(Request::from_parts(head, body)).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER).collect().await?.to_bytes();
        connection.abort();
        Ok(Response::from_parts(head, Full::new(body)))
    }
}

impl HttpClient for HttpsClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let sending = self.clone().send(request);
        Box::pin(async move {
            match tokio::time::timeout(TIME, sending).await {
                Ok(Ok(response)) => Ok(response.into()),
                Ok(Err(cause)) => Err(Error::Other(cause)),
                Err(_) => Err(Error::Str("no answer in time")),
            }
        })
    }
}
