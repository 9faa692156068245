//! The loop that runs events which are due.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ephyra_core::compute::{Invoke, Resolve};
use ephyra_store::clock::Clock;
use ephyra_store::{Leased, Log};
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};

use crate::window::Window;
use crate::{EventsOptions, Settled};

/// The log's topic.
pub(crate) const TOPIC: &str = "events";
/// Longer than the longest invocation (15 minutes) with its waiting and its start, so no event is run twice at once.
const LEASE: Duration = Duration::from_secs(30 * 60);
/// Values in memory above which no more are leased, in bytes.
const BYTES_IN_FLIGHT: usize = 64 * 1024 * 1024;
/// The wait after a failure of the store, in milliseconds.
const STORE_RETRY_MS: i64 = 1000;

/// What the loop works with.
pub(crate) struct Worker {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) resolve: Arc<dyn Resolve>,
    pub(crate) invoke: Arc<dyn Invoke>,
    pub(crate) settled: Arc<dyn Settled>,
    pub(crate) options: EventsOptions,
}

/// Whether an attempt found room to run in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// It ran.
    Found,
    /// The machine or the account was full.
    Full,
    /// It did not come so far.
    Unknown,
}

/// An event that is being run.
struct InFlight {
    bytes: usize,
    accepted_ms: i64,
}

/// The events that are being run.
struct Running {
    tasks: JoinSet<Room>,
    events: HashMap<Id, InFlight>,
    bytes: usize,
    window: Window,
}

impl Worker {
    /// Runs until `stopped` says so, and then to the end of what has begun.
    pub(crate) async fn run(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut running = Running {
            tasks: JoinSet::new(),
            events: HashMap::new(),
            bytes: 0,
            window: Window::new(self.options.max_in_flight),
        };
        tokio::select! {
            () = told(&mut stopped) => return,
            () = self.release_leases() => {}
        }
        loop {
            running.report(self.clock.now_ms());
            let free = running.free();
            tokio::select! {
                biased;
                () = told(&mut stopped) => break,
                Some(ended) = running.tasks.join_next_with_id() => running.end(ended),
                due = self.log.due(TOPIC), if free > 0 => {
                    // Not among the branches: a lease that was given and not taken would be held for its whole length.
                    let leased = match due {
                        Ok(()) => self.log.lease(TOPIC, free, LEASE).await,
                        Err(error) => Err(error),
                    };
                    match leased {
                        Ok(leased) => leased.into_iter().for_each(|leased| running.begin(&self, leased)),
                        Err(error) => self.pause(&error).await,
                    }
                }
            }
        }
        while let Some(ended) = running.tasks.join_next_with_id().await {
            running.end(ended);
        }
        running.report(self.clock.now_ms());
    }

    /// Ends the leases of the process before this one.
    async fn release_leases(&self) {
        while let Err(error) = self.log.release_all(TOPIC).await {
            self.pause(&error).await;
        }
    }

    async fn pause(&self, error: &ephyra_store::StoreError) {
        tracing::error!(%error, cause = ?std::error::Error::source(error), "accepted events cannot be read");
        self.clock
            .sleep_until(self.clock.now_ms().saturating_add(STORE_RETRY_MS))
            .await;
    }
}

/// Resolves when the loop is to stop, or its handle is gone.
async fn told(stopped: &mut watch::Receiver<bool>) {
    drop(stopped.wait_for(|stop| *stop).await);
}

impl Running {
    /// How many events may be begun now.
    fn free(&self) -> usize {
        if self.bytes >= BYTES_IN_FLIGHT {
            return 0;
        }
        self.window.size().saturating_sub(self.tasks.len())
    }

    fn begin(&mut self, worker: &Arc<Worker>, leased: Leased) {
        let event = InFlight {
            bytes: leased.value.len(),
            accepted_ms: leased.appended_ms,
        };
        self.bytes += event.bytes;
        let worker = Arc::clone(worker);
        let task = self.tasks.spawn(async move { worker.handle(leased).await });
        self.events.insert(task.id(), event);
    }

    fn end(&mut self, ended: Result<(Id, Room), JoinError>) {
        let id = match ended {
            Ok((id, room)) => {
                match room {
                    Room::Found => self.window.open(),
                    Room::Full => self.window.close(),
                    Room::Unknown => {}
                }
                id
            }
            Err(error) => {
                tracing::error!(%error, "running an event panicked; it comes again when its lease ends");
                error.id()
            }
        };
        if let Some(event) = self.events.remove(&id) {
            self.bytes -= event.bytes;
        }
    }

    fn report(&self, now_ms: i64) {
        #[expect(clippy::cast_precision_loss, reason = "a gauge; ages and counts are far below 2^52")]
        let (oldest, count) = {
            let accepted = self.events.values().map(|event| event.accepted_ms).min();
            let age_ms = now_ms.saturating_sub(accepted.unwrap_or(now_ms));
            (age_ms as f64 / 1000.0, self.events.len() as f64)
        };
        metrics::gauge!("ephyra_events_oldest_age_seconds").set(oldest);
        metrics::gauge!("ephyra_events_in_flight").set(count);
    }
}
