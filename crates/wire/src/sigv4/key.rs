//! Signing keys, derived from a secret for a day, a region and a service.

use std::collections::HashMap;

use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use sha2::Sha256;

use super::{Secret, TERMINATOR};

/// How many signing keys are kept; one is about 300 bytes.
const KEPT: usize = 1024;

/// A keyed HMAC, ready to take the string to sign.
pub(super) type SigningKey = Hmac<Sha256>;

/// Derives the key from the secret.
pub(super) fn derive(secret: &str, date: &str, region: &str, service: &str) -> SigningKey {
    let first = keyed(format!("AWS4{secret}").as_bytes());
    let day = mac(first, date);
    let place = mac(keyed(&day), region);
    let kind = mac(keyed(&place), service);
    keyed(&mac(keyed(&kind), TERMINATOR))
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104)")]
fn keyed(key: &[u8]) -> SigningKey {
    SigningKey::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn mac(mut key: SigningKey, message: &str) -> [u8; 32] {
    key.update(message.as_bytes());
    key.finalize().into_bytes().into()
}

/// Keys that were derived before, by `access key/date/region/service/aws4_request`.
#[derive(Default)]
pub(super) struct KeyCache {
    keys: Mutex<HashMap<Box<str>, (Secret, SigningKey)>>,
}

impl KeyCache {
    /// The key for a credential. Call it only for access keys that exist: what is asked for is kept.
    pub(super) fn get(&self, credential: &str, secret: &Secret, derive: impl FnOnce() -> SigningKey) -> SigningKey {
        if let Some((known, key)) = self.keys.lock().get(credential)
            && known == secret
        {
            return key.clone();
        }
        let key = derive();
        let mut keys = self.keys.lock();
        // Keys of past days are of no more use, and deriving one again takes microseconds: so all go at once.
        if keys.len() >= KEPT {
            keys.clear();
        }
        keys.insert(credential.into(), (secret.clone(), key.clone()));
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_derived_once_and_the_cache_is_bounded() {
        let cache = KeyCache::default();
        let secret = Secret::new("s");
        let fresh = || derive("s", "20150830", "us-east-1", "lambda");
        cache.get("a", &secret, fresh);
        cache.get("a", &secret, || panic!("derived twice"));
        let mut asked = false;
        cache.get("a", &Secret::new("rotated"), || {
            asked = true;
            fresh()
        });
        assert!(asked, "another secret needs another key");
        for n in 0..KEPT * 2 {
            cache.get(&n.to_string(), &secret, fresh);
        }
        assert!(cache.keys.lock().len() <= KEPT);
    }
}
