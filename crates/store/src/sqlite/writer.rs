//! The one thread that writes, with group commit.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::wake::Topics;
use super::watch::Watchers;
use crate::{Change, StoreError, backend};

/// Writes that may wait for the thread; the next one waits for a place.
const QUEUE: usize = 1024;
/// Writes in one transaction: bounds how long the first of them waits for the others.
const BATCH: usize = 256;

/// What a write sees while its transaction is open.
pub(super) struct Session<'c> {
    /// The connection, in a transaction.
    pub(super) connection: &'c Connection,
    sequence: &'c mut i64,
    changes: Vec<Change>,
    topics: Vec<String>,
}

impl Session<'_> {
    /// The next revision or item id, never given before.
    pub(super) fn next_number(&mut self) -> i64 {
        *self.sequence += 1;
        *self.sequence
    }

    /// Tells watchers of `change` after the commit.
    pub(super) fn changed(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Wakes after the commit those who wait for `topic`.
    pub(super) fn wake(&mut self, topic: &str) {
        if !self.topics.iter().any(|woken| woken == topic) {
            self.topics.push(topic.to_owned());
        }
    }
}

/// A write that has been applied and waits for the commit.
struct Applied {
    has_failed: bool,
    answer: Box<dyn FnOnce(Result<(), StoreError>) + Send>,
}

/// Applies a write; without a session, for want of a transaction, it only fails.
type Job = Box<dyn FnOnce(Option<&mut Session<'_>>) -> Applied + Send>;

/// Why nothing of a transaction was written.
#[derive(Debug, thiserror::Error)]
enum Undone {
    #[error("{0}")]
    Engine(#[from] rusqlite::Error),
    #[error("another write of the same transaction failed")]
    Write,
}

/// The way to the thread. Dropping it waits until all that is queued is written.
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread; `last` is the last number of the sequence.
    pub(super) fn start(
        connection: Connection,
        last: i64,
        watchers: Arc<Watchers>,
        topics: Arc<Topics>,
    ) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run(&connection, last, queue, &watchers, &topics))
            .map_err(|error| backend("starting the thread that writes", error))?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Runs `work` in the next transaction and answers after its commit. An error of the backend undoes the whole
    /// transaction, and each write in it is answered with an error; any other error stays with its write.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Session<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |session| {
            let result = match session {
                Some(session) => work(session),
                None => Err(backend("writing", "no transaction could be begun")),
            };
            Applied {
                has_failed: matches!(result, Err(StoreError::Backend { .. })),
                answer: Box::new(move |committed| {
                    let result = match (result, committed) {
                        (Ok(value), Ok(())) => Ok(value),
                        (Err(error), _) | (Ok(_), Err(error)) => Err(error),
                    };
                    // Whoever asked may have gone meanwhile; the write holds all the same.
                    drop(reply.send(result));
                }),
            }
        });
        let stopped = || backend("writing", "the thread that writes has stopped");
        let jobs = self.jobs.as_ref().ok_or_else(stopped)?;
        jobs.send(job).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that writes the state had panicked");
        }
    }
}

fn run(
    connection: &Connection,
    mut sequence: i64,
    mut queue: mpsc::Receiver<Job>,
    watchers: &Watchers,
    topics: &Topics,
) {
    let mut applied = Vec::with_capacity(BATCH);
    while let Some(first) = queue.blocking_recv() {
        let mut session = Session {
            connection,
            sequence: &mut sequence,
            changes: Vec::new(),
            topics: Vec::new(),
        };
        let committed = transact(&mut session, first, &mut queue, &mut applied);
        match &committed {
            Ok(()) => {
                watchers.tell(&session.changes);
                session.topics.iter().for_each(|topic| topics.ring(topic));
            }
            Err(error) => tracing::error!(%error, writes = applied.len(), "the state could not be written"),
        }
        for write in applied.drain(..) {
            let committed = committed
                .as_ref()
                .map_err(|error| backend("writing", error.to_string()));
            (write.answer)(committed.copied());
        }
    }
}

/// Applies `first` and what else is waiting in one transaction. On an error none of it is there.
fn transact(
    session: &mut Session<'_>,
    first: Job,
    queue: &mut mpsc::Receiver<Job>,
    applied: &mut Vec<Applied>,
) -> Result<(), Undone> {
    let connection = session.connection;
    let before = *session.sequence;
    if let Err(error) = execute(connection, "BEGIN IMMEDIATE") {
        applied.push(first(None));
        return Err(error.into());
    }
    let mut result = Ok(());
    let mut next = Some(first);
    while let Some(job) = next.take() {
        let write = job(Some(session));
        if write.has_failed {
            result = Err(Undone::Write);
        }
        applied.push(write);
        if result.is_ok() && applied.len() < BATCH {
            next = queue.try_recv().ok();
        }
    }
    let result = result.and_then(|()| Ok(commit(connection, before, *session.sequence)?));
    // SQLite may have rolled back by itself already.
    if result.is_err()
        && !connection.is_autocommit()
        && let Err(error) = execute(connection, "ROLLBACK")
    {
        tracing::error!(%error, "a failed transaction could not be rolled back");
    }
    result
}

fn commit(connection: &Connection, before: i64, sequence: i64) -> rusqlite::Result<()> {
    if sequence != before {
        connection
            .prepare_cached("UPDATE sequence SET last = ?1")?
            .execute([sequence])?;
    }
    execute(connection, "COMMIT")
}

fn execute(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    type Answers = Arc<Mutex<Vec<Result<(), StoreError>>>>;

    fn job(sql: &'static str, error: Option<StoreError>, answers: &Answers) -> Job {
        let answers = Arc::clone(answers);
        Box::new(move |session| {
            let result = match (session, error) {
                (Some(session), None) => {
                    session.next_number();
                    session.connection.execute_batch(sql).unwrap();
                    Ok(())
                }
                (_, error) => Err(error.unwrap_or(StoreError::Conflict)),
            };
            Applied {
                has_failed: matches!(result, Err(StoreError::Backend { .. })),
                answer: Box::new(move |committed| answers.lock().unwrap().push(result.and(committed))),
            }
        })
    }

    /// Runs three writes of which the second ends in `error`; says how many rows are there and how each was answered.
    fn three_writes(error: Option<StoreError>) -> (i64, Vec<Result<(), StoreError>>) {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE TABLE t (n); CREATE TABLE sequence (last); INSERT INTO sequence VALUES (0)")
            .unwrap();
        let answers = Answers::default();
        let (sender, queue) = mpsc::channel(8);
        for error in [None, error, None] {
            sender
                .try_send(job("INSERT INTO t VALUES (1)", error, &answers))
                .map_err(drop)
                .unwrap();
        }
        drop(sender);
        run(&connection, 0, queue, &Watchers::default(), &Topics::default());
        assert!(connection.is_autocommit());
        let count = connection
            .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
            .unwrap();
        let answers = std::mem::take(&mut *answers.lock().unwrap());
        (count, answers)
    }

    #[test]
    fn a_refused_write_leaves_those_beside_it() {
        let (count, answers) = three_writes(Some(StoreError::Conflict));
        assert_eq!(count, 2);
        assert!(
            matches!(answers[..], [Ok(()), Err(StoreError::Conflict), Ok(())]),
            "{answers:?}"
        );
    }

    #[test]
    fn a_failed_write_undoes_its_transaction_and_nobody_is_told_otherwise() {
        let (count, answers) = three_writes(Some(backend("writing", "the disk is full")));
        // The third came into a transaction of its own.
        assert_eq!(count, 1);
        let is_lost = |answer: &Result<(), StoreError>| matches!(answer, Err(StoreError::Backend { .. }));
        assert!(
            is_lost(&answers[0]) && is_lost(&answers[1]) && answers[2].is_ok(),
            "{answers:?}"
        );
    }
}
