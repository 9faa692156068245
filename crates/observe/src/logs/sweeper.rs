//! Keeps the logs within their bounds. The thread sleeps without a timer while nothing is written.

use std::collections::BinaryHeap;
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

/// How many files to be deleted are found at a time.
const AT_ONCE: usize = 4096;

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
        let shared = Arc::new(Shared::new(root, options, flushing));
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
    fn new(root: PathBuf, options: LogOptions, flushing: Arc<RwLock<()>>) -> Self {
        Self {
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
        }
    }

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

    /// Deletes what is beyond the bounds, and folders that have nothing left. There may be millions of files, so that what
    /// is remembered of them while they are looked at is a sum, and some thousands where there are too many.
    fn sweep(&self, now_ms: i64) -> io::Result<()> {
        let max_age_ms = i64::try_from(self.options.max_age.as_millis()).unwrap_or(i64::MAX);
        let oldest_ms = now_ms.saturating_sub(max_age_ms);
        let (mut groups, mut in_all) = (Vec::new(), 0);
        for group in segment::read_dir(&self.root)? {
            let group = group?;
            if !group.file_type()?.is_dir() {
                continue;
            }
            let group = group.path();
            let (mut count, mut bytes) = (0_u64, 0);
            for segment in segment::walk(&group)? {
                let segment = segment?;
                if segment.written_ms < oldest_ms {
                    self.delete(&segment.path)?;
                } else {
                    count += 1;
                    bytes += segment.bytes;
                }
            }
            if count == 0 {
                self.remove_group(&group)?;
            }
            in_all += self.trim(std::slice::from_ref(&group), bytes, self.options.group_bytes)?;
            groups.push(group);
        }
        self.trim(&groups, in_all, self.options.total_bytes).map(drop)
    }

    /// Deletes the oldest segments of these groups, which hold so many bytes, until they hold no more than `most`; what
    /// they hold then.
    fn trim(&self, groups: &[PathBuf], mut bytes: u64, most: u64) -> io::Result<u64> {
        while bytes > most {
            let mut oldest = Oldest::default();
            for group in groups {
                for segment in segment::walk(group)? {
                    oldest.add(segment?);
                }
            }
            if oldest.0.is_empty() {
                return Ok(0);
            }
            for Aged(segment) in oldest.0.into_sorted_vec() {
                if bytes <= most {
                    break;
                }
                self.delete(&segment.path)?;
                bytes = bytes.saturating_sub(segment.bytes);
            }
        }
        Ok(bytes)
    }

    fn delete(&self, path: &Path) -> io::Result<()> {
        if_present(fs::remove_file(path))?;
        self.deletions.fetch_add(1, Ordering::Release);
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

/// The oldest of all segments that were added, as many as are kept in mind.
#[derive(Default)]
struct Oldest(BinaryHeap<Aged>);

impl Oldest {
    fn add(&mut self, segment: Segment) {
        let segment = Aged(segment);
        if self.0.len() < AT_ONCE {
            self.0.push(segment);
        } else if let Some(mut newest) = self.0.peek_mut()
            && segment < *newest
        {
            *newest = segment;
        }
    }
}

/// A segment in the order of age: the older, the less.
#[derive(Debug, PartialEq, Eq)]
struct Aged(Segment);

impl Aged {
    fn key(&self) -> (i64, u64, &Path) {
        (self.0.written_ms, self.0.number, &self.0.path)
    }
}

impl Ord for Aged {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Aged {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const NOW_MS: i64 = 1_000_000;

    /// Sweeps a folder with these segments (group, when it was written, bytes); which of them are left.
    fn swept(segments: &[(u8, i64, u64)], options: LogOptions) -> Vec<usize> {
        let root = tempfile::tempdir().unwrap();
        let path = |number: usize| {
            let group = segments[number].0.to_string();
            root.path()
                .join(group)
                .join(segment::file_name("stream", number as u64))
        };
        for (number, (_, written_ms, bytes)) in segments.iter().enumerate() {
            fs::create_dir_all(path(number).parent().unwrap()).unwrap();
            let file = fs::File::create(path(number)).unwrap();
            file.set_len(*bytes).unwrap();
            let written = UNIX_EPOCH + Duration::from_millis(u64::try_from(*written_ms).unwrap());
            file.set_modified(written).unwrap();
        }
        let shared = Shared::new(root.path().to_owned(), options, Arc::default());
        shared.sweep(NOW_MS).unwrap();
        let left: Vec<usize> = (0..segments.len()).filter(|number| path(*number).exists()).collect();
        assert_eq!(
            shared.deletions.load(Ordering::Acquire),
            (segments.len() - left.len()) as u64
        );
        // What is empty by then is removed by the next.
        shared.sweep(NOW_MS).unwrap();
        let groups: std::collections::BTreeSet<u8> = left.iter().map(|number| segments[*number].0).collect();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), groups.len());
        left
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
        let segments = [
            (0, NOW_MS - 20, 5),
            (0, NOW_MS - 10, 5),
            (1, NOW_MS - 25, 5),
            (1, NOW_MS, 5),
        ];
        assert_eq!(swept(&segments, options(100, 100, 100)), [0, 1, 2, 3]);
        assert_eq!(swept(&segments, options(20, 100, 100)), [0, 1, 3]);
        assert_eq!(swept(&segments, options(100, 9, 100)), [1, 3]);
        assert_eq!(swept(&segments, options(100, 100, 12)), [1, 3]);
        assert_eq!(swept(&segments, options(100, 100, 0)), [0; 0]);
    }

    #[test]
    fn no_more_than_some_are_kept_in_mind() {
        let mut oldest = Oldest::default();
        for number in (0..3 * AT_ONCE as u64).rev() {
            oldest.add(Segment {
                path: PathBuf::new(),
                stream: String::new(),
                number,
                written_ms: 0,
                bytes: 1,
            });
        }
        let numbers: Vec<u64> = oldest.0.into_sorted_vec().iter().map(|aged| aged.0.number).collect();
        assert_eq!(numbers, (0..AT_ONCE as u64).collect::<Vec<_>>());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 50, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_stays_is_within_the_bounds_and_the_newest(
            segments in proptest::collection::vec((0_u8..3, NOW_MS - 100..NOW_MS, 0_u64..20), 0..20),
            (age, group_bytes, total_bytes) in (0_u64..100, 0_u64..60, 0_u64..90),
        ) {
            let left = swept(&segments, options(age, group_bytes, total_bytes));
            let bytes = |group: Option<u8>| -> u64 {
                let of = left.iter().map(|number| segments[*number]);
                of.filter(|segment| group.is_none_or(|group| segment.0 == group)).map(|segment| segment.2).sum()
            };
            prop_assert!(bytes(None) <= total_bytes);
            for group in 0..3 {
                prop_assert!(bytes(Some(group)) <= group_bytes);
            }
            for number in 0..segments.len() {
                let (group, written_ms, _) = segments[number];
                let is_young = written_ms >= NOW_MS - i64::try_from(age).unwrap();
                let is_left = left.contains(&number);
                prop_assert!(is_young || !is_left);
                // Nothing of a group goes before what is older.
                let older = left.iter().filter(|other| segments[**other].0 == group && segments[**other].1 < written_ms);
                prop_assert!(is_left || older.count() == 0);
            }
        }
    }
}
