//! Keeps the logs within their bounds. The thread sleeps without a timer while nothing is written.

use std::collections::HashMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex, RwLock};

use super::segment::{self, Segment};
use super::{LogOptions, NAME_FILE};

/// How long new files may be waited for before the next sweep.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// The handle of the thread. Dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Sweeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    options: LogOptions,
    flushing: Arc<RwLock<()>>,
    /// Bytes written since the last sweep.
    unswept: AtomicU64,
    /// How often files of streams that may be open were deleted.
    deletions: AtomicU64,
    is_woken: AtomicBool,
    work: Mutex<Work>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Work {
    is_due: bool,
    is_urgent: bool,
    is_over: bool,
}

impl Sweeper {
    /// Starts the thread, with a first sweep; it holds `flushing` for writing while it removes a group's folder.
    pub(super) fn start(root: PathBuf, options: LogOptions, flushing: Arc<RwLock<()>>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            root,
            options,
            flushing,
            unswept: AtomicU64::new(0),
            deletions: AtomicU64::new(0),
            is_woken: AtomicBool::new(true),
            work: Mutex::new(Work {
                is_due: true,
                is_urgent: true,
                is_over: false,
            }),
            bell: Condvar::new(),
        });
        let thread = thread::Builder::new().name("log-sweeper".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.run()
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Counts what was written, and sweeps at once when it is a sixteenth of what a group may hold.
    pub(super) fn wrote(&self, bytes: u64) {
        let unswept = self.shared.unswept.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if unswept >= self.shared.options.group_bytes / 16 {
            self.shared.unswept.store(0, Ordering::Relaxed);
            let mut work = self.shared.work.lock();
            work.is_due = true;
            work.is_urgent = true;
            self.shared.bell.notify_one();
        }
    }

    /// Says that files were deleted.
    pub(super) fn deleted(&self) {
        self.shared.deletions.fetch_add(1, Ordering::Release);
    }

    /// A number that changes with every deletion.
    pub(super) fn deletions(&self) -> u64 {
        self.shared.deletions.load(Ordering::Acquire)
    }

    /// Says that a file was made.
    pub(super) fn opened(&self) {
        if !self.shared.is_woken.swap(true, Ordering::AcqRel) {
            self.shared.work.lock().is_due = true;
            self.shared.bell.notify_one();
        }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.shared.work.lock().is_over = true;
        self.shared.bell.notify_one();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that sweeps logs had panicked");
        }
    }
}

impl Shared {
    fn run(&self) {
        loop {
            let mut work = self.work.lock();
            while !work.is_due && !work.is_over {
                self.bell.wait(&mut work);
            }
            let deadline = Instant::now() + SWEEP_EVERY;
            while !work.is_urgent && !work.is_over && !self.bell.wait_until(&mut work, deadline).timed_out() {}
            if work.is_over {
                return;
            }
            (work.is_due, work.is_urgent) = (false, false);
            self.is_woken.store(false, Ordering::Release);
            drop(work);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
            if let Err(error) = self.sweep(now_ms) {
                tracing::error!(%error, dir = %self.root.display(), "old logs could not be deleted");
            }
        }
    }

    /// Deletes what is beyond the bounds, and folders that have nothing left.
    fn sweep(&self, now_ms: i64) -> io::Result<()> {
        let mut segments = Vec::new();
        for group in segment::read_dir(&self.root)? {
            let group = group?;
            if !group.file_type()?.is_dir() {
                continue;
            }
            let found = segment::list(&group.path())?;
            if found.is_empty() {
                self.remove_group(&group.path())?;
            }
            segments.extend(found.into_iter().map(|segment| (group.path(), segment)));
        }
        for path in surplus(segments, now_ms, &self.options) {
            if_present(fs::remove_file(path))?;
            self.deletions.fetch_add(1, Ordering::Release);
        }
        Ok(())
    }

    /// Removes a folder without segments, unless a writer was quicker.
    fn remove_group(&self, group: &Path) -> io::Result<()> {
        let _nothing_is_written = self.flushing.write();
        if segment::list(group)?.is_empty() {
            if_present(fs::remove_file(group.join(NAME_FILE)))?;
            match fs::remove_dir(group) {
                // Somebody keeps a file of their own there.
                Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
                removed => if_present(removed)?,
            }
        }
        Ok(())
    }
}

/// What is gone already is as good as removed.
fn if_present(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Which segments go: the newest stay, as far as their age, their group's bytes and all bytes together allow.
fn surplus(mut segments: Vec<(PathBuf, Segment)>, now_ms: i64, options: &LogOptions) -> Vec<PathBuf> {
    let max_age_ms = i64::try_from(options.max_age.as_millis()).unwrap_or(i64::MAX);
    let oldest_ms = now_ms.saturating_sub(max_age_ms);
    segments.sort_by(|(_, a), (_, b)| (b.written_ms, b.number, &b.path).cmp(&(a.written_ms, a.number, &a.path)));
    let mut in_group: HashMap<PathBuf, u64> = HashMap::new();
    let mut in_all = 0;
    let mut surplus = Vec::new();
    for (group, segment) in segments {
        let in_group = in_group.entry(group).or_default();
        let in_group_then = *in_group + segment.bytes;
        let in_all_then = in_all + segment.bytes;
        if segment.written_ms < oldest_ms || in_group_then > options.group_bytes || in_all_then > options.total_bytes {
            surplus.push(segment.path);
        } else {
            (*in_group, in_all) = (in_group_then, in_all_then);
        }
    }
    surplus
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment(group: &str, number: u64, written_ms: i64, bytes: u64) -> (PathBuf, Segment) {
        let path = Path::new(group).join(number.to_string());
        let stream = "stream".to_owned();
        (
            group.into(),
            Segment {
                path,
                stream,
                number,
                written_ms,
                bytes,
            },
        )
    }

    fn options(max_age_ms: u64, group_bytes: u64, total_bytes: u64) -> LogOptions {
        LogOptions {
            max_age: Duration::from_millis(max_age_ms),
            group_bytes,
            total_bytes,
            ..LogOptions::default()
        }
    }

    #[test]
    fn the_oldest_go_first() {
        let segments = vec![
            segment("a", 1, 10, 5),
            segment("a", 2, 20, 5),
            segment("b", 1, 5, 5),
            segment("b", 2, 30, 5),
        ];
        let check = |options: &LogOptions, want: &[&str]| {
            let mut gone = surplus(segments.clone(), 30, options);
            gone.sort();
            assert_eq!(gone, want.iter().map(PathBuf::from).collect::<Vec<_>>());
        };
        check(&options(100, 100, 100), &[]);
        check(&options(20, 100, 100), &["b/1"]);
        check(&options(100, 9, 100), &["a/1", "b/1"]);
        check(&options(100, 100, 12), &["a/1", "b/1"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_stays_is_within_the_bounds(
            sizes in proptest::collection::vec((0_u8..3, 0_i64..100, 0_u64..20), 0..30),
            (age, group_bytes, total_bytes) in (0_u64..100, 0_u64..60, 0_u64..90),
        ) {
            let segments: Vec<_> = sizes.iter().zip(1..)
                .map(|(&(group, written_ms, bytes), number)| segment(&group.to_string(), number, written_ms, bytes))
                .collect();
            let gone = surplus(segments.clone(), 100, &options(age, group_bytes, total_bytes));
            let stays: Vec<_> = segments.iter().filter(|(_, segment)| !gone.contains(&segment.path)).collect();
            prop_assert!(stays.iter().map(|(_, segment)| segment.bytes).sum::<u64>() <= total_bytes);
            for group in ["0", "1", "2"] {
                let of_group = stays.iter().filter(|(path, _)| path == Path::new(group));
                prop_assert!(of_group.map(|(_, segment)| segment.bytes).sum::<u64>() <= group_bytes);
            }
            prop_assert!(stays.iter().all(|(_, segment)| segment.written_ms >= 100 - i64::try_from(age).unwrap()));
        }
    }
}
