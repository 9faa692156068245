//! Which API and stage a request is for: compiled stages, kept until something changes.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Instant;

use ephyra_core::arn::Place;
use ephyra_store::StoreError;
use parking_lot::{Mutex, RwLock};

use super::cache::Cache;
use super::fetch::{Client, Fetch};
use super::jwt::issuer::Issuer;
use super::stage::{Stage, Workshop};
use crate::api::model::{LiveApi, LiveDomain};
use crate::api::store::{ApiStore, Changed};

/// How much compiled APIs may take, about, in bytes. Those that are not asked for are forgotten.
const API_BYTES: usize = 512 << 20;
/// How much custom domain names may take, about, in bytes.
const DOMAIN_BYTES: usize = 32 << 20;
/// How many issuers are remembered, about: each counts a kilobyte.
const ISSUER_BYTES: usize = 2 << 20;
/// How many APIs are compiled at once.
const SHARDS: usize = 16;

/// An API, compiled.
#[derive(Debug)]
pub struct CompiledApi {
    /// Its stages by name.
    pub stages: HashMap<String, Arc<Stage>>,
}

/// Finds APIs and domain names.
pub struct Finder {
    store: Arc<ApiStore>,
    place: Place,
    client: Client,
    apis: Cache<String, Option<Arc<CompiledApi>>>,
    domains: Cache<String, Option<Arc<LiveDomain>>>,
    /// All custom domain names.
    names: RwLock<HashSet<String>>,
    issuers: Cache<String, Arc<Issuer>>,
    /// One of these is held while an API is compiled, so that it is compiled once.
    compiling: Vec<tokio::sync::Mutex<()>>,
    hasher: RandomState,
    /// Held while something is kept or forgotten, so that nothing is kept that has changed meanwhile.
    keeping: Mutex<()>,
}

impl Finder {
    /// Finds what `store` has. Must be told of changes: [`Finder::forget`].
    pub fn new(store: Arc<ApiStore>, place: Place, client: Client) -> Self {
        Self {
            store,
            place,
            client,
            apis: Cache::new(API_BYTES),
            domains: Cache::new(DOMAIN_BYTES),
            names: RwLock::default(),
            issuers: Cache::new(ISSUER_BYTES),
            compiling: (0..SHARDS).map(|_| tokio::sync::Mutex::default()).collect(),
            hasher: RandomState::new(),
            keeping: Mutex::default(),
        }
    }

    /// Forgets what has changed.
    pub fn forget(&self, changed: Changed<'_>) {
        let _nothing_is_kept = self.keeping.lock();
        match changed {
            Changed::Api(id) => self.apis.remove(id),
            Changed::Domain(name) => {
                self.names.write().insert(name.to_owned());
                // A name with a star is many hosts.
                self.domains.clear();
            }
            Changed::NoDomain(name) => {
                self.names.write().remove(name);
                self.domains.clear();
            }
        }
    }

    /// Learns a custom domain name that there is.
    pub fn learn(&self, name: &str) {
        self.names.write().insert(name.to_owned());
    }

    /// Whether a host, in lower case and without a port, is a custom domain name. Reads nothing.
    pub fn is_domain(&self, host: &str) -> bool {
        let names = self.names.read();
        if names.is_empty() {
            return false;
        }
        let wild = || {
            host.split_once('.')
                .is_some_and(|(_, rest)| names.contains(format!("*.{rest}").as_str()))
        };
        names.contains(host) || wild()
    }

    /// An API; `None`: there is none.
    pub async fn api(&self, id: &str, now: Instant) -> Result<Option<Arc<CompiledApi>>, StoreError> {
        if let Some(known) = self.apis.get(id) {
            return Ok(known);
        }
        let shard = self.hasher.hash_one(id) % SHARDS as u64;
        let _once = self.compiling[usize::try_from(shard).unwrap_or_default()].lock().await;
        if let Some(known) = self.apis.get(id) {
            return Ok(known);
        }
        let changes = self.store.changes();
        let live = self.store.live(id).await?;
        let compiled = live.map(|live| Arc::new(self.compile(&live, now)));
        let bytes = compiled
            .as_ref()
            .map_or(0, |api| api.stages.values().map(|stage| stage.bytes()).sum());
        let _nothing_changes = self.keeping.lock();
        if self.store.changes() == changes {
            // However large one is, it is kept: to compile it for each request would cost more.
            self.apis
                .insert(id.to_owned(), compiled.clone(), bytes.min(API_BYTES / 8));
        }
        Ok(compiled)
    }

    fn compile(&self, live: &LiveApi, now: Instant) -> CompiledApi {
        let workshop = Workshop {
            place: &self.place,
            issuer: &|url| self.issuer(url, now),
            client: &|name| self.client.verifying(name),
            now,
        };
        let stages = live.stages.iter();
        let stages = stages.map(|(name, stage)| (name.clone(), Arc::new(Stage::new(stage, &workshop))));
        CompiledApi {
            stages: stages.collect(),
        }
    }

    #[cfg(test)]
    pub(super) fn plant(&self, api_id: &str, live: &LiveApi) {
        let compiled = Arc::new(self.compile(live, Instant::now()));
        self.apis.insert(api_id.to_owned(), Some(compiled), 0);
    }

    #[cfg(test)]
    pub(super) fn plant_domain(&self, host: &str, live: LiveDomain) {
        self.domains.insert(host.to_owned(), Some(Arc::new(live)), 0);
    }

    /// The custom domain name of a host, in lower case and without a port; `None`: there is none.
    pub async fn domain(&self, host: &str) -> Result<Option<Arc<LiveDomain>>, StoreError> {
        if let Some(known) = self.domains.get(host) {
            return Ok(known);
        }
        let changes = self.store.changes();
        let found = self.store.domain(host).await?;
        let bytes = 1024 + found.as_ref().map_or(0, |domain| domain.mappings.len() * 512);
        let _nothing_changes = self.keeping.lock();
        if self.store.changes() == changes {
            self.domains
                .insert(host.to_owned(), found.clone(), bytes.min(DOMAIN_BYTES / 8));
        }
        Ok(found)
    }

    /// The issuer of a URL. APIs share its keys, and a change of an API does not forget them.
    fn issuer(&self, url: &str, now: Instant) -> Arc<Issuer> {
        if let Some(known) = self.issuers.get(url) {
            return known;
        }
        let fetch: Arc<dyn Fetch> = Arc::new(self.client.clone());
        let issuer = Arc::new(Issuer::new(url.to_owned(), fetch, now));
        self.issuers.insert(url.to_owned(), Arc::clone(&issuer), 1024);
        issuer
    }
}

impl std::fmt::Debug for Finder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Finder").finish_non_exhaustive()
    }
}
