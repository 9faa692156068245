//! The records in the store's table, by typed keys.
//!
//! | key | record |
//! |---|---|
//! | `function/NAME` | [`FunctionRecord`] |
//! | `version/NAME/NUMBER` | [`VersionRecord`] of a published version |
//! | `alias/NAME/ALIAS` | [`AliasRecord`] |
//! | `layer/NAME/REST` | [`LayerRecord`]; `REST` counts down, so that the newest comes first |
//! | `url/ID` | [`UrlPlace`]: what has the function URL of this id |
//! | `layer-number/NAME` | the highest number that a version of the layer ever had |
//!
//! Numbers are written with 20 digits, so that the order of keys is the order of numbers.

use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use ephyra_core::id::{AliasName, FunctionName};
use ephyra_store::{Entry, Expect, StoreError, Table};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::record::{AliasRecord, FunctionRecord, LayerRecord, UrlPlace, VersionRecord};

/// How many entries are read at once where all are wanted.
const PAGE: usize = 256;

/// A record with the revision under which it was read.
#[derive(Clone, Debug)]
pub(crate) struct Stored<T> {
    pub record: T,
    revision: u64,
}

/// Typed access to the table.
pub(crate) struct Ledger {
    table: Arc<dyn Table>,
}

impl Ledger {
    pub(crate) fn new(table: Arc<dyn Table>) -> Self {
        Self { table }
    }

    pub(crate) async fn function(&self, name: &FunctionName) -> Result<Option<Stored<FunctionRecord>>, StoreError> {
        self.read(&function_key(name)).await
    }

    pub(crate) async fn create_function(&self, record: &FunctionRecord) -> Result<(), StoreError> {
        self.write(&function_key(&record.name), record, Expect::Absent).await
    }

    pub(crate) async fn update_function(&self, stored: &Stored<FunctionRecord>) -> Result<(), StoreError> {
        let expect = Expect::Revision(stored.revision);
        self.write(&function_key(&stored.record.name), &stored.record, expect)
            .await
    }

    pub(crate) async fn delete_function(&self, name: &FunctionName) -> Result<(), StoreError> {
        self.table.delete(&function_key(name), Expect::Any).await
    }

    /// Functions in order of their names.
    pub(crate) async fn functions(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Stored<FunctionRecord>>, StoreError> {
        let after = after.map(|name| format!("function/{name}"));
        self.scan("function/", after.as_deref(), limit).await
    }

    pub(crate) async fn version(
        &self,
        name: &FunctionName,
        number: u64,
    ) -> Result<Option<Stored<VersionRecord>>, StoreError> {
        self.read(&version_key(name, number)).await
    }

    /// Writes a version that is new, or over one that a crash left without its function knowing.
    pub(crate) async fn create_version(
        &self,
        name: &FunctionName,
        number: u64,
        record: &VersionRecord,
    ) -> Result<(), StoreError> {
        self.write(&version_key(name, number), record, Expect::Any).await
    }

    pub(crate) async fn update_version(
        &self,
        name: &FunctionName,
        number: u64,
        stored: &Stored<VersionRecord>,
    ) -> Result<(), StoreError> {
        let expect = Expect::Revision(stored.revision);
        self.write(&version_key(name, number), &stored.record, expect).await
    }

    pub(crate) async fn delete_version(&self, name: &FunctionName, number: u64) -> Result<(), StoreError> {
        self.table.delete(&version_key(name, number), Expect::Any).await
    }

    /// Published versions in rising order, those after `after`.
    pub(crate) async fn versions(
        &self,
        name: &FunctionName,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Stored<VersionRecord>>, StoreError> {
        let after = after.map(|number| version_key(name, number));
        self.scan(&format!("version/{name}/"), after.as_deref(), limit).await
    }

    pub(crate) async fn all_versions(&self, name: &FunctionName) -> Result<Vec<Stored<VersionRecord>>, StoreError> {
        self.all(&format!("version/{name}/")).await
    }

    pub(crate) async fn alias(
        &self,
        name: &FunctionName,
        alias: &AliasName,
    ) -> Result<Option<Stored<AliasRecord>>, StoreError> {
        self.read(&alias_key(name, alias)).await
    }

    pub(crate) async fn create_alias(&self, name: &FunctionName, record: &AliasRecord) -> Result<(), StoreError> {
        self.write(&alias_key(name, &record.name), record, Expect::Absent).await
    }

    pub(crate) async fn update_alias(
        &self,
        name: &FunctionName,
        stored: &Stored<AliasRecord>,
    ) -> Result<(), StoreError> {
        let expect = Expect::Revision(stored.revision);
        self.write(&alias_key(name, &stored.record.name), &stored.record, expect)
            .await
    }

    pub(crate) async fn delete_alias(&self, name: &FunctionName, alias: &AliasName) -> Result<(), StoreError> {
        self.table.delete(&alias_key(name, alias), Expect::Any).await
    }

    pub(crate) async fn all_aliases(&self, name: &FunctionName) -> Result<Vec<Stored<AliasRecord>>, StoreError> {
        self.all(&format!("alias/{name}/")).await
    }

    pub(crate) async fn url(&self, id: &str) -> Result<Option<Stored<UrlPlace>>, StoreError> {
        self.read(&url_key(id)).await
    }

    /// Writes where a URL's id leads.
    pub(crate) async fn put_url(&self, id: &str, place: &UrlPlace) -> Result<(), StoreError> {
        self.write(&url_key(id), place, Expect::Any).await
    }

    pub(crate) async fn delete_url(&self, id: &str) -> Result<(), StoreError> {
        self.table.delete(&url_key(id), Expect::Any).await
    }

    /// Every URL's id with where it leads, for the start.
    pub(crate) async fn every_url(&self) -> Result<Vec<(String, UrlPlace)>, StoreError> {
        let urls = self.every_by::<UrlPlace, String>("url/").await?;
        Ok(urls.into_iter().map(|(id, stored)| (id, stored.record)).collect())
    }

    pub(crate) async fn layer(&self, name: &str, number: u64) -> Result<Option<Stored<LayerRecord>>, StoreError> {
        self.read(&layer_key(name, number)).await
    }

    pub(crate) async fn create_layer(&self, record: &LayerRecord) -> Result<(), StoreError> {
        self.write(&layer_key(&record.name, record.number), record, Expect::Absent)
            .await
    }

    pub(crate) async fn update_layer(&self, stored: &Stored<LayerRecord>) -> Result<(), StoreError> {
        let record = &stored.record;
        let expect = Expect::Revision(stored.revision);
        self.write(&layer_key(&record.name, record.number), record, expect)
            .await
    }

    pub(crate) async fn delete_layer(&self, name: &str, number: u64) -> Result<(), StoreError> {
        self.table.delete(&layer_key(name, number), Expect::Any).await
    }

    /// A layer's versions, newest first, those older than `below`.
    pub(crate) async fn layer_versions(
        &self,
        name: &str,
        below: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Stored<LayerRecord>>, StoreError> {
        let after = below.map(|number| layer_key(name, number));
        self.scan(&format!("layer/{name}/"), after.as_deref(), limit).await
    }

    /// Layer versions in order of their names, the newest of each first; those after a name, or after one version.
    pub(crate) async fn layers(
        &self,
        after: Option<LayerPlace<'_>>,
        limit: usize,
    ) -> Result<Vec<Stored<LayerRecord>>, StoreError> {
        let after = after.map(|place| match place {
            // The character after the slash: behind all versions of this layer, before all others.
            LayerPlace::Name(name) => format!("layer/{name}0"),
            LayerPlace::Version(name, number) => layer_key(name, number),
        });
        self.scan("layer/", after.as_deref(), limit).await
    }

    /// Takes the next number for a version of a layer. A number may be lost to a crash, never given twice.
    pub(crate) async fn next_layer_number(&self, name: &str) -> Result<u64, StoreError> {
        let key = format!("layer-number/{name}");
        let stored: Option<Stored<u64>> = self.read(&key).await?;
        let (number, expect) = match stored {
            Some(stored) => (stored.record + 1, Expect::Revision(stored.revision)),
            None => (1, Expect::Absent),
        };
        self.write(&key, &number, expect).await?;
        Ok(number)
    }

    /// Every version of every function, for the start.
    pub(crate) async fn every_version(&self) -> Result<Vec<(FunctionName, Stored<VersionRecord>)>, StoreError> {
        self.every_by("version/").await
    }

    /// Every alias of every function, for the start.
    pub(crate) async fn every_alias(&self) -> Result<Vec<(FunctionName, Stored<AliasRecord>)>, StoreError> {
        self.every_by("alias/").await
    }

    /// Everything under a prefix, each with the part of its key that follows.
    async fn every_by<T, N>(&self, prefix: &str) -> Result<Vec<(N, Stored<T>)>, StoreError>
    where
        T: DeserializeOwned,
        N: FromStr<Err: std::error::Error + Send + Sync + 'static>,
    {
        let mut found = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.table.scan(prefix, after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else {
                return Ok(found);
            };
            after = Some(last.clone());
            for (key, entry) in page {
                let name = key.split('/').nth(1).unwrap_or_default();
                let name = name.parse().map_err(|error| corrupt(&key, error))?;
                found.push((name, decode(&key, &entry)?));
            }
        }
    }

    async fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Stored<T>>, StoreError> {
        match self.table.get(key).await? {
            None => Ok(None),
            Some(entry) => Ok(Some(decode(key, &entry)?)),
        }
    }

    async fn write(&self, key: &str, record: &impl Serialize, expect: Expect) -> Result<(), StoreError> {
        let value = serde_json::to_vec(record).map_err(|error| corrupt(key, error))?;
        self.table.put(key, Bytes::from(value), expect).await?;
        Ok(())
    }

    async fn scan<T: DeserializeOwned>(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Stored<T>>, StoreError> {
        let page = self.table.scan(prefix, after, limit).await?;
        page.iter().map(|(key, entry)| decode(key, entry)).collect()
    }

    async fn all<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<Stored<T>>, StoreError> {
        let mut found = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.table.scan(prefix, after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else {
                return Ok(found);
            };
            after = Some(last.clone());
            for (key, entry) in &page {
                found.push(decode(key, entry)?);
            }
        }
    }
}

/// Where a list of layers goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LayerPlace<'a> {
    /// Behind all versions of a layer.
    Name(&'a str),
    /// Behind one version of it.
    Version(&'a str, u64),
}

fn function_key(name: &FunctionName) -> String {
    format!("function/{name}")
}

fn version_key(name: &FunctionName, number: u64) -> String {
    format!("version/{name}/{number:020}")
}

fn alias_key(name: &FunctionName, alias: &AliasName) -> String {
    format!("alias/{name}/{alias}")
}

fn url_key(id: &str) -> String {
    format!("url/{id}")
}

fn layer_key(name: &str, number: u64) -> String {
    format!("layer/{name}/{:020}", u64::MAX - number)
}

fn decode<T: DeserializeOwned>(key: &str, entry: &Entry) -> Result<Stored<T>, StoreError> {
    let record = serde_json::from_slice(&entry.value).map_err(|error| corrupt(key, error))?;
    Ok(Stored {
        record,
        revision: entry.revision,
    })
}

fn corrupt(key: &str, source: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Backend {
        operation: format!("reading the record {key}"),
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_layer_versions_come_first() {
        assert!(layer_key("l", 10) < layer_key("l", 9));
        assert!("layer/l0" > layer_key("l", 1).as_str());
        // Another layer whose name goes on stands wholly before or wholly behind.
        assert!(layer_key("l-x", 1).as_str() < layer_key("l", u64::MAX).as_str());
    }
}
