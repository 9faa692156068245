//! JSON Web Tokens: who has issued one, for whom, until when, and what it allows.
//!
//! Read [`token`] (what it says), [`claims`] (what it must say), [`keys`] and [`issuer`] (who has signed it), then
//! [`Authorizer`].
//!
//! **Invariant:** which algorithm verifies a signature is said by the issuer's key and never by the token.

pub mod claims;
pub mod issuer;
pub mod keys;
#[cfg(test)]
mod tests;
pub mod token;

use std::sync::Arc;

use serde_json::{Map, Value};

use super::cache::Cache;
use super::moment::Moment;
use claims::{Rule, Validity};
use issuer::Issuer;
use token::Token;

/// How much an authorizer remembers of tokens that it has verified, in bytes.
const VERIFIED_BYTES: usize = 8 << 20;

/// Why a token is refused. Its text is what the client is told, and says nothing but what RFC 6750 has it say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is none.
    #[error("the token is missing")]
    Missing,
    /// It is longer than any token.
    #[error("the token is too long")]
    TooLong,
    /// It does not have three parts.
    #[error("the token contains an invalid number of segments")]
    Segments,
    /// A part cannot be read.
    #[error("the token cannot be decoded")]
    Encoding,
    /// It has a critical extension.
    #[error("the token has a critical extension that is not known")]
    Extension,
    /// No key has its name.
    #[error("the token was signed by an unknown key")]
    Key,
    /// Its algorithm is not its key's.
    #[error("the signing method is invalid")]
    Algorithm,
    /// It is not signed by its key.
    #[error("the signature is invalid")]
    Signature,
    /// It is another issuer's.
    #[error("the token does not have a valid issuer")]
    Issuer,
    /// It is for somebody else.
    #[error("the token does not have a valid audience")]
    Audience,
    /// It does not say until when.
    #[error("the token does not have an expiration time")]
    NoExpiry,
    /// A time is no number.
    #[error("the token does not have a valid time")]
    Time,
    /// It has expired.
    #[error("the token has expired")]
    Expired,
    /// It is not good yet.
    #[error("the token is not valid yet")]
    NotYet,
    /// The issuer's keys are not known.
    #[error("OIDC discovery endpoint communication error")]
    Discovery,
}

/// A token that was verified.
#[derive(Debug)]
pub struct Verified {
    /// Its claims, each as text.
    pub claims: Map<String, Value>,
    /// The same as JSON.
    pub claims_json: String,
    /// What it allows.
    pub scopes: Vec<String>,
    validity: Validity,
    generation: u64,
}

impl Verified {
    /// Whether it allows one of `wanted`, or nothing is wanted.
    pub fn allows(&self, wanted: &[String]) -> bool {
        wanted.is_empty() || wanted.iter().any(|scope| self.scopes.contains(scope))
    }
}

/// A JWT authorizer of an API.
#[derive(Debug)]
pub struct Authorizer {
    rule: Rule,
    issuer: Arc<Issuer>,
    verified: Cache<Box<str>, Arc<Verified>>,
}

impl Authorizer {
    /// An authorizer that takes the tokens of `issuer` that `rule` allows.
    pub fn new(rule: Rule, issuer: Arc<Issuer>) -> Self {
        Self {
            rule,
            issuer,
            verified: Cache::new(VERIFIED_BYTES),
        }
    }

    /// Whether a token that came, bare or with its scheme, is good now.
    pub async fn verify(&self, credentials: &str, now: Moment) -> Result<Arc<Verified>, Refusal> {
        let text = token::bare(credentials);
        if let Some(verified) = self.remembered(text, now) {
            return verified.validity.check(now.unix_ms).map(|()| verified);
        }
        let token = Token::parse(text)?;
        // What is not for us at all costs the issuer nothing.
        let validity = self.rule.check(&token.claims)?;
        validity.check(now.unix_ms)?;
        let generation = self.issuer.verify(&token, now.at).await?;
        let claims = claims::shown(&token.claims);
        let claims_json = Value::Object(claims.clone()).to_string();
        let scopes = claims::scopes(&token.claims);
        let bytes = text.len() + 3 * claims_json.len() + size_of::<Verified>();
        let verified = Arc::new(Verified {
            claims,
            claims_json,
            scopes,
            validity,
            generation,
        });
        self.verified.insert(text.into(), Arc::clone(&verified), bytes);
        Ok(verified)
    }

    /// A token that was verified before, by keys that are still the issuer's.
    fn remembered(&self, text: &str, now: Moment) -> Option<Arc<Verified>> {
        let verified = self.verified.get(text)?;
        let is_so = self.issuer.generation(now.at) == Some(verified.generation);
        is_so.then_some(verified)
    }
}
