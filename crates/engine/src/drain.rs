//! Going down: finish what runs, within a time, then end everything.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::engine::{Engine, State, now};

/// How long the ends of all environments may take once nothing runs any more.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// A signal that is given once and stays.
#[derive(Default)]
pub(crate) struct Cut {
    is_given: AtomicBool,
    given: Notify,
}

impl Cut {
    fn give(&self) {
        self.is_given.store(true, Ordering::SeqCst);
        self.given.notify_waiters();
    }

    /// Resolves once it is given.
    pub(crate) async fn wait(&self) {
        let given = self.given.notified();
        tokio::pin!(given);
        // Listed before the flag is read: a signal between the two is not missed.
        given.as_mut().enable();
        if !self.is_given.load(Ordering::SeqCst) {
            given.await;
        }
    }
}

impl Engine {
    /// Refuses new invocations, waits for those that run for at most [`Options::drain_timeout`](crate::Options), then
    /// ends all environments; invocations that still run are broken off and answer [`InvokeError::Draining`]. Returns
    /// whether none had to be, and nothing of any environment is left.
    ///
    /// [`InvokeError::Draining`]: ephyra_core::invocation::InvokeError::Draining
    pub async fn drain(&self) -> bool {
        self.inner.update(|state, _| {
            state.is_draining = true;
            state.scheduler.drain();
        });
        let deadline = Instant::now() + self.inner.options.drain_timeout;
        let is_clean = self.until(deadline, |state| state.scheduler.in_flight() == 0).await;
        self.inner
            .update(|state, effects| state.scheduler.close(now(), effects));
        self.inner.cut.give();
        let deadline = Instant::now() + END_TIMEOUT;
        let is_empty = self.until(deadline, |state| state.scheduler.is_empty()).await;
        is_clean && is_empty
    }

    /// Waits until `is_so`, and returns whether it became so before the deadline.
    async fn until(&self, deadline: Instant, is_so: impl Fn(&State) -> bool) -> bool {
        loop {
            let changed = self.inner.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if is_so(&self.inner.state.lock()) {
                return true;
            }
            if timeout_at(deadline, changed).await.is_err() {
                return is_so(&self.inner.state.lock());
            }
        }
    }
}
