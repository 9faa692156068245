//! One issuer: where its keys are, which they are now, and when they are fetched again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::Uri;
use parking_lot::RwLock;
use serde::Deserialize;

use super::Refusal;
use super::keys::{KeySet, KeySetError};
use super::token::Token;
use crate::api::live::fetch::{Fetch, FetchError};
use crate::api::live::throttle::Bucket;

/// How old keys may be before they are fetched again.
pub const FRESH: Duration = Duration::from_secs(3_600);
/// How old keys may be while they cannot be fetched.
pub const STALE: Duration = Duration::from_secs(24 * 3_600);
/// How often a second keys are fetched at most, whoever asks: one in 30 seconds.
const FETCHES_A_SECOND: f64 = 1.0 / 30.0;
/// How many fetches may follow each other at once.
const FETCHES_AT_ONCE: u32 = 5;
/// The largest document of an issuer, in bytes.
const DOCUMENT_BYTES: usize = 256 * 1024;

/// An issuer of tokens.
pub struct Issuer {
    url: String,
    fetch: Arc<dyn Fetch>,
    fetches: Bucket,
    /// One fetch at a time: the others wait for it.
    fetching: tokio::sync::Mutex<()>,
    known: RwLock<Option<Known>>,
    /// Grows when keys have changed, so that what was verified by keys that are gone is not believed any longer.
    generation: AtomicU64,
}

#[derive(Clone)]
struct Known {
    keys: Arc<KeySet>,
    document: Arc<[u8]>,
    fetched: Instant,
}

/// Why an issuer's keys could not be fetched. The operator is told; a client is not.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// An address is no URL, or not one that is safe.
    #[error("{0} is not a URL with https, or with http and this machine")]
    Address(String),
    /// It could not be fetched.
    #[error("{url} could not be fetched")]
    Fetch {
        /// What was to be fetched.
        url: String,
        /// Why not.
        #[source]
        source: FetchError,
    },
    /// It is no discovery document.
    #[error("the discovery document is not one of OpenID Connect")]
    Document(#[source] serde_json::Error),
    /// It is another issuer's.
    #[error("the discovery document is that of another issuer")]
    OtherIssuer,
    /// There are no keys in it.
    #[error("the keys cannot be used")]
    Keys(#[source] KeySetError),
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Issuer {
    /// An issuer of which nothing has been fetched yet.
    pub fn new(url: String, fetch: Arc<dyn Fetch>, now: Instant) -> Self {
        Self {
            url,
            fetch,
            fetches: Bucket::new(FETCHES_A_SECOND, FETCHES_AT_ONCE, now),
            fetching: tokio::sync::Mutex::new(()),
            known: RwLock::new(None),
            generation: AtomicU64::new(0),
        }
    }

    /// A number for the keys that are known now, when they need not be fetched again yet: what they have verified is verified.
    pub fn generation(&self, now: Instant) -> Option<u64> {
        let known = self.known.read();
        let is_fresh = known.as_ref().is_some_and(|known| age(known, now) < FRESH);
        is_fresh.then(|| self.generation.load(Ordering::Acquire))
    }

    /// Whether a token is signed by this issuer. Says by which generation of its keys.
    pub async fn verify(&self, token: &Token<'_>, now: Instant) -> Result<u64, Refusal> {
        let is_wanted = |known: &Option<Known>| {
            let known = known.as_ref()?;
            let is_usable = age(known, now) < FRESH && known.keys.has(token.key_id.as_deref());
            is_usable.then(|| Arc::clone(&known.keys))
        };
        let mut keys = is_wanted(&self.known.read());
        if keys.is_none() {
            let _one_at_a_time = self.fetching.lock().await;
            // Who was before may have fetched what is missing.
            keys = is_wanted(&self.known.read());
            if keys.is_none() && self.fetches.take(now) {
                self.refresh(now).await;
            }
        }
        let generation = self.generation.load(Ordering::Acquire);
        let keys = keys.or_else(|| {
            let known = self.known.read();
            let known = known.as_ref().filter(|known| age(known, now) < STALE);
            known.map(|known| Arc::clone(&known.keys))
        });
        keys.ok_or(Refusal::Discovery)?.verify(token)?;
        Ok(generation)
    }

    async fn refresh(&self, now: Instant) {
        match self.fetch_keys().await {
            Ok((document, keys)) => {
                let mut known = self.known.write();
                if known.as_ref().is_none_or(|known| known.document != document) {
                    self.generation.fetch_add(1, Ordering::AcqRel);
                }
                *known = Some(Known {
                    keys: Arc::new(keys),
                    document,
                    fetched: now,
                });
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(
                    issuer = self.url,
                    error,
                    "the keys of an issuer of tokens could not be fetched"
                );
            }
        }
    }

    async fn fetch_keys(&self) -> Result<(Arc<[u8]>, KeySet), IssuerError> {
        let discovery = format!("{}/.well-known/openid-configuration", self.url.trim_end_matches('/'));
        let discovery: Discovery =
            serde_json::from_slice(&self.fetch_document(&discovery).await?).map_err(IssuerError::Document)?;
        if discovery.issuer.trim_end_matches('/') != self.url.trim_end_matches('/') {
            return Err(IssuerError::OtherIssuer);
        }
        let document = self.fetch_document(&discovery.jwks_uri).await?;
        let keys = KeySet::parse(&document).map_err(IssuerError::Keys)?;
        Ok((document.as_ref().into(), keys))
    }

    async fn fetch_document(&self, url: &str) -> Result<bytes::Bytes, IssuerError> {
        let uri: Uri = url.parse().map_err(|_| IssuerError::Address(url.to_owned()))?;
        if !is_safe(&uri) {
            return Err(IssuerError::Address(url.to_owned()));
        }
        let fetched = self.fetch.get(uri, DOCUMENT_BYTES).await;
        fetched.map_err(|source| IssuerError::Fetch {
            url: url.to_owned(),
            source,
        })
    }
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").field("url", &self.url).finish_non_exhaustive()
    }
}

fn age(known: &Known, now: Instant) -> Duration {
    now.saturating_duration_since(known.fetched)
}

/// Whether keys that come from there are the ones that were sent: over TLS, or from this machine itself.
fn is_safe(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    match uri.scheme_str() {
        Some("https") => !host.is_empty(),
        Some("http") => {
            let address = host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .parse::<std::net::IpAddr>();
            host == "localhost" || address.is_ok_and(|address| address.is_loopback())
        }
        _ => false,
    }
}
