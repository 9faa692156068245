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
/// How old keys may be before the next token waits for new ones; until then they are fetched beside it.
pub const WAITED: Duration = Duration::from_secs(2 * 3_600);
/// For how long nobody who could do without waits for an issuer that has failed.
const PAUSE: Duration = Duration::from_secs(600);
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
    fetching: Arc<tokio::sync::Mutex<()>>,
    /// How many fetches there were.
    attempts: AtomicU64,
    /// When the last fetch failed, if it did.
    failed: RwLock<Option<Instant>>,
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
            fetching: Arc::default(),
            attempts: AtomicU64::new(0),
            failed: RwLock::new(None),
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
    ///
    /// Who brings a key that is known waits for no fetch, unless what is known is old and might be had anew.
    pub async fn verify(self: &Arc<Self>, token: &Token<'_>, now: Instant) -> Result<u64, Refusal> {
        let attempts = self.attempts.load(Ordering::Acquire);
        let mut known = self.usable(now);
        let has_key = |known: &Option<Known>| {
            known
                .as_ref()
                .is_some_and(|known| known.keys.has(token.key_id.as_deref()))
        };
        let oldness = known.as_ref().map_or(Duration::MAX, |known| age(known, now));
        if !has_key(&known) || (oldness >= WAITED && !self.has_failed_lately(now)) {
            self.refresh(attempts, now).await;
            known = self.usable(now);
        } else if oldness >= FRESH
            && let Ok(guard) = Arc::clone(&self.fetching).try_lock_owned()
        {
            let issuer = Arc::clone(self);
            tokio::spawn(async move { issuer.refresh_alone(now, guard).await });
        }
        let generation = self.generation.load(Ordering::Acquire);
        known.ok_or(Refusal::Discovery)?.keys.verify(token)?;
        Ok(generation)
    }

    /// What is known, unless it is too old to be believed at all.
    fn usable(&self, now: Instant) -> Option<Known> {
        let known = self.known.read();
        known.clone().filter(|known| age(known, now) < STALE)
    }

    fn has_failed_lately(&self, now: Instant) -> bool {
        let failed = *self.failed.read();
        failed.is_some_and(|failed| now.saturating_duration_since(failed) < PAUSE)
    }

    /// Fetches the keys, unless somebody has since `attempts` were counted.
    async fn refresh(&self, attempts: u64, now: Instant) {
        let guard = Arc::clone(&self.fetching).lock_owned().await;
        if self.attempts.load(Ordering::Acquire) == attempts {
            self.refresh_alone(now, guard).await;
        }
    }

    async fn refresh_alone(&self, now: Instant, _one_at_a_time: tokio::sync::OwnedMutexGuard<()>) {
        if !self.fetches.take(now) {
            return;
        }
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
                *self.failed.write() = None;
            }
            Err(error) => {
                *self.failed.write() = Some(now);
                let error: &dyn std::error::Error = &error;
                tracing::warn!(
                    issuer = self.url,
                    error,
                    "the keys of an issuer of tokens could not be fetched"
                );
            }
        }
        self.attempts.fetch_add(1, Ordering::AcqRel);
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
