//! [`Log`] on SQLite. A lease is a due time in the future, so it survives a crash and needs nobody to end it.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use rusqlite::OptionalExtension as _;

use super::Sqlite;
use super::writer::Session;
use crate::{LOG_VALUE_BYTES, Leased, Log, StoreError, backend};

/// What one lease hands out at most, in bytes of values, beyond its first item.
const LEASE_BYTES: usize = 16 * 1024 * 1024;

/// How long [`Log::due`] sleeps before it looks again, in milliseconds: the time of day may be set forward meanwhile.
const LOOK_AGAIN_MS: i64 = 60_000;

impl Log for Sqlite {
    fn append<'a>(&'a self, topic: &'a str, value: Bytes, delay: Duration) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(async move {
            check_size(&value)?;
            let (topic, now) = (topic.to_owned(), self.clock.now_ms());
            self.writer
                .write(move |session| append(session, &topic, &value, now, delay))
                .await
        })
    }

    fn lease<'a>(
        &'a self,
        topic: &'a str,
        max: usize,
        lease: Duration,
    ) -> BoxFuture<'a, Result<Vec<Leased>, StoreError>> {
        Box::pin(async move {
            let (topic, now) = (topic.to_owned(), self.clock.now_ms());
            self.writer
                .write(move |session| {
                    hand_out(session, &topic, max, now, lease)
                        .map_err(|error| backend(format!("leasing items of {topic}"), error))
                })
                .await
        })
    }

    fn acknowledge<'a>(&'a self, topic: &'a str, id: u64) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let topic = topic.to_owned();
            self.writer
                .write(move |session| {
                    remove(session, &topic, id.cast_signed())
                        .map_err(|error| backend(format!("acknowledging item {id} of {topic}"), error))
                })
                .await
        })
    }

    fn postpone<'a>(
        &'a self,
        topic: &'a str,
        id: u64,
        value: Option<Bytes>,
        delay: Duration,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            value.as_ref().map_or(Ok(()), check_size)?;
            let (topic, now) = (topic.to_owned(), self.clock.now_ms());
            self.writer
                .write(move |session| {
                    give_back(session, &topic, id.cast_signed(), value.as_deref(), after(now, delay))
                        .map_err(|error| backend(format!("postponing item {id} of {topic}"), error))
                })
                .await
        })
    }

    fn due<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let bell = self.topics.bell(topic);
            loop {
                let mut rung = std::pin::pin!(bell.notified());
                // From here on no ring is missed, so what is committed after the look below wakes us.
                rung.as_mut().enable();
                let Some(due) = self.earliest(topic)? else {
                    rung.await;
                    continue;
                };
                let now = self.clock.now_ms();
                if due <= now {
                    return Ok(());
                }
                let timer = self.clock.sleep_until(due.min(now.saturating_add(LOOK_AGAIN_MS)));
                tokio::select! {
                    () = rung => {}
                    () = timer => {}
                }
            }
        })
    }

    fn release_all<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let (topic, now) = (topic.to_owned(), self.clock.now_ms());
            self.writer
                .write(move |session| {
                    session
                        .connection
                        .prepare_cached("UPDATE item SET due_ms = ?2, leased = 0 WHERE topic = ?1 AND leased = 1")
                        .and_then(|mut statement| statement.execute((&topic, now)))
                        .map_err(|error| backend(format!("ending the leases of {topic}"), error))?;
                    session.wake(&topic);
                    Ok(())
                })
                .await
        })
    }
}

impl Sqlite {
    /// When the topic's first item is due, in milliseconds since 1970.
    fn earliest(&self, topic: &str) -> Result<Option<i64>, StoreError> {
        self.readers
            .read(|connection| {
                connection
                    .prepare_cached("SELECT due_ms FROM item WHERE topic = ?1 ORDER BY due_ms LIMIT 1")?
                    .query_row([topic], |row| row.get(0))
                    .optional()
            })
            .map_err(|error| backend(format!("looking for due items of {topic}"), error))
    }
}

fn check_size(value: &Bytes) -> Result<(), StoreError> {
    if value.len() > LOG_VALUE_BYTES {
        return Err(StoreError::TooLarge(value.len()));
    }
    Ok(())
}

fn after(now_ms: i64, delay: Duration) -> i64 {
    now_ms.saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX))
}

fn append(session: &mut Session<'_>, topic: &str, value: &[u8], now: i64, delay: Duration) -> Result<u64, StoreError> {
    let id = session.next_number();
    let connection = session.connection;
    let write = || -> rusqlite::Result<()> {
        connection
            .prepare_cached(
                "INSERT INTO item (id, topic, due_ms, appended_ms, deliveries, leased) VALUES (?1, ?2, ?3, ?4, 0, 0)",
            )?
            .execute((id, topic, after(now, delay), now))?;
        connection
            .prepare_cached("INSERT INTO item_value (id, value) VALUES (?1, ?2)")?
            .execute((id, value))?;
        Ok(())
    };
    write().map_err(|error| backend(format!("appending to {topic}"), error))?;
    session.wake(topic);
    Ok(id.cast_unsigned())
}

fn hand_out(
    session: &Session<'_>,
    topic: &str,
    max: usize,
    now: i64,
    lease: Duration,
) -> rusqlite::Result<Vec<Leased>> {
    let connection = session.connection;
    // CROSS JOIN: the order of the index is the order in which we read.
    let mut due = connection.prepare_cached(
        "SELECT item.id, appended_ms, deliveries, value FROM item CROSS JOIN item_value ON item_value.id = item.id
         WHERE topic = ?1 AND due_ms <= ?2 ORDER BY due_ms, item.id LIMIT ?3",
    )?;
    let mut rows = due.query((topic, now, i64::try_from(max).unwrap_or(i64::MAX)))?;
    let (mut leased, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let value: Vec<u8> = row.get(3)?;
        bytes += value.len();
        if bytes > LEASE_BYTES && !leased.is_empty() {
            break;
        }
        leased.push(Leased {
            id: row.get::<_, i64>(0)?.cast_unsigned(),
            value: value.into(),
            appended_ms: row.get(1)?,
            deliveries: row.get::<_, u32>(2)?.saturating_add(1),
        });
    }
    drop(rows);
    let mut update =
        connection.prepare_cached("UPDATE item SET due_ms = ?2, deliveries = ?3, leased = 1 WHERE id = ?1")?;
    for item in &leased {
        update.execute((item.id.cast_signed(), after(now, lease), item.deliveries))?;
    }
    Ok(leased)
}

fn remove(session: &Session<'_>, topic: &str, id: i64) -> rusqlite::Result<()> {
    let connection = session.connection;
    let removed = connection
        .prepare_cached("DELETE FROM item WHERE id = ?1 AND topic = ?2")?
        .execute((id, topic))?;
    if removed > 0 {
        connection
            .prepare_cached("DELETE FROM item_value WHERE id = ?1")?
            .execute([id])?;
    }
    Ok(())
}

/// An item that is gone, because another holder acknowledged it, stays gone.
fn give_back(
    session: &mut Session<'_>,
    topic: &str,
    id: i64,
    value: Option<&[u8]>,
    due_ms: i64,
) -> rusqlite::Result<()> {
    let connection = session.connection;
    let found = connection
        .prepare_cached("UPDATE item SET due_ms = ?3, leased = 0 WHERE id = ?1 AND topic = ?2")?
        .execute((id, topic, due_ms))?;
    if let (1, Some(value)) = (found, value) {
        connection
            .prepare_cached("UPDATE item_value SET value = ?2 WHERE id = ?1")?
            .execute((id, value))?;
    }
    session.wake(topic);
    Ok(())
}
