//! Custom domain names, each with its mappings in one record.

use ephyra_store::StoreError;
use serde::{Deserialize, Serialize};

use super::{ApiStore, Changed, key};
use crate::api::model::{ApiMapping, DomainName, LiveDomain};

/// A custom domain name's record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DomainRecord {
    /// The name.
    pub(crate) domain: DomainName,
    /// Its mappings.
    pub(crate) mappings: Vec<ApiMapping>,
}

impl DomainRecord {
    pub(super) fn into_live(mut self) -> LiveDomain {
        let mappings = &mut self.mappings;
        mappings.sort_by(|a, b| {
            let by_length = b.api_mapping_key.len().cmp(&a.api_mapping_key.len());
            by_length.then_with(|| a.api_mapping_key.cmp(&b.api_mapping_key))
        });
        LiveDomain {
            domain: self.domain,
            mappings: self.mappings,
        }
    }
}

/// A custom domain name that nobody else changes meanwhile.
pub(crate) struct DomainTurn<'s> {
    store: &'s ApiStore,
    _guard: tokio::sync::MutexGuard<'s, ()>,
    name: String,
    /// What is kept; `None`: there is no such name.
    pub(crate) record: Option<DomainRecord>,
}

impl ApiStore {
    /// Takes the turn of a domain name.
    pub(crate) async fn domain_turn(&self, name: &str) -> Result<DomainTurn<'_>, StoreError> {
        let guard = self.wait_domain(name).await;
        let record = self.read(&key::domain(name)).await?;
        Ok(DomainTurn {
            store: self,
            _guard: guard,
            name: name.to_owned(),
            record,
        })
    }
}

impl DomainTurn<'_> {
    /// Writes the record.
    pub(crate) async fn put(&mut self, record: DomainRecord) -> Result<(), StoreError> {
        self.store.write(&key::domain(&self.name), &record).await?;
        self.record = Some(record);
        self.store.notify(Changed::Domain(&self.name));
        Ok(())
    }

    /// Makes a new name without mappings.
    pub(crate) async fn create(&mut self, domain: DomainName) -> Result<(), StoreError> {
        let mappings = Vec::new();
        self.put(DomainRecord { domain, mappings }).await
    }

    /// Deletes the name with its mappings.
    pub(crate) async fn delete(self) -> Result<(), StoreError> {
        self.store.delete(&key::domain(&self.name)).await?;
        self.store.notify(Changed::NoDomain(&self.name));
        Ok(())
    }
}
