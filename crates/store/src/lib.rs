//! Durable state behind three traits: [`Table`], [`Log`] and [`Blobs`].
//!
//! The traits are such that an embedded SQLite file and a JetStream cluster can both serve them: values of at most
//! 1 MiB, a revision for each key, no transaction over several keys. Every backend passes the same conformance suite.
//!
//! Read the traits here, then [`sqlite`] (tables and logs in one file) and [`files`] (blobs in a folder).
//!
//! This crate never looks into a value, and decides nothing about retries: that is its callers' part.
//!
//! **Invariant:** when a write's future resolves to `Ok`, what it wrote survives the loss of power.
#![forbid(unsafe_code)]

pub mod clock;
pub mod files;
mod layout;
pub mod sqlite;

pub use layout::LAYOUT;

use bytes::Bytes;
use ephyra_core::digest::Digest;
use futures_util::future::BoxFuture;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;

/// The largest value of a [`Table`] entry in bytes.
pub const VALUE_BYTES: usize = 1_048_576;

/// The largest value of a [`Log`] item in bytes: a payload of 1 MiB and what is written around it.
pub const LOG_VALUE_BYTES: usize = 1_310_720;

/// Why a store operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The entry was not as expected; nothing was written. Read it again and retry.
    #[error("the entry has changed meanwhile")]
    Conflict,
    /// The value is larger than [`VALUE_BYTES`], or than [`LOG_VALUE_BYTES`] in a log.
    #[error("a value of {0} bytes is larger than the store takes")]
    TooLarge(usize),
    /// The data folder was written by a newer program.
    #[error("the data folder has layout {found}; this program knows layouts up to {known}: start a newer ephyra")]
    NewerLayout {
        /// The layout found.
        found: u32,
        /// The newest layout this program knows.
        known: u32,
    },
    /// The engine or the file system failed.
    #[error("{operation} failed")]
    Backend {
        /// What was being done, with the path or key.
        operation: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

pub(crate) fn backend(
    operation: impl Into<String>,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StoreError {
    StoreError::Backend {
        operation: operation.into(),
        source: source.into(),
    }
}

/// One entry of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Bytes,
    /// Grows with every write to this key, across deletion too.
    pub revision: u64,
}

/// What must hold for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Any,
    /// The key has no entry.
    Absent,
    /// The key's entry has this revision.
    Revision(u64),
}

/// A change of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// The entry now; `None` when deleted.
    pub entry: Option<Entry>,
}

/// An ordered map from text keys to values, with compare-and-set.
pub trait Table: Send + Sync + 'static {
    /// Reads one entry.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, StoreError>>;

    /// Writes one entry and returns its new revision.
    fn put<'a>(&'a self, key: &'a str, value: Bytes, expect: Expect) -> BoxFuture<'a, Result<u64, StoreError>>;

    /// Deletes one entry; deleting an absent one under [`Expect::Any`] succeeds.
    fn delete<'a>(&'a self, key: &'a str, expect: Expect) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Up to `limit` entries whose keys begin with `prefix` and are greater than `after`, in byte order of the keys.
    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Entry)>, StoreError>>;

    /// Changes of keys that begin with `prefix`, from now on, in order. The channel ends when its reader falls more
    /// than 1,024 changes behind; scan and watch again then.
    fn watch(&self, prefix: &str) -> mpsc::Receiver<Change>;
}

/// An item handed out by [`Log::lease`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leased {
    /// Names the item in its topic.
    pub id: u64,
    /// The value.
    pub value: Bytes,
    /// When it was appended, in milliseconds since 1970.
    pub appended_ms: i64,
    /// How often it has been handed out, this time included.
    pub deliveries: u32,
}

/// Topics of items that are handed out under a lease until they are acknowledged.
pub trait Log: Send + Sync + 'static {
    /// Appends an item that is first handed out after `delay`.
    fn append<'a>(&'a self, topic: &'a str, value: Bytes, delay: Duration) -> BoxFuture<'a, Result<u64, StoreError>>;

    /// Hands out up to `max` items that are due, oldest due first; each comes again when it is neither acknowledged
    /// nor postponed within `lease`.
    fn lease<'a>(
        &'a self,
        topic: &'a str,
        max: usize,
        lease: Duration,
    ) -> BoxFuture<'a, Result<Vec<Leased>, StoreError>>;

    /// Removes an item for good.
    fn acknowledge<'a>(&'a self, topic: &'a str, id: u64) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Gives an item back, to be handed out after `delay`; `value` replaces its value when given.
    fn postpone<'a>(
        &'a self,
        topic: &'a str,
        id: u64,
        value: Option<Bytes>,
        delay: Duration,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Resolves when an item may be due: at once if one is, else at the earliest due time or at the next append.
    fn due<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Ends all leases of a topic: for a process that starts and knows that nobody else holds any.
    fn release_all<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<(), StoreError>>;
}

/// Immutable files named by the SHA-256 of their content.
pub trait Blobs: Send + Sync + 'static {
    /// Stores `bytes` and returns their name; storing what is there costs no write.
    fn put(&self, bytes: Bytes) -> BoxFuture<'_, Result<Digest, StoreError>>;

    /// Reads a blob whole.
    fn get(&self, digest: Digest) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>>;

    /// The file of a blob that is there, for reading in parts.
    fn path(&self, digest: Digest) -> BoxFuture<'_, Result<Option<PathBuf>, StoreError>>;

    /// Deletes a blob; deleting an absent one succeeds.
    fn delete(&self, digest: Digest) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The names of all blobs.
    fn list(&self) -> BoxFuture<'_, Result<Vec<Digest>, StoreError>>;
}
