//! Where lines of access logs go: to log groups, behind a queue that no request ever waits for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use ephyra_core::id::RequestId;
use ephyra_core::logs::{LogSink, LogStream};
use tokio::sync::mpsc;

/// How many lines wait at most. What comes when it is full is counted and dropped: requests go first.
const WAITING_LINES: usize = 4_096;
/// How many groups have an open stream at most.
const OPEN_STREAMS: usize = 64;
/// How many lines are written between two hand-overs to the operating system.
const LINES_A_FLUSH: usize = 256;

/// One line for a group.
struct Line {
    group: Arc<str>,
    time_ms: i64,
    text: String,
}

/// Takes lines and writes them by and by. Clones share it.
#[derive(Clone)]
pub struct AccessLog {
    shared: Arc<Shared>,
}

struct Shared {
    sink: Arc<dyn LogSink>,
    /// Started with the first line: who logs no access has no thread for it.
    queue: OnceLock<Option<mpsc::Sender<Line>>>,
    dropped: AtomicU64,
}

impl AccessLog {
    /// Lines go to `sink`.
    pub fn new(sink: Arc<dyn LogSink>) -> Self {
        let shared = Shared {
            sink,
            queue: OnceLock::new(),
            dropped: AtomicU64::new(0),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Takes a line for a group. Never waits.
    pub fn write(&self, group: &Arc<str>, time_ms: i64, text: String) {
        let queue = self.shared.queue.get_or_init(|| start(Arc::clone(&self.shared.sink)));
        let line = Line {
            group: Arc::clone(group),
            time_ms,
            text,
        };
        if queue.as_ref().is_none_or(|queue| queue.try_send(line).is_err()) {
            let dropped = self.shared.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            // The first, and then ever more seldom.
            if dropped.is_power_of_two() {
                tracing::warn!(
                    dropped,
                    "lines of access logs come faster than they can be written, and are dropped"
                );
            }
        }
    }

    /// How many lines were dropped.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessLog")
            .field("dropped", &self.dropped())
            .finish_non_exhaustive()
    }
}

/// Starts the thread that writes: files may block, and the threads that answer requests must not.
fn start(sink: Arc<dyn LogSink>) -> Option<mpsc::Sender<Line>> {
    let (sender, receiver) = mpsc::channel(WAITING_LINES);
    let thread = std::thread::Builder::new().name("access-logs".to_owned());
    match thread.spawn(move || run(&*sink, receiver)) {
        Ok(_) => Some(sender),
        Err(error) => {
            tracing::warn!(%error, "there is no thread for access logs: they are not written");
            None
        }
    }
}

fn run(sink: &dyn LogSink, mut lines: mpsc::Receiver<Line>) {
    let stream = RequestId::new().simple();
    let mut streams: HashMap<Arc<str>, Box<dyn LogStream>> = HashMap::new();
    let mut batch = Vec::with_capacity(LINES_A_FLUSH);
    while lines.blocking_recv_many(&mut batch, LINES_A_FLUSH) > 0 {
        for line in batch.drain(..) {
            if streams.len() >= OPEN_STREAMS && !streams.contains_key(&line.group) {
                streams.values_mut().for_each(|stream| stream.flush());
                streams.clear();
            }
            let open = streams
                .entry(line.group)
                .or_insert_with_key(|group| sink.open(group, &stream));
            open.append(line.time_ms, line.text.as_bytes());
        }
        streams.values_mut().for_each(|stream| stream.flush());
    }
}
