//! [`Table`] on SQLite. Keys are kept as bytes, so that their order is that of the bytes.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use rusqlite::{Connection, OptionalExtension as _, Row};
use tokio::sync::mpsc;

use super::Sqlite;
use super::writer::Session;
use crate::{Change, Entry, Expect, StoreError, Table, VALUE_BYTES, backend};

/// Reading this many entries takes about as long as handing the work to another thread, some 40 µs.
const INLINE_SCAN: usize = 64;

impl Table for Sqlite {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        // Some microseconds from the page cache: cheaper than handing it to another thread.
        Box::pin(async move {
            self.readers
                .read(|connection| {
                    connection
                        .prepare_cached("SELECT revision, value FROM entry WHERE key = ?1")?
                        .query_row([key.as_bytes()], |row| entry(row, 0))
                        .optional()
                })
                .map_err(|error| backend(format!("reading {key}"), error))
        })
    }

    fn put<'a>(&'a self, key: &'a str, value: Bytes, expect: Expect) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(async move {
            if value.len() > VALUE_BYTES {
                return Err(StoreError::TooLarge(value.len()));
            }
            let key = key.to_owned();
            self.writer.write(move |session| put(session, key, value, expect)).await
        })
    }

    fn delete<'a>(&'a self, key: &'a str, expect: Expect) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let key = key.to_owned();
            self.writer.write(move |session| delete(session, key, expect)).await
        })
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Entry)>, StoreError>> {
        let range = Range::of(prefix, after);
        let failed = move |error| backend(format!("reading the keys of {prefix}"), error);
        Box::pin(async move {
            if limit <= INLINE_SCAN {
                return self
                    .readers
                    .read(|connection| scan(connection, &range, limit))
                    .map_err(failed);
            }
            let readers = Arc::clone(&self.readers);
            tokio::task::spawn_blocking(move || readers.read(|connection| scan(connection, &range, limit)))
                .await
                .map_err(|error| backend("reading keys", error))?
                .map_err(failed)
        })
    }

    fn watch(&self, prefix: &str) -> mpsc::Receiver<Change> {
        self.watchers.add(prefix)
    }
}

/// Keys from `first` (included) to `end` (not included).
struct Range {
    first: Vec<u8>,
    end: Vec<u8>,
}

impl Range {
    fn of(prefix: &str, after: Option<&str>) -> Self {
        let first = match after {
            // The smallest key greater than `after`.
            Some(after) if after >= prefix => [after.as_bytes(), &[0]].concat(),
            _ => prefix.as_bytes().to_vec(),
        };
        // UTF-8 has no byte 0xff: it is greater than all that may follow the prefix.
        let end = [prefix.as_bytes(), &[0xff]].concat();
        Self { first, end }
    }
}

fn scan(connection: &Connection, range: &Range, limit: usize) -> rusqlite::Result<Vec<(String, Entry)>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection
        .prepare_cached("SELECT key, revision, value FROM entry WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3")?
        .query_map((&range.first, &range.end, limit), |row| {
            let key = String::from_utf8(row.get(0)?).map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, error.into())
            })?;
            Ok((key, entry(row, 1)?))
        })?
        .collect()
}

/// The entry whose revision and value are in the columns `at` and after it.
fn entry(row: &Row<'_>, at: usize) -> rusqlite::Result<Entry> {
    Ok(Entry {
        revision: row.get::<_, i64>(at)?.cast_unsigned(),
        value: row.get::<_, Vec<u8>>(at + 1)?.into(),
    })
}

fn put(session: &mut Session<'_>, key: String, value: Bytes, expect: Expect) -> Result<u64, StoreError> {
    let revision = session.next_number();
    let (sql, expected) = match expect {
        Expect::Any => (
            "INSERT INTO entry (key, revision, value) VALUES (?1, ?2, ?3)
             ON CONFLICT (key) DO UPDATE SET revision = ?2, value = ?3 WHERE ?4 = 0",
            0,
        ),
        Expect::Absent => (
            "INSERT INTO entry (key, revision, value) SELECT ?1, ?2, ?3 WHERE ?4 = 0 ON CONFLICT (key) DO NOTHING",
            0,
        ),
        Expect::Revision(expected) => (
            "UPDATE entry SET revision = ?2, value = ?3 WHERE key = ?1 AND revision = ?4",
            expected.cast_signed(),
        ),
    };
    let written = session
        .connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute((key.as_bytes(), revision, &value[..], expected)))
        .map_err(|error| backend(format!("writing {key}"), error))?;
    if written == 0 {
        return Err(StoreError::Conflict);
    }
    let revision = revision.cast_unsigned();
    let entry = Some(Entry { value, revision });
    session.changed(Change { key, entry });
    Ok(revision)
}

fn delete(session: &mut Session<'_>, key: String, expect: Expect) -> Result<(), StoreError> {
    let failed = |error| backend(format!("deleting {key}"), error);
    let found: Option<i64> = session
        .connection
        .prepare_cached("SELECT revision FROM entry WHERE key = ?1")
        .and_then(|mut statement| statement.query_row([key.as_bytes()], |row| row.get(0)).optional())
        .map_err(failed)?;
    match (expect, found.map(i64::cast_unsigned)) {
        (Expect::Any | Expect::Absent, None) => return Ok(()),
        (Expect::Any, Some(_)) => {}
        (Expect::Revision(expected), Some(found)) if expected == found => {}
        (Expect::Absent | Expect::Revision(_), _) => return Err(StoreError::Conflict),
    }
    session
        .connection
        .prepare_cached("DELETE FROM entry WHERE key = ?1")
        .and_then(|mut statement| statement.execute([key.as_bytes()]))
        .map_err(failed)?;
    session.changed(Change { key, entry: None });
    Ok(())
}
