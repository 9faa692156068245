//! The keys of an issuer (RFC 7517), each with the one algorithm that it is for.

use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

use super::Refusal;
use super::token::Token;

/// How many keys of an issuer are looked at.
const MAX_KEYS: usize = 100;

/// The keys of an issuer that can be used.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

#[derive(Clone, Debug)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    name: &'static str,
    key: DecodingKey,
}

/// Why a text is no set of keys.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// It is no JSON of that form.
    #[error("the keys are not a JSON Web Key Set")]
    Form(#[source] serde_json::Error),
    /// There is none in it that verifies signatures by an algorithm that is taken.
    #[error("there is no key that could verify a signature")]
    Empty,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a set of keys. Keys of another kind, for another purpose or of another form are passed over, as a set may have
    /// them for others.
    pub fn parse(json: &[u8]) -> Result<Self, KeySetError> {
        let document: Document = serde_json::from_slice(json).map_err(KeySetError::Form)?;
        let jwks = document.keys.into_iter().take(MAX_KEYS);
        let keys: Vec<Key> = jwks
            .filter_map(|jwk| Key::new(serde_json::from_value(jwk).ok()?))
            .collect();
        if keys.is_empty() {
            Err(KeySetError::Empty)
        } else {
            Ok(Self { keys })
        }
    }

    /// Whether there is a key of this name.
    pub fn has(&self, id: Option<&str>) -> bool {
        self.find(id).is_some()
    }

    /// The key of this name; without a name, the only one that there is.
    fn find(&self, id: Option<&str>) -> Option<&Key> {
        match (id, self.keys.as_slice()) {
            (None, [key]) => Some(key),
            (None, _) => None,
            (Some(_), keys) => keys.iter().find(|key| key.id.as_deref() == id),
        }
    }

    /// Whether a token is signed by one of these keys, by the algorithm that the key is for.
    pub fn verify(&self, token: &Token<'_>) -> Result<(), Refusal> {
        let key = self.find(token.key_id.as_deref()).ok_or(Refusal::Key)?;
        if token.algorithm != key.name {
            return Err(Refusal::Algorithm);
        }
        let verified = jsonwebtoken::crypto::verify(token.signature, token.message.as_bytes(), &key.key, key.algorithm);
        if verified.unwrap_or(false) {
            Ok(())
        } else {
            Err(Refusal::Signature)
        }
    }
}

impl Key {
    fn new(jwk: Jwk) -> Option<Self> {
        let verifies = jwk.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
            && jwk
                .key_ops
                .as_ref()
                .is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !verifies {
            return None;
        }
        let alg = jwk.alg.as_deref();
        let (algorithm, name, key) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => {
                // A key that does not say is for the algorithm that all issuers have.
                let (algorithm, name) = rsa(alg.unwrap_or("RS256"))?;
                (
                    algorithm,
                    name,
                    DecodingKey::from_rsa_components(jwk.n.as_deref()?, jwk.e.as_deref()?),
                )
            }
            ("EC", Some("P-256")) if alg.is_none_or(|alg| alg == "ES256") => {
                let key = DecodingKey::from_ec_components(jwk.x.as_deref()?, jwk.y.as_deref()?);
                (Algorithm::ES256, "ES256", key)
            }
            ("EC", Some("P-384")) if alg.is_none_or(|alg| alg == "ES384") => {
                let key = DecodingKey::from_ec_components(jwk.x.as_deref()?, jwk.y.as_deref()?);
                (Algorithm::ES384, "ES384", key)
            }
            ("OKP", Some("Ed25519")) if alg.is_none_or(|alg| alg == "EdDSA") => (
                Algorithm::EdDSA,
                "EdDSA",
                DecodingKey::from_ed_components(jwk.x.as_deref()?),
            ),
            _ => return None,
        };
        Some(Self {
            id: jwk.kid,
            algorithm,
            name,
            key: key.ok()?,
        })
    }
}

fn rsa(name: &str) -> Option<(Algorithm, &'static str)> {
    Some(match name {
        "RS256" => (Algorithm::RS256, "RS256"),
        "RS384" => (Algorithm::RS384, "RS384"),
        "RS512" => (Algorithm::RS512, "RS512"),
        "PS256" => (Algorithm::PS256, "PS256"),
        "PS384" => (Algorithm::PS384, "PS384"),
        "PS512" => (Algorithm::PS512, "PS512"),
        _ => return None,
    })
}
