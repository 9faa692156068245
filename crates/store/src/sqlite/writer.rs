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
