//! Signature Version 4: who signed a request, and did they.
//!
//! Pure: the clock, the secrets and the hash of the body come in as arguments. Read [`Claim`] (what a request says
//! of its signature), then [`Verifier`] (is it so), then [`Signer`] (the client's side).
//!
//! Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.

mod canonical;
mod claim;
mod error;
mod key;
mod sign;
mod time;
mod verify;

use std::fmt;
use std::sync::Arc;

use ephyra_core::id::AccountId;
use http::HeaderMap;
use sha2::{Digest, Sha256};

pub use canonical::{PathRule, canonical_request};
pub(crate) use canonical::{decode_query, encode_query};
pub use claim::{Claim, is_presigned_parameter};
pub use error::VerifyError;
pub use sign::{SignError, Signer};
pub use time::SigningTime;
pub use verify::{Scope, Verifier};

/// How far a client's clock may be from ours, in seconds.
pub const SKEW_SECONDS: i64 = 300;
/// How long a presigned URL may be valid at most, in seconds: a week.
pub const MAX_EXPIRES_SECONDS: u32 = 604_800;
/// What stands for the body's hash when the body is not part of a presigned URL's signature.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
pub(crate) const TERMINATOR: &str = "aws4_request";

/// The parts of a request that a signature covers, as they are on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The method.
    pub method: &'a str,
    /// The path, still percent-encoded.
    pub path: &'a str,
    /// What follows the question mark, still percent-encoded; empty without one.
    pub query: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// HTTP/2's `:authority`, which stands for `host` where that header is missing.
    pub authority: Option<&'a str>,
}

impl<'a> Parts<'a> {
    /// The parts of a request's head.
    pub fn of(head: &'a http::request::Parts) -> Self {
        Self {
            method: head.method.as_str(),
            path: head.uri.path(),
            query: head.uri.query().unwrap_or_default(),
            headers: &head.headers,
            authority: head.uri.authority().map(http::uri::Authority::as_str),
        }
    }
}

/// A secret key. Not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a secret key.
    pub fn new(secret: impl Into<Arc<str>>) -> Self {
        Self(secret.into())
    }

    /// The secret key itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What is known of an access key.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The secret key that goes with it.
    pub secret: Secret,
    /// The account it belongs to.
    pub account: AccountId,
}

/// Where secrets are looked up.
pub trait Credentials: Send + Sync + 'static {
    /// The credential of `access_key`. None when it is unknown, has expired, or does not go with `session_token`:
    /// a key that was issued without a token must be refused when one comes with it, and the other way round.
    fn find(&self, access_key: &str, session_token: Option<&str>) -> Option<Credential>;
}

/// The SHA-256 of a body in lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyHash {
    text: [u8; 64],
    is_empty: bool,
}

impl BodyHash {
    /// Hashes `body`.
    pub fn of(body: &[u8]) -> Self {
        let mut hasher = BodyHasher::default();
        hasher.update(body);
        hasher.finish()
    }

    /// The hexadecimal digits.
    pub fn as_str(&self) -> &str {
        as_ascii(&self.text)
    }
}

/// Hashes a body as it comes, so that a large one does not hold up a thread at its end.
#[derive(Clone, Debug, Default)]
pub struct BodyHasher {
    hasher: Sha256,
    has_bytes: bool,
}

impl BodyHasher {
    /// Takes the next part of the body.
    pub fn update(&mut self, part: &[u8]) {
        self.hasher.update(part);
        self.has_bytes |= !part.is_empty();
    }

    /// The hash of all parts.
    pub fn finish(self) -> BodyHash {
        BodyHash {
            text: hex_digest(self.hasher.finalize().into()),
            is_empty: !self.has_bytes,
        }
    }
}

/// 64 hexadecimal digits of a SHA-256.
fn hex_digest(digest: [u8; 32]) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(digest) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

/// Bytes that this module wrote itself and knows to be ASCII.
fn as_ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}
