//! What the front needs to speak TLS. Where certificates come from is another room's.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode, request};

use crate::service::{Body, Response};

/// Where an ACME server looks for the proof that a name is ours (RFC 8555, 8.3).
const CHALLENGE_PREFIX: &str = "/.well-known/acme-challenge/";

/// How to speak TLS.
#[derive(Clone)]
pub struct Tls {
    /// Certificates, versions, protocols. Connections that are open keep what they began with.
    pub config: Arc<rustls::ServerConfig>,
    /// The proofs that an ACME server asks for.
    pub challenges: Arc<dyn Challenges>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// The proofs of orders that are under way.
pub trait Challenges: Send + Sync + 'static {
    /// The key authorization for a token; None when nobody has asked for it.
    fn find(&self, token: &str) -> Option<String>;
}

impl Tls {
    /// Answers an ACME server. None when the request is anything else, or of a token that is not ours: then the address is
    /// whosever it is.
    pub(super) fn challenge(&self, head: &request::Parts) -> Option<Response> {
        let token = head.uri.path().strip_prefix(CHALLENGE_PREFIX)?;
        if head.method != Method::GET {
            return None;
        }
        Some(Response {
            status: StatusCode::OK,
            headers: http::HeaderMap::default(),
            body: Body::Full(Bytes::from(self.challenges.find(token)?)),
        })
    }
}
