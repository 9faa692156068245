//! What a call may use of the processors: its own time is counted, kept to the function's share, and ended in time.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::task::AtomicWaker;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Sleep, sleep};

use super::call::Left;
use super::limits;
use crate::message::Ended;

/// CPU time after which a call no longer competes with those that have just begun.
const LIGHT: Duration = Duration::from_millis(5);
/// What a call may use beyond its share, so that short ones do not feel it.
const BURST: Duration = Duration::from_millis(20);
/// The shortest rest: timers are not more exact.
const SHORTEST: Duration = Duration::from_millis(1);

/// Ends a call from outside.
#[derive(Default)]
pub(crate) struct Cancel {
    is_wanted: AtomicBool,
    task: AtomicWaker,
}

impl Cancel {
    /// Ends it at its next turn.
    pub(crate) fn cancel(&self) {
        self.is_wanted.store(true, Ordering::Release);
        self.task.wake();
    }
}

/// What came of a call's turn.
pub(crate) enum Turn {
    /// It is over.
    Over(Left),
    /// It has used so much of processors or memory that it should go on behind others.
    Heavy,
}

/// A call that runs.
pub(crate) struct Metered {
    call: BoxFuture<'static, Left>,
    /// The most linear memory so far, in bytes.
    peak: Arc<AtomicU64>,
    /// In thousandths of a processor.
    share: u32,
    started: Instant,
    deadline: Instant,
    /// Set up once the call has to wait.
    timer: Option<Pin<Box<Sleep>>>,
    rest: Option<Pin<Box<Sleep>>>,
    cpu: Duration,
}

impl Metered {
    /// Lets `call` run for `time` at most, on a `share` of one processor; it tells its linear memory through `peak`.
    pub(crate) fn new(call: BoxFuture<'static, Left>, peak: Arc<AtomicU64>, time: Duration, share: u32) -> Self {
        let started = Instant::now();
        Self {
            call,
            peak,
            share: share.max(1),
            started,
            deadline: started + time,
            timer: None,
            rest: None,
            cpu: Duration::ZERO,
        }
    }

    /// CPU time so far.
    pub(crate) const fn cpu(&self) -> Duration {
        self.cpu
    }

    /// One turn. `flush` sends what the call has said when it goes on later.
    pub(crate) fn poll(
        &mut self,
        cancel: &Cancel,
        is_light: bool,
        flush: impl FnOnce(),
        context: &mut Context<'_>,
    ) -> Poll<Turn> {
        cancel.task.register(context.waker());
        if cancel.is_wanted.load(Ordering::Acquire) {
            return Poll::Ready(Turn::Over((Ended::Cancelled, bytes::Bytes::new())));
        }
        if let Some(rest) = &mut self.rest {
            if rest.as_mut().poll(context).is_pending() {
                return self.wait(context);
            }
            self.rest = None;
        }
        let before = thread_time();
        let polled = self.call.as_mut().poll(context);
        self.cpu += thread_time().saturating_sub(before);
        if let Poll::Ready(left) = polled {
            return Poll::Ready(Turn::Over(left));
        }
        flush();
        if is_light && (self.cpu > LIGHT || self.peak.load(Ordering::Relaxed) > limits::LIGHT) {
            return Poll::Ready(Turn::Heavy);
        }
        if let Some(time) = rest(self.cpu, self.started.elapsed(), self.share) {
            let mut rest = Box::pin(sleep(time));
            if rest.as_mut().poll(context).is_pending() {
                self.rest = Some(rest);
            }
        }
        self.wait(context)
    }

    /// Waits, but not beyond the deadline.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<Turn> {
        let deadline = self.deadline;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        timer
            .as_mut()
            .poll(context)
            .map(|()| Turn::Over((Ended::Timeout, bytes::Bytes::new())))
    }
}

/// How long to rest after `cpu` was used in `elapsed`, to come back to `share` thousandths of a processor.
fn rest(cpu: Duration, elapsed: Duration, share: u32) -> Option<Duration> {
    if share >= 1000 {
        return None;
    }
    let excess = cpu.checked_sub(BURST)?;
    let due = excess * 1000 / share;
    due.checked_sub(elapsed)
        .filter(|rest| !rest.is_zero())
        .map(|rest| rest.max(SHORTEST))
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanos)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use wasmtime::ResourceLimiterAsync as _;

    use super::limits::{Budget, Limits};
    use super::*;

    #[test]
    fn a_small_function_rests_and_a_whole_processor_does_not() {
        let ms = Duration::from_millis;
        assert_eq!(rest(ms(20), ms(20), 100), None);
        assert_eq!(rest(ms(30), ms(30), 100), Some(ms(70)));
        assert_eq!(rest(ms(30), ms(100), 100), None);
        assert_eq!(rest(ms(3000), ms(3000), 1000), None);
    }

    #[tokio::test]
    async fn a_call_goes_elsewhere_before_it_can_use_much_memory() {
        let peak = Arc::new(AtomicU64::new(0));
        let mut limits = Limits::new(4 << 30, Arc::new(Budget::new(4 << 30)), Arc::clone(&peak));
        let uses = Arc::new(AtomicU64::new(0));
        let used = Arc::clone(&uses);
        let call = Box::pin(async move {
            let little = usize::try_from(limits::LIGHT).unwrap();
            for size in [little, little + 1, 1 << 30] {
                assert!(limits.memory_growing(0, size, None).await.unwrap());
                uses.fetch_add(1, Ordering::Relaxed);
            }
            (Ended::Answered, bytes::Bytes::new())
        });
        let mut metered = Metered::new(call, peak, Duration::from_secs(9), 1000);
        let mut turn = async |is_light| {
            let cancel = Cancel::default();
            poll_fn(|context| metered.poll(&cancel, is_light, || (), context)).await
        };
        assert!(matches!(turn(true).await, Turn::Heavy));
        assert_eq!(used.load(Ordering::Relaxed), 1);
        assert!(matches!(turn(false).await, Turn::Over((Ended::Answered, _))));
    }
}
