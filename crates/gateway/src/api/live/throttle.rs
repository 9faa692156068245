//! How many requests a second a stage or a route takes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A bucket of tokens, of which each request takes one: `burst` of them at most, `rate` new ones a second.
///
/// It is kept as one number, the moment at which the bucket would be full again, so that a request costs one atomic
/// operation and no lock (the generic cell rate algorithm, ITU-T I.371).
#[derive(Debug)]
pub struct Bucket {
    since: Instant,
    /// Between two tokens, in nanoseconds; `None` when there are never any.
    interval: Option<u64>,
    /// From empty to full, less one token, in nanoseconds.
    tolerance: u64,
    /// When the bucket is full again, in nanoseconds from `since`.
    full_at: AtomicU64,
}

impl Bucket {
    /// A full bucket. With a rate or a burst of 0 nothing gets through.
    pub fn new(rate: f64, burst: u32, since: Instant) -> Self {
        let nanos = if rate > 0.0 && rate.is_finite() {
            (1e9 / rate).clamp(1.0, 1e15)
        } else {
            0.0
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it lies between 0 and 10^15"
        )]
        let interval = (nanos >= 1.0 && burst > 0).then_some(nanos as u64);
        let tolerance = interval.unwrap_or(0).saturating_mul(u64::from(burst.saturating_sub(1)));
        Self {
            since,
            interval,
            tolerance,
            full_at: AtomicU64::new(0),
        }
    }

    /// Takes a token, if there is one.
    pub fn take(&self, now: Instant) -> bool {
        let Some(interval) = self.interval else {
            return false;
        };
        let now = u64::try_from(now.saturating_duration_since(self.since).as_nanos()).unwrap_or(u64::MAX);
        let taken = self
            .full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                let full_at = full_at.max(now);
                (full_at - now <= self.tolerance).then(|| full_at.saturating_add(interval))
            });
        taken.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn a_burst_gets_through_and_then_the_rate() {
        let start = Instant::now();
        let bucket = Bucket::new(10.0, 3, start);
        let at = |ms| start + Duration::from_millis(ms);
        let taken: Vec<bool> = [0, 0, 0, 0, 99, 100, 100, 200, 1_000, 1_000, 1_000, 1_000]
            .map(|ms| bucket.take(at(ms)))
            .to_vec();
        let (yes, no) = (true, false);
        assert_eq!(taken, [yes, yes, yes, no, no, yes, no, yes, yes, yes, yes, no]);
    }

    #[test]
    fn nothing_gets_through_nothing() {
        let start = Instant::now();
        for bucket in [
            Bucket::new(0.0, 5, start),
            Bucket::new(5.0, 0, start),
            Bucket::new(f64::NAN, 5, start),
        ] {
            assert!(!bucket.take(start + Duration::from_secs(100)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn never_more_than_burst_and_rate_allow(
            rate in 1_u32..1_000,
            burst in 1_u32..50,
            gaps in proptest::collection::vec(0_u64..50_000, 1..300),
        ) {
            let start = Instant::now();
            let bucket = Bucket::new(f64::from(rate), burst, start);
            let (mut micros, mut taken) = (0, 0_u32);
            for gap in gaps {
                micros += gap;
                taken += u32::from(bucket.take(start + Duration::from_micros(micros)));
                #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
                let allowed = f64::from(burst) + f64::from(rate) * micros as f64 / 1e6;
                prop_assert!(f64::from(taken) <= allowed + 1e-6);
            }
        }
    }
}
