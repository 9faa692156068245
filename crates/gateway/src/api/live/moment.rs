//! What time it is, on both clocks. It is passed in, so that what depends on it can be tried.

use std::time::Instant;

/// A moment.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// On the clock that never jumps: for limits and ages.
    pub at: Instant,
    /// Milliseconds since 1970: for what clients and functions see, and what others have signed.
    pub unix_ms: i64,
}
