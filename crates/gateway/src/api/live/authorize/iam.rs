//! Signatures: callers who have credentials of the platform.

use bytes::Bytes;
use ephyra_core::id::Region;
use ephyra_wire::service::Caller;
use ephyra_wire::sigv4::{Scope, SigningTime, Verifier, VerifyError};
use http::request;

/// What requests for APIs are signed for.
const SERVICE: &str = "execute-api";

/// Verifies signatures.
#[derive(Debug)]
pub struct Iam {
    verifier: Verifier,
    region: Region,
}

impl Iam {
    /// Takes what is signed for this region.
    pub fn new(verifier: Verifier, region: Region) -> Self {
        Self { verifier, region }
    }

    /// Who has signed a request.
    pub fn verify(&self, head: &request::Parts, body: &Bytes, now_ms: i64) -> Result<Caller, VerifyError> {
        let scope = Scope {
            region: self.region.as_str(),
            service: SERVICE,
        };
        self.verifier
            .prove(head, body, scope, SigningTime::from_unix_ms(now_ms))
    }
}
