//! One subscriber: its buffer, and the task that brings batches to it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::buffer::{Batch, Buffer, Lost};
use super::link::Way;
use super::socket::Socket;
use super::subscription::{Category, Subscription};
use crate::journal::to_time;
use crate::watch::now_ms;

/// How often a batch is sent before it is given up, with what waits between: 50 ms, doubled each time.
const ATTEMPTS: u32 = 6;
const FIRST_DELAY: Duration = Duration::from_millis(50);

/// An extension that has subscribed. Dropped, its task ends.
pub(crate) struct Subscriber {
    name: String,
    subscription: Subscription,
    queue: Arc<Queue>,
    served: Option<(Socket, JoinHandle<()>)>,
}

struct Queue {
    buffer: Mutex<Buffer>,
    /// Wakes the task: there is a first record, a full batch, or no more time.
    wake: Notify,
}

impl Subscriber {
    pub(crate) fn new(name: String, subscription: Subscription) -> Self {
        let buffer = Mutex::new(Buffer::new(subscription.buffering));
        Self {
            name,
            subscription,
            queue: Arc::new(Queue {
                buffer,
                wake: Notify::new(),
            }),
            served: None,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) const fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    /// Whether it has its socket.
    pub(crate) const fn is_served(&self) -> bool {
        self.served.is_some()
    }

    /// Starts to deliver through a socket.
    pub(crate) fn serve(&mut self, socket: Socket) {
        let way = Way::new(socket.clone(), self.subscription.destination.clone());
        let tells_losses = self.subscription.wants(Category::Platform);
        let queue = Arc::clone(&self.queue);
        let task = tokio::spawn(deliver(queue, way, tells_losses));
        self.served = Some((socket, task));
    }

    pub(crate) fn push(&self, record: Bytes, now: Instant) {
        if self.queue.buffer.lock().push(record, now) {
            self.queue.wake.notify_one();
        }
    }

    pub(crate) fn lose(&self, lost: Lost) {
        self.queue.buffer.lock().lose(lost);
    }

    pub(crate) fn hurry(&self) {
        self.queue.buffer.lock().hurry();
        self.queue.wake.notify_one();
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        if let Some((socket, task)) = &self.served {
            socket.cut_off();
            task.abort();
        }
    }
}

/// Delivers batches for ever. A subscriber that does not answer keeps its one batch waiting, for as long as it likes:
/// it may be frozen. The buffer behind it is bounded.
async fn deliver(queue: Arc<Queue>, mut way: Way, tells_losses: bool) {
    loop {
        let mut batch = queue.next().await;
        let lost = std::mem::take(&mut batch.lost);
        if tells_losses && lost != Lost::default() {
            batch.records.insert(0, Bytes::from(lost.to_record(&to_time(now_ms()))));
        }
        let mut delay = FIRST_DELAY;
        for attempt in 1..=ATTEMPTS {
            match way.send(&batch.records).await {
                Ok(()) => break,
                Err(error) if attempt == ATTEMPTS => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "telemetry was given up");
                    queue.buffer.lock().lose(Lost {
                        records: batch.records.len() as u64,
                        bytes: batch.records.iter().map(|record| record.len() as u64).sum(),
                    });
                }
                Err(_) => {
                    tokio::time::sleep(delay).await;
                    delay *= 2;
                }
            }
        }
    }
}

impl Queue {
    /// The next batch that is due.
    async fn next(&self) -> Batch {
        loop {
            let due = {
                let mut buffer = self.buffer.lock();
                match buffer.take(Instant::now()) {
                    Some(batch) => return batch,
                    None => buffer.due_at(),
                }
            };
            match due {
                None => self.wake.notified().await,
                Some(at) => tokio::select! {
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep_until(at.into()) => {}
                },
            }
        }
    }
}
