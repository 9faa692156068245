//! The clock that interrupts guests: a thread that ticks while calls run, and sleeps while none do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::Engine;

/// How often a guest that computes lets others have their turn.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// Ticks without any call before the thread sleeps: so a call now and then need not wake it.
const LINGER: u32 = 50;

/// Counts the calls that run.
#[derive(Clone)]
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

struct Shared {
    running: AtomicUsize,
    sleeps: AtomicBool,
}

/// A call that runs.
pub(crate) struct Running(Arc<Shared>);

impl Ticker {
    /// Starts the thread; it lives as long as the process.
    pub(crate) fn start(engine: Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            running: AtomicUsize::new(0),
            sleeps: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        let handle = thread::Builder::new()
            .name("ticker".to_owned())
            .stack_size(64 * 1024)
            .spawn(move || theirs.tick(&engine))?;
        let thread = handle.thread().clone();
        Ok(Self { shared, thread })
    }

    /// Has the thread tick until what is returned is dropped.
    pub(crate) fn run(&self) -> Running {
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.sleeps.swap(false, Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running(Arc::clone(&self.shared))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    fn tick(&self, engine: &Engine) {
        let mut quiet = 0;
        loop {
            thread::sleep(TICK);
            engine.increment_epoch();
            quiet = if self.running.load(Ordering::SeqCst) > 0 {
                0
            } else {
                quiet + 1
            };
            if quiet < LINGER {
                continue;
            }
            self.sleeps.store(true, Ordering::SeqCst);
            // A call that came before it could see this is seen here; one that comes after unparks.
            while self.running.load(Ordering::SeqCst) == 0 && self.sleeps.load(Ordering::SeqCst) {
                thread::park();
            }
            self.sleeps.store(false, Ordering::SeqCst);
            quiet = 0;
        }
    }
}
