//! Appending records.

use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ephyra_core::usage::{UsageRecord, UsageSink};
use parking_lot::Mutex;

use crate::day::Day;
use crate::keeper::Keeper;

/// How often a failure is told at most; all are counted.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// What an operator may set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageOptions {
    /// Records of more days ago than this are deleted: 400 days.
    pub keep_days: u32,
}

impl Default for UsageOptions {
    fn default() -> Self {
        Self { keep_days: 400 }
    }
}

/// The usage log could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("the usage log in {dir} could not be opened")]
pub struct UsageError {
    /// The folder.
    pub dir: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// The usage log of a data folder: a file for each UTC day, a line for each record.
///
/// A record survives the death of this process as soon as [`UsageSink::record`] returns, and the loss of power about
/// a second later. Dropping the log makes all of it durable.
#[derive(Debug)]
pub struct UsageLog {
    dir: PathBuf,
    current: Mutex<Current>,
    keeper: Keeper,
    failures: AtomicU64,
}

/// The file of the day.
#[derive(Debug)]
struct Current {
    file: Option<(Day, Arc<File>)>,
    line: Vec<u8>,
    /// The file may end within a line.
    is_torn: bool,
    warned: Option<Instant>,
}

impl UsageLog {
    /// Opens the log in `data`/usage, which is made when it is absent.
    pub fn open(data: &Path, options: &UsageOptions) -> Result<Self, UsageError> {
        let dir = data.join("usage");
        let opened = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .and_then(|()| Keeper::start(dir.clone(), options.keep_days));
        match opened {
            Ok(keeper) => Ok(Self {
                dir,
                current: Mutex::new(Current {
                    file: None,
                    line: Vec::with_capacity(1024),
                    is_torn: false,
                    warned: None,
                }),
                keeper,
                failures: AtomicU64::new(0),
            }),
            Err(source) => Err(UsageError { dir, source }),
        }
    }

    /// How many records could not be written since the start.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn append(&self, current: &mut Current, record: &UsageRecord) -> io::Result<()> {
        current.line.clear();
        serde_json::to_writer(&mut current.line, record)?;
        current.line.push(b'\n');
        self.turn_to(current, day_of(record))?;
        let Some((_, file)) = &current.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if current.is_torn {
            current.line.insert(0, b'\n');
        }
        // One write(2): with O_APPEND a line is never mixed with another, and never half there when we die.
        let written = file.as_ref().write(&current.line);
        current.is_torn = !matches!(&written, Ok(count) if *count == current.line.len());
        self.keeper.wake(file);
        match written {
            Ok(_) if current.is_torn => Err(io::ErrorKind::StorageFull.into()),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Opens the file of `day` unless it is the one that is open.
    fn turn_to(&self, current: &mut Current, day: Day) -> io::Result<()> {
        if current.file.as_ref().is_some_and(|(open, _)| *open == day) {
            return Ok(());
        }
        current.file = None;
        let mut file = File::options()
            .create(true)
            .append(true)
            .read(true)
            .mode(0o600)
            .open(day.file(&self.dir))?;
        current.is_torn = ends_within_a_line(&mut file)?;
        current.file = Some((day, Arc::new(file)));
        self.keeper.turned(day);
        Ok(())
    }

    fn count_failure(&self, current: &mut Current, error: &io::Error) {
        let count = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        metrics::counter!("ephyra_usage_write_failures_total").increment(1);
        if current.warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
            current.warned = Some(Instant::now());
            tracing::warn!(%error, count, dir = %self.dir.display(), "usage records could not be written");
        }
    }
}

impl UsageSink for UsageLog {
    fn record(&self, record: &UsageRecord) {
        let mut current = self.current.lock();
        if let Err(error) = self.append(&mut current, record) {
            self.count_failure(&mut current, &error);
        }
    }
}

/// The day on which the invocation ended: it is when the record is written, told without asking the clock.
fn day_of(record: &UsageRecord) -> Day {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole milliseconds are wanted, and `as` saturates"
    )]
    let duration = record.duration_ms as i64;
    Day::of_ms(record.start_ms.saturating_add(duration))
}

fn ends_within_a_line(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}
