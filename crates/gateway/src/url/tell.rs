//! What the owner of the platform is told when a function URL does not answer: why. The client is not told.

use std::error::Error;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use ephyra_core::invocation::InvokeError;

use super::Failure;

/// The least time between two lines: strangers may ask as often as they like, and are not to fill the log.
const PAUSE_MS: i64 = 1000;

/// Tells of failures, of so many in a time.
#[derive(Debug, Default)]
pub(super) struct Teller {
    /// When something was told last.
    last_ms: AtomicI64,
    /// How many failures were not told since.
    untold: AtomicU64,
}

impl Teller {
    /// Tells of a failure that is worth it. A function's own stands in its log, and what a client did wrong is told to him.
    pub(super) fn tell(&self, failure: &Failure, url: &str, request: &str, now_ms: i64) {
        let error: &(dyn Error + 'static) = match failure {
            Failure::Malformed(error) => error,
            Failure::Store(error) => &**error,
            Failure::NotRun(error @ (InvokeError::RuntimeAbsent { .. } | InvokeError::Launch(_))) => error,
            Failure::Unknown
            | Failure::Forbidden
            | Failure::Signature(_)
            | Failure::TooLarge
            | Failure::NotReady
            | Failure::NotRun(_)
            | Failure::Function => return,
        };
        if let Some(untold) = self.turn(now_ms) {
            tracing::warn!(url, request, untold, error, "a function URL could not answer");
        }
    }

    /// Whether it is time to tell something again; if so, how many were not told.
    fn turn(&self, now_ms: i64) -> Option<u64> {
        let last = self.last_ms.load(Relaxed);
        let is_time = now_ms.saturating_sub(last) >= PAUSE_MS || now_ms < last;
        if is_time && self.last_ms.compare_exchange(last, now_ms, Relaxed, Relaxed).is_ok() {
            return Some(self.untold.swap(0, Relaxed));
        }
        self.untold.fetch_add(1, Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_second_says_how_many_there_were() {
        let teller = Teller::default();
        assert_eq!(teller.turn(5000), Some(0));
        assert_eq!(teller.turn(5001), None);
        assert_eq!(teller.turn(5999), None);
        assert_eq!(teller.turn(6000), Some(2));
        // A clock that was set back does not silence it.
        assert_eq!(teller.turn(100), Some(0));
    }
}
