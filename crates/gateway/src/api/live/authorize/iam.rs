//! Signatures: callers who have credentials of the platform.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use ephyra_core::id::Region;
use ephyra_wire::service::Caller;
use ephyra_wire::sigv4::{BodyHash, Claim, Parts, Scope, SigningTime, Verifier, VerifyError};
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
        let parts = Parts {
            method: head.method.as_str(),
            path: head.uri.path(),
            query: head.uri.query().unwrap_or_default(),
            headers: &head.headers,
            authority: head.uri.authority().map(http::uri::Authority::as_str),
        };
        let claim = Claim::read(&parts)?;
        let now = UNIX_EPOCH + Duration::from_millis(u64::try_from(now_ms).unwrap_or_default());
        let scope = Scope {
            region: self.region.as_str(),
            service: SERVICE,
        };
        let credential = self.verifier.admit(&claim, scope, SigningTime::from_clock(now))?;
        self.verifier.verify(&parts, &claim, &credential, &BodyHash::of(body))
    }
}
