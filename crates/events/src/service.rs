//! The handle through which events are accepted and the loop is started and stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ephyra_core::compute::{Accept, AcceptError, AcceptedEvent, Invoke, Resolve};
use ephyra_store::Log;
use ephyra_store::clock::Clock;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::envelope::Envelope;
use crate::worker::{TOPIC, Worker};
use crate::{EventsOptions, Settled};

/// Takes events and runs them. Dropping it ends the loop without waiting for what runs.
pub struct Events {
    log: Arc<dyn Log>,
    is_stopping: AtomicBool,
    stop: watch::Sender<bool>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl Events {
    /// Starts the loop on the current tokio runtime. It first ends the leases of a process that died, so one log
    /// must have one `Events`. `clock` is the one that the log goes by.
    pub fn start(
        log: Arc<dyn Log>,
        clock: Arc<dyn Clock>,
        resolve: Arc<dyn Resolve>,
        invoke: Arc<dyn Invoke>,
        settled: Arc<dyn Settled>,
        options: EventsOptions,
    ) -> Self {
        describe();
        let (stop, stopped) = watch::channel(false);
        let worker = Worker {
            log: Arc::clone(&log),
            clock,
            resolve,
            invoke,
            settled,
            options,
        };
        let worker = tokio::spawn(Arc::new(worker).run(stopped));
        Self {
            log,
            is_stopping: AtomicBool::new(false),
            stop,
            worker: Mutex::new(Some(worker)),
        }
    }

    /// Refuses new events, starts no more and waits for those that run, for `grace` at most. Those that are not
    /// done by then run again when the platform starts again. Says whether all were done.
    pub async fn stop(&self, grace: Duration) -> bool {
        self.is_stopping.store(true, Ordering::Release);
        self.stop.send_replace(true);
        let worker = self.worker.lock().take();
        let Some(mut worker) = worker else { return true };
        let is_done = tokio::time::timeout(grace, &mut worker).await.is_ok();
        worker.abort();
        is_done
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.get_mut().take() {
            worker.abort();
        }
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Accept for Events {
    fn accept(&self, event: AcceptedEvent) -> BoxFuture<'_, Result<(), AcceptError>> {
        Box::pin(async move {
            if self.is_stopping.load(Ordering::Acquire) {
                return Err(AcceptError::Draining);
            }
            let envelope = Envelope { event, failures: 0 };
            let value = envelope.encode().map_err(|error| AcceptError::Store(error.into()))?;
            self.log
                .append(TOPIC, value, Duration::ZERO)
                .await
                .map_err(|error| AcceptError::Store(error.into()))?;
            metrics::counter!("ephyra_events_accepted_total").increment(1);
            Ok(())
        })
    }
}

fn describe() {
    use metrics::Unit;
    metrics::describe_counter!("ephyra_events_accepted_total", "Events made durable to be run later.");
    metrics::describe_counter!("ephyra_events_succeeded_total", "Accepted events that succeeded.");
    metrics::describe_counter!(
        "ephyra_events_retried_total",
        "Accepted events put back to be tried again."
    );
    metrics::describe_counter!("ephyra_events_dropped_total", "Accepted events given up, by reason.");
    metrics::describe_gauge!("ephyra_events_in_flight", "Accepted events that are being run.");
    metrics::describe_gauge!(
        "ephyra_events_oldest_age_seconds",
        Unit::Seconds,
        "The age of the oldest accepted event that is being run."
    );
}
