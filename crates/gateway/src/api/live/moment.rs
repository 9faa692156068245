//! What time it is, on both clocks. It is passed in, so that what depends on it can be tried.

use std::time::{Instant, SystemTime};

/// A moment.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// On the clock that never jumps: for limits and ages.
    pub at: Instant,
    /// Milliseconds since 1970: for what clients and functions see, and what others have signed.
    pub unix_ms: i64,
}

impl Moment {
    /// The moment that two clocks show.
    pub fn new(at: Instant, time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            at,
            unix_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        }
    }
}
