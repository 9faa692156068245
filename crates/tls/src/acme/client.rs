//! HTTPS to an ACME server: a connection for each request, as there are few.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::AcmeError;
use crate::pem;

/// How long one request may take.
const TIME: Duration = Duration::from_secs(30);
/// Bytes of an answer.
const ANSWER: usize = 1024 * 1024;

/// Where systems keep whom they trust; the server sees these folders.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The client.
#[derive(Clone)]
pub(super) struct HttpsClient {
    tls: TlsConnector,
}

impl HttpsClient {
    /// Trusts whom the machine trusts, and `authorities`.
    pub(super) fn new(authorities: Option<&[u8]>) -> Result<Self, AcmeError> {
        let mut roots = RootCertStore::empty();
        let bundle = BUNDLES
            .iter()
            .find_map(|path| std::fs::read(path).ok())
            .unwrap_or_default();
        // Of what a system trusts, some may be of kinds that nobody uses any more.
        roots.add_parsable_certificates(pem::certificates(&bundle).unwrap_or_default());
        let more = pem::certificates(authorities.unwrap_or_default()).map_err(AcmeError::Authorities)?;
        for certificate in more {
            roots.add(certificate)?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
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
