//! Connections for reading.

use std::path::Path;

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};

/// Two readers never wait for each other, and a third waits some microseconds.
const CONNECTIONS: usize = 2;

/// A few read-only connections.
pub(super) struct Readers {
    connections: Vec<Mutex<Connection>>,
}

impl Readers {
    /// Opens the connections to a file whose tables are there.
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        let connections = (0..CONNECTIONS)
            .map(|_| {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let connection = Connection::open_with_flags(path, flags)?;
                connection.pragma_update(None, "cache_size", -512)?;
                connection.pragma_update(None, "query_only", true)?;
                Ok(Mutex::new(connection))
            })
            .collect::<rusqlite::Result<_>>()?;
        Ok(Self { connections })
    }

    /// Runs `read` on a connection that is free, else on the first that becomes it. Sees all that was committed.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let free = self.connections.iter().find_map(Mutex::try_lock);
        match free.or_else(|| self.connections.first().map(Mutex::lock)) {
            Some(connection) => read(&connection),
            None => Err(rusqlite::Error::QueryReturnedNoRows),
        }
    }
}
