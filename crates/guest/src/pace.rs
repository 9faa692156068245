//! How much of a guest's talk the host takes at once: a pure token bucket.
//!
//! What a guest writes may cost the host more than it costs the guest, whose share of the CPU may be small. Beyond
//! an allowance it is read more slowly, so that it is the guest that waits and not the host's other guests.

use std::time::{Duration, Instant};

/// What a piece of talk (a line, a frame, a read) costs besides its bytes, unless it is said to cost more.
const PIECE_BYTES: u64 = 128;
/// The shortest wait: below it timers are not exact.
const SHORTEST: Duration = Duration::from_millis(2);

/// An allowance that is spent and comes back with time.
#[derive(Debug)]
pub struct Pace {
    burst: u64,
    bytes_per_second: u64,
    piece_bytes: u64,
    /// What was spent and has not come back yet, in bytes.
    spent: u64,
    /// Until when what comes back is counted.
    at: Option<Instant>,
}

impl Pace {
    /// An allowance of `burst` bytes, of which `bytes_per_second` (not 0) come back in a second.
    pub const fn new(burst: u64, bytes_per_second: u64) -> Self {
        Self {
            burst,
            bytes_per_second,
            piece_bytes: PIECE_BYTES,
            spent: 0,
            at: None,
        }
    }

    /// The same where each piece costs as much as so many bytes: where bytes may come fast, pieces are to be no more for it.
    pub const fn with_piece(self, bytes: u64) -> Self {
        Self {
            piece_bytes: bytes,
            ..self
        }
    }

    /// Gives the whole allowance back.
    pub const fn renew(&mut self) {
        self.spent = 0;
        self.at = None;
    }

    /// Spends for `bytes` in so many pieces.
    pub fn spend(&mut self, bytes: usize, pieces: usize) {
        let pieces = (pieces as u64).saturating_mul(self.piece_bytes);
        self.spent = self.spent.saturating_add(bytes as u64).saturating_add(pieces);
    }

    /// How long to wait before more is spent; `None` when it may be now. `clock` does not go back, and is asked only
    /// when something was spent.
    pub fn wait(&mut self, clock: impl FnOnce() -> Instant) -> Option<Duration> {
        if self.spent == 0 {
            self.at = None;
            return None;
        }
        let now = clock();
        let since = now.saturating_duration_since(self.at.replace(now).unwrap_or(now));
        let back = since.as_nanos() * u128::from(self.bytes_per_second) / 1_000_000_000;
        self.spent = self.spent.saturating_sub(u64::try_from(back).unwrap_or(u64::MAX));
        let excess = self.spent.checked_sub(self.burst).filter(|excess| *excess > 0)?;
        let micros = u128::from(excess) * 1_000_000 / u128::from(self.bytes_per_second);
        Some(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)).max(SHORTEST))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_allowance_is_free_and_what_is_beyond_waits() {
        let start = Instant::now();
        let mut pace = Pace::new(1000, 1000);
        pace.spend(1000, 0);
        assert_eq!(pace.wait(|| start), None);
        pace.spend(500, 0);
        assert_eq!(pace.wait(|| start), Some(Duration::from_millis(500)));
        assert_eq!(pace.wait(|| start + Duration::from_millis(500)), None);
        pace.spend(0, 1);
        let wait = pace.wait(|| start + Duration::from_millis(500));
        assert_eq!(wait, Some(Duration::from_millis(PIECE_BYTES)));
        pace.renew();
        assert_eq!(pace.wait(|| unreachable!("nothing was spent")), None);
        let mut dear = Pace::new(1000, 1000).with_piece(600);
        dear.spend(0, 2);
        assert_eq!(dear.wait(|| start), Some(Duration::from_millis(200)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn nobody_spends_more_than_the_allowance_and_the_rate(
            pieces in proptest::collection::vec(1..3000usize, 1..100),
        ) {
            let start = Instant::now();
            let mut now = start;
            let mut pace = Pace::new(5000, 10_000);
            let mut spent = 0;
            for bytes in pieces {
                while let Some(wait) = pace.wait(|| now) {
                    now += wait;
                }
                let allowed = 5000.0 + (now - start).as_secs_f64() * 10_000.0;
                prop_assert!(f64::from(spent) <= allowed + 1.0, "{spent} of {allowed}");
                pace.spend(bytes, 0);
                spent += u32::try_from(bytes).unwrap();
            }
        }
    }
}
