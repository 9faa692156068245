//! Log lines of functions: a folder for each group, files for each stream, bounded in age and size.

mod follow;
mod line;
mod name;
mod reader;
mod segment;
mod sweeper;
mod writer;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ephyra_core::logs::{LogSink, LogStream};
use parking_lot::{Mutex, RwLock};

pub use follow::{Followed, Follower};

use follow::Followers;
use segment::Segment;
use sweeper::Sweeper;
use writer::{Writer, make_group};

/// The file in a group's folder that holds its name, when the folder's own name cannot.
const NAME_FILE: &str = "name";
/// How often a failure is told at most; all are counted.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// What an operator may set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Files that were last written longer ago than this are deleted: 14 days.
    pub max_age: Duration,
    /// What a group may hold, in bytes: 256 MiB. The oldest files are deleted.
    pub group_bytes: u64,
    /// What all groups may hold together, in bytes: 4 GiB.
    pub total_bytes: u64,
    /// When a stream goes on in another file, in bytes: 8 MiB. The bounds hold but for so much of each open stream.
    pub segment_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(14 * 86_400),
            group_bytes: 256 << 20,
            total_bytes: 4 << 30,
            segment_bytes: 8 << 20,
        }
    }
}

/// A log operation failed.
#[derive(Debug, thiserror::Error)]
#[error("{operation} failed")]
pub struct LogError {
    /// What was being done, with the group's name.
    pub operation: String,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// One event of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEvent {
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The stream.
    pub stream: Arc<str>,
    /// The text as it was logged, at most 256 KiB of it; not always UTF-8.
    pub message: Bytes,
}

/// What is known of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSummary {
    /// Its name.
    pub name: String,
    /// When it was last written, in milliseconds since 1970.
    pub written_ms: i64,
    /// The size of its files.
    pub bytes: u64,
}

/// The logs of a data folder. Clones share it.
#[derive(Clone, Debug)]
pub struct LogStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    options: LogOptions,
    followers: Arc<Followers>,
    sweeper: Sweeper,
    /// Held for reading while a flush writes and tells, for writing between the two moments of
    /// [`LogStore::tail_and_follow`], so that no event is in both of its halves or in none.
    flushing: Arc<RwLock<()>>,
    failures: AtomicU64,
    warned: Mutex<Option<Instant>>,
}

impl LogStore {
    /// Opens the logs in `data`/logs, which is made when it is absent. Blocks.
    pub fn open(data: &Path, options: LogOptions) -> Result<Self, LogError> {
        let root = data.join("logs");
        let flushing = Arc::default();
        let sweeper = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&root)
            .and_then(|()| Sweeper::start(root.clone(), options.clone(), Arc::clone(&flushing)))
            .map_err(|source| LogError {
                operation: format!("opening the logs in {}", root.display()),
                source,
            })?;
        let inner = Inner {
            root,
            options,
            followers: Arc::default(),
            sweeper,
            flushing,
            failures: AtomicU64::new(0),
            warned: Mutex::new(None),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The newest `limit` events of a group at or after `since_ms` (at most 8 MiB of text), the oldest first, across
    /// streams in the order of their time. None for a group that is not there.
    pub async fn tail(&self, group: &str, since_ms: i64, limit: usize) -> Result<Vec<LogEvent>, LogError> {
        self.run("reading", group, move |_, dir| {
            reader::tail(segment::list(&dir)?, since_ms, limit)
        })
        .await
    }

    /// Follows a group from now on; it need not be there yet.
    pub fn follow(&self, group: &str) -> Follower {
        self.inner.followers.follow(group)
    }

    /// [`LogStore::tail`], and a follower of just what comes after it.
    pub async fn tail_and_follow(
        &self,
        group: &str,
        since_ms: i64,
        limit: usize,
    ) -> Result<(Vec<LogEvent>, Follower), LogError> {
        let name = group.to_owned();
        self.run("reading", group, move |inner, dir| {
            let (segments, follower) = {
                let _nothing_is_written = inner.flushing.write();
                (segment::list(&dir)?, inner.followers.follow(&name))
            };
            Ok((reader::tail(segments, since_ms, limit)?, follower))
        })
        .await
    }

    /// The names of all groups, in order.
    pub async fn groups(&self) -> Result<Vec<String>, LogError> {
        self.run("listing", "", |inner, _| groups(&inner.root)).await
    }

    /// The streams of a group, in the order of their names.
    pub async fn streams(&self, group: &str) -> Result<Vec<StreamSummary>, LogError> {
        self.run("listing", group, |_, dir| Ok(summaries(segment::list(&dir)?)))
            .await
    }

    /// Deletes a group with all its streams; deleting an absent one succeeds. What still logs to it makes it anew.
    pub async fn delete(&self, group: &str) -> Result<(), LogError> {
        self.run("deleting", group, |inner, dir| {
            let _nothing_is_written = inner.flushing.write();
            let removed = fs::remove_dir_all(dir);
            // Part of it may be gone even when it failed.
            inner.sweeper.deleted();
            match removed {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        })
        .await
    }

    /// How many flushes could not be written since the start.
    pub fn failures(&self) -> u64 {
        self.inner.failures.load(Ordering::Relaxed)
    }

    /// Runs `work` with the group's folder where it may block.
    async fn run<T, F>(&self, doing: &str, group: &str, work: F) -> Result<T, LogError>
    where
        T: Send + 'static,
        F: FnOnce(&Inner, PathBuf) -> io::Result<T> + Send + 'static,
    {
        let (inner, dir) = (Arc::clone(&self.inner), self.inner.group_dir(group));
        let done = tokio::task::spawn_blocking(move || work(&inner, dir)).await;
        done.unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|source| LogError {
                operation: format!("{doing} the log group {group:?}"),
                source,
            })
    }
}

impl LogSink for LogStore {
    fn open(&self, group: &str, stream: &str) -> Box<dyn LogStream> {
        Box::new(Writer::new(Arc::clone(&self.inner), group, stream))
    }

    fn foresee(&self, group: &str) {
        let _not_between_these = self.inner.flushing.read();
        if let Err(error) = make_group(&self.inner.group_dir(group), group) {
            // Whoever writes finds the same, and counts it.
            tracing::debug!(group, %error, "a log group could not be made ahead");
        }
    }
}

impl Inner {
    fn group_dir(&self, group: &str) -> PathBuf {
        self.root.join(name::escape(group))
    }

    fn count_failure(&self, group: &str, error: &io::Error) {
        let count = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        ::metrics::counter!("ephyra_log_write_failures_total").increment(1);
        let mut warned = self.warned.lock();
        if warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
            *warned = Some(Instant::now());
            tracing::warn!(group, %error, count, "log lines of functions could not be written");
        }
    }
}

fn groups(root: &Path) -> io::Result<Vec<String>> {
    let mut groups = Vec::new();
    for entry in segment::read_dir(root)? {
        let entry = entry?;
        let Ok(escaped) = entry.file_name().into_string() else {
            continue;
        };
        match name::unescape(&escaped) {
            Some(name) => groups.push(name),
            None => groups.extend(fs::read_to_string(entry.path().join(NAME_FILE)).ok()),
        }
    }
    groups.sort();
    Ok(groups)
}

fn summaries(segments: Vec<Segment>) -> Vec<StreamSummary> {
    let mut streams: BTreeMap<String, StreamSummary> = BTreeMap::new();
    for segment in segments {
        let summary = streams.entry(segment.stream.clone()).or_insert_with(|| StreamSummary {
            name: segment.stream,
            written_ms: i64::MIN,
            bytes: 0,
        });
        summary.written_ms = summary.written_ms.max(segment.written_ms);
        summary.bytes += segment.bytes;
    }
    streams.into_values().collect()
}
