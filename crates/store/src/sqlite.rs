//! Tables and logs in one SQLite file.
//!
//! One thread writes ([`writer`]): it takes what is waiting, puts it into one transaction, and answers each write
//! after the commit, so that many writers share one sync of the disk. Reads go to a few connections of their own
//! ([`readers`]) and never wait for the writer.

mod log;
mod readers;
mod table;
mod wake;
mod watch;
mod writer;

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _};

use crate::clock::Clock;
use crate::layout::{self, Hold};
use crate::{StoreError, backend};
use readers::Readers;
use wake::Topics;
use watch::Watchers;
use writer::Writer;

/// The embedded [`Table`](crate::Table) and [`Log`](crate::Log).
///
/// Dropping it writes what is queued and lets go of the data folder.
pub struct Sqlite {
    // First, for it must be done before the hold on the folder ends.
    writer: Writer,
    readers: Arc<Readers>,
    watchers: Arc<Watchers>,
    topics: Arc<Topics>,
    clock: Arc<dyn Clock>,
    _hold: Hold,
}

/// Revisions and item ids come from one sequence that only grows, so a key that was deleted and written again goes
/// on growing without a trace of it being kept. A value is apart from its item, so that a lease does not rewrite it.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS entry (
        key BLOB NOT NULL PRIMARY KEY,
        revision INTEGER NOT NULL,
        value BLOB NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS item (
        id INTEGER PRIMARY KEY,
        topic TEXT NOT NULL,
        due_ms INTEGER NOT NULL,
        appended_ms INTEGER NOT NULL,
        deliveries INTEGER NOT NULL,
        leased INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS item_due ON item (topic, due_ms, id);
    CREATE TABLE IF NOT EXISTS item_value (
        id INTEGER PRIMARY KEY,
        value BLOB NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS sequence (
        last INTEGER NOT NULL
    ) STRICT;
";

impl Sqlite {
    /// Opens the state in the data folder `dir`, which is made when it is absent. Blocks; meant for the start.
    pub fn open(dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let hold = layout::claim(dir)?;
        let path = dir.join("state.db");
        let failed = |error| backend(format!("opening {}", path.display()), error);
        let (connection, last) = open_writer(&path).map_err(failed)?;
        layout::sync_dir(dir).map_err(|error| backend(format!("syncing {}", dir.display()), error))?;
        let readers = Arc::new(Readers::open(&path).map_err(failed)?);
        let watchers = Arc::new(Watchers::default());
        let topics = Arc::new(Topics::default());
        let writer = Writer::start(connection, last, Arc::clone(&watchers), Arc::clone(&topics))?;
        Ok(Self {
            writer,
            readers,
            watchers,
            topics,
            clock,
            _hold: hold,
        })
    }
}

impl std::fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sqlite").finish_non_exhaustive()
    }
}

/// Opens the writing connection and reads the last number of the sequence.
fn open_writer(path: &Path) -> rusqlite::Result<(Connection, i64)> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // In KiB when negative. The hot set is small, and the operating system caches the file anyway.
    connection.pragma_update(None, "cache_size", -1024)?;
    connection.pragma_update(None, "journal_size_limit", 16 * 1024 * 1024)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(32);
    connection.execute_batch("BEGIN IMMEDIATE")?;
    connection.execute_batch(SCHEMA)?;
    let last = connection
        .query_row("SELECT last FROM sequence", [], |row| row.get(0))
        .optional()?;
    if last.is_none() {
        connection.execute("INSERT INTO sequence (last) VALUES (0)", [])?;
    }
    connection.execute_batch("COMMIT")?;
    Ok((connection, last.unwrap_or(0)))
}
