//! What is kept of HTTP APIs, and how the data plane sees it.
//!
//! | key | record |
//! |---|---|
//! | `http-api/API` | [`ApiRecord`]: the API, and which generation of its parts counts |
//! | `http-api-part/API/gGENERATION/r/ID`, `…/i/ID`, `…/a/ID` | a route, an integration, an authorizer |
//! | `http-api-part/API/s/NAME` | [`StageRecord`]: a stage, with the automatic deployment that it serves |
//! | `http-api-part/API/d/ID` | [`DeploymentRecord`] of a deployment that is frozen |
//! | `http-api-part/API/p/DEPLOYMENT/NUMBER` | a piece of what a deployment froze |
//! | `http-domain/NAME` | [`DomainRecord`]: a custom domain name with its mappings |
//!
//! There is no write of several keys, so the order makes changes whole. An API is there when its first record is, which
//! is written last and deleted first. An import writes another generation of parts; writing its number makes them count.
//! A deployment's pieces are written before its record. What a crash leaves without an owner is removed when the API is
//! next read, or when the store is opened.
//!
//! An automatic deployment is not frozen: it *is* the API as it stands, until another change, another stage or the end of
//! automatic deployment needs it to stay. It is kept in the records of the stages that serve it. So a change of an API with ten
//! thousand routes costs as much as of one with one: its own write, and one for each such stage.
//!
//! Read [`held`] (an API in memory), [`turn`] (how it is changed), [`frozen`], [`domain`].

mod domain;
mod frozen;
mod held;
mod key;
#[cfg(test)]
pub(crate) mod tests;
mod turn;

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use ephyra_store::{Entry, Expect, StoreError, Table};
use futures_util::future::try_join_all;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use domain::DomainTurn;
pub(crate) use held::{ApiRecord, Held};
pub(crate) use turn::{AutoDeployment, Parts, Turn, serve};

use super::model::{Content, LiveApi, LiveDomain, LiveStage};
use domain::DomainRecord;
use held::Recent;

/// How many entries are read, written or deleted at once where there are many.
const PAGE: usize = 256;
/// APIs are changed one at a time within a shard, and so are domain names.
const SHARDS: usize = 32;

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed<'a> {
    /// An API, its stages or what they serve; by its id.
    Api(&'a str),
    /// A custom domain name or its mappings; by the name as it is kept (`*.example.com`).
    Domain(&'a str),
    /// A custom domain name was deleted; by the name as it was kept.
    NoDomain(&'a str),
}

/// Is told of every change, once it is durable and before it is acknowledged. Must return at once.
pub type ChangeHook = dyn Fn(Changed<'_>) + Send + Sync;

/// The APIs and custom domain names that are kept in a table.
///
/// Keys that begin with `http-api/`, `http-api-part/` and `http-domain/` are this store's. One process at a time changes
/// them.
pub struct ApiStore {
    table: Arc<dyn Table>,
    changes: AtomicU64,
    hooks: parking_lot::RwLock<Vec<Box<ChangeHook>>>,
    shards: Vec<tokio::sync::Mutex<()>>,
    domain_shards: Vec<tokio::sync::Mutex<()>>,
    hasher: RandomState,
    recent: parking_lot::Mutex<Recent>,
    /// Held while something is counted and made.
    pub(crate) making: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for ApiStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiStore").finish_non_exhaustive()
    }
}

impl ApiStore {
    /// Opens the store: removes what an interrupted run has left of APIs that are not there.
    pub async fn open(table: Arc<dyn Table>) -> Result<Self, StoreError> {
        let store = Self {
            table,
            changes: AtomicU64::new(0),
            hooks: parking_lot::RwLock::default(),
            shards: (0..SHARDS).map(|_| tokio::sync::Mutex::default()).collect(),
            domain_shards: (0..SHARDS).map(|_| tokio::sync::Mutex::default()).collect(),
            hasher: RandomState::new(),
            recent: parking_lot::Mutex::default(),
            making: tokio::sync::Mutex::default(),
        };
        let mut after: Option<String> = None;
        while let Some((found, _)) = store.table.scan(key::PARTS, after.as_deref(), 1).await?.pop() {
            let api_id = key::api_of_part(&found).to_owned();
            if store.table.get(&key::api(&api_id)).await?.is_none() {
                store.clear(&key::parts(&api_id)).await?;
            }
            after = Some(key::behind_parts(&api_id));
        }
        Ok(store)
    }

    /// Counts changes of all APIs and domain names: grows with each, before the hooks are called. Who keeps what it made
    /// of [`ApiStore::live`] reads this before, and keeps it only if the number is still the same behind.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Adds a hook.
    pub fn on_change(&self, hook: Box<ChangeHook>) {
        self.hooks.write().push(hook);
    }

    /// An API with its stages, each with the content of its deployment; `None`: there is none. Reads the table: keep
    /// what comes of it.
    pub async fn live(&self, api_id: &str) -> Result<Option<Arc<LiveApi>>, StoreError> {
        let Some(mut turn) = self.turn(api_id).await? else {
            return Ok(None);
        };
        let mut frozen: BTreeMap<String, Option<Arc<Content>>> = BTreeMap::new();
        let mut stages = BTreeMap::new();
        let listed: Vec<_> = turn.held().stages.values().cloned().collect();
        for stage in listed {
            let content = match &stage.deployment_id {
                None => None,
                Some(_) if stage.auto_deploy => Some(turn.current()),
                Some(id) => match frozen.get(id) {
                    Some(known) => known.clone(),
                    None => {
                        let read = turn.frozen(id).await?.map(Arc::new);
                        frozen.insert(id.clone(), read.clone());
                        read
                    }
                },
            };
            stages.insert(stage.stage_name.clone(), LiveStage { stage, content });
        }
        let api = turn.held().record.api.clone();
        Ok(Some(Arc::new(LiveApi { api, stages })))
    }

    /// The custom domain name that a host name (in lower case, without port) means: itself, or the one with `*` for its
    /// first label; `None`: there is neither. Reads the table: keep what comes of it.
    pub async fn domain(&self, host: &str) -> Result<Option<Arc<LiveDomain>>, StoreError> {
        let mut found: Option<DomainRecord> = self.read(&key::domain(host)).await?;
        if found.is_none()
            && let Some((_, rest)) = host.split_once('.')
        {
            found = self.read(&key::domain(&format!("*.{rest}"))).await?;
        }
        Ok(found.map(|record| Arc::new(record.into_live())))
    }

    /// Tells of a change.
    pub(crate) fn notify(&self, changed: Changed<'_>) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        for hook in self.hooks.read().iter() {
            hook(changed);
        }
    }

    /// APIs in order of their ids, those after `after`.
    pub(crate) async fn apis(&self, after: Option<&str>, limit: usize) -> Result<Vec<ApiRecord>, StoreError> {
        let after = after.map(key::api);
        self.list(key::APIS, after.as_deref(), limit).await
    }

    /// Domain names in order, those after `after`.
    pub(crate) async fn domains(&self, after: Option<&str>, limit: usize) -> Result<Vec<DomainRecord>, StoreError> {
        let after = after.map(key::domain);
        self.list(key::DOMAINS, after.as_deref(), limit).await
    }

    async fn list<T: DeserializeOwned>(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<T>, StoreError> {
        let page = self.table.scan(prefix, after, limit).await?;
        page.iter().map(|(key, entry)| decode(key, entry)).collect()
    }

    /// Waits until no other change of this API is under way.
    async fn wait(&self, api_id: &str) -> tokio::sync::MutexGuard<'_, ()> {
        self.shards[self.shard(api_id)].lock().await
    }

    /// Waits until no other change of this domain name is under way. Who holds an API's turn does not take one of these;
    /// the other way round is allowed.
    async fn wait_domain(&self, name: &str) -> tokio::sync::MutexGuard<'_, ()> {
        self.domain_shards[self.shard(name)].lock().await
    }

    fn shard(&self, name: &str) -> usize {
        usize::try_from(self.hasher.hash_one(name) % SHARDS as u64).unwrap_or_default()
    }

    async fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        match self.table.get(key).await? {
            None => Ok(None),
            Some(entry) => Ok(Some(decode(key, &entry)?)),
        }
    }

    async fn write(&self, key: &str, record: &impl Serialize) -> Result<(), StoreError> {
        let value = encode(key, record)?;
        self.table.put(key, value, Expect::Any).await?;
        Ok(())
    }

    /// Writes many entries, some at a time.
    async fn write_all(&self, entries: Vec<(String, Bytes)>) -> Result<(), StoreError> {
        for some in entries.chunks(PAGE) {
            let writes = some
                .iter()
                .map(|(key, value)| self.table.put(key, value.clone(), Expect::Any));
            try_join_all(writes).await?;
        }
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.table.delete(key, Expect::Any).await
    }

    /// Deletes all entries with a prefix.
    async fn clear(&self, prefix: &str) -> Result<(), StoreError> {
        loop {
            let page = self.table.scan(prefix, None, PAGE).await?;
            if page.is_empty() {
                return Ok(());
            }
            try_join_all(page.iter().map(|(key, _)| self.table.delete(key, Expect::Any))).await?;
        }
    }

    /// Reads all entries with a prefix.
    async fn read_all<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<T>, StoreError> {
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.table.scan(prefix, after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else {
                return Ok(all);
            };
            after = Some(last.clone());
            for (key, entry) in &page {
                all.push(decode(key, entry)?);
            }
        }
    }
}

fn encode(key: &str, record: &impl Serialize) -> Result<Bytes, StoreError> {
    let text = serde_json::to_vec(record).map_err(|error| corrupt(key, error))?;
    Ok(Bytes::from(text))
}

fn decode<T: DeserializeOwned>(key: &str, entry: &Entry) -> Result<T, StoreError> {
    serde_json::from_slice(&entry.value).map_err(|error| corrupt(key, error))
}

fn corrupt(key: &str, source: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Backend {
        operation: format!("reading the record {key}"),
        source: Box::new(source),
    }
}
