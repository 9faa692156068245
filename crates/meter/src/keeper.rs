//! What goes on in the background: making records durable each second while there are new ones, and deleting old
//! days. The thread sleeps without a timer while nothing is written.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::day::Day;

/// How long a record may be only in the operating system's memory.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// The handle of the thread. Dropping it makes durable what is written, and waits for that.
#[derive(Debug)]
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    keep_days: u32,
    /// Whether there is something to do, told without taking the lock.
    is_woken: AtomicBool,
    work: Mutex<Work>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Work {
    /// Files with new records: one, or two around midnight.
    files: Vec<Arc<File>>,
    turned: Option<Day>,
    is_over: bool,
}

impl Work {
    fn is_empty(&self) -> bool {
        self.files.is_empty() && self.turned.is_none()
    }
}

impl Keeper {
    /// Starts the thread.
    pub(crate) fn start(dir: PathBuf, keep_days: u32) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            dir,
            keep_days,
            is_woken: AtomicBool::new(false),
            work: Mutex::new(Work::default()),
            bell: Condvar::new(),
        });
        let thread = thread::Builder::new().name("usage-keeper".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.run()
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Says that `file` has a new record. Costs one atomic access while a sync is due anyway.
    pub(crate) fn wake(&self, file: &Arc<File>) {
        if !self.shared.is_woken.swap(true, Ordering::AcqRel) {
            let mut work = self.shared.work.lock();
            work.files.push(Arc::clone(file));
            self.shared.bell.notify_one();
        }
    }

    /// Says that the file of `day` was opened, and perhaps made. The next record wakes in any case.
    pub(crate) fn turned(&self, day: Day) {
        let mut work = self.shared.work.lock();
        work.turned = Some(day);
        self.shared.is_woken.store(false, Ordering::Release);
        self.shared.bell.notify_one();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.work.lock().is_over = true;
        self.shared.bell.notify_one();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that keeps usage records had panicked");
        }
    }
}

impl Shared {
    fn run(&self) {
        loop {
            let mut work = self.work.lock();
            while work.is_empty() && !work.is_over {
                self.bell.wait(&mut work);
            }
            let deadline = Instant::now() + SYNC_EVERY;
            while !work.is_over && !self.bell.wait_until(&mut work, deadline).timed_out() {}
            let Work { files, turned, is_over } = std::mem::take(&mut *work);
            // Before the sync: what is written while it runs asks for another.
            self.is_woken.store(false, Ordering::Release);
            drop(work);
            self.tidy(&files, turned);
            if is_over {
                return;
            }
        }
    }

    fn tidy(&self, files: &[Arc<File>], turned: Option<Day>) {
        for file in files {
            if let Err(error) = file.sync_data() {
                tracing::error!(%error, dir = %self.dir.display(), "usage records could not be made durable");
            }
        }
        let Some(day) = turned else { return };
        if let Err(error) = self.tidy_folder(day) {
            tracing::error!(%error, dir = %self.dir.display(), "the folder of usage records could not be tidied");
        }
    }

    fn tidy_folder(&self, today: Day) -> io::Result<()> {
        let oldest = today.later(-i64::from(self.keep_days));
        for (day, path) in days(&self.dir)? {
            if day < oldest {
                fs::remove_file(path)?;
            }
        }
        File::open(&self.dir)?.sync_all()
    }
}

/// The days of a folder that have a file, in order.
pub(crate) fn days(dir: &Path) -> io::Result<Vec<(Day, PathBuf)>> {
    let mut days = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if let Some(day) = entry.file_name().to_str().and_then(Day::of_file) {
            days.push((day, entry.path()));
        }
    }
    days.sort();
    Ok(days)
}
