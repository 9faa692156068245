//! What an operator may set.

use std::time::Duration;

/// How accepted events are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsOptions {
    /// Events that are run at the same time at most: 100. Less while the machine or the account is full.
    pub max_in_flight: usize,
    /// The wait before the first retry after a function error, doubled before the second: 1 minute.
    pub retry_base: Duration,
    /// The wait after the first refusal (a throttle or a failure of the platform), doubled with each: 1 second.
    pub backoff_base: Duration,
    /// The longest wait after a refusal: 5 minutes.
    pub backoff_max: Duration,
}

impl Default for EventsOptions {
    fn default() -> Self {
        Self {
            max_in_flight: 100,
            retry_base: Duration::from_secs(60),
            backoff_base: Duration::from_secs(1),
            backoff_max: Duration::from_secs(300),
        }
    }
}
