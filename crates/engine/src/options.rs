//! What an operator decides about scheduling.

use std::collections::BTreeSet;
use std::time::Duration;

use ephyra_core::limits;
use ephyra_core::revision::Revision;

/// The scheduler's limits and times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Invocations at once in the account.
    pub account_concurrency: u32,
    /// What all environments together may reserve of the machine's memory, in MB (of 1,048,576 bytes). A revision
    /// that needs more than this alone is refused.
    pub memory_mb: u64,
    /// Runtimes whose environments reserve nothing, as they share a process with a limit of its own.
    pub sharing: BTreeSet<String>,
    /// How long an environment stays idle before it is ended, when nothing better is known.
    pub keep_alive: Duration,
    /// Whether the last environment of a function is kept by what is known of the times between its calls, and ended
    /// and started anew before the next call when that is worth it.
    pub is_adaptive: bool,
    /// How long an environment stays idle before it is frozen: long enough that a busy function is never frozen
    /// between two calls.
    pub freeze_after: Duration,
    /// Invocations of one function that may wait for an environment; one more is throttled.
    pub max_queue_per_function: usize,
    /// Invocations of all functions that may wait for an environment; one more is throttled.
    pub max_queue: usize,
    /// How long an invocation may wait for room on the machine. The time in which an environment is being started for
    /// it does not count.
    pub queue_timeout: Duration,
    /// Environments that are started at once: more only make each other slow.
    pub max_starting: u32,
    /// So many of those places at most are taken when a function is given one more environment: the others are for
    /// functions that have none.
    pub max_growing: u32,
    /// A start that takes longer than this no longer counts among those: what goes on is the function's own
    /// initialisation, and others do not wait for it.
    pub slow_after: Duration,
    /// An invocation waits so long for an environment that is in use, before another is started for it, when its
    /// function's runs are so short that one comes free within this time: sooner than a start would end. Zero: never.
    pub patience: Duration,
    /// Runs at once of all functions whose runs are short and compute, and thrice as many of one that is alone: more than
    /// the processors can make progress with only push each other out of the caches. A function of which nothing runs
    /// never waits for it. Zero: no limit.
    pub turns: u32,
    /// A run that goes on for longer than this is no longer counted among those: it may wait for something, and others
    /// could compute meanwhile. If that happens often, its function is given more turns, and in the end is not limited
    /// for a while, as long as its runs do not become slower by it.
    pub turn: Duration,
    /// How long a call stands in line for its turn at most, when there is an idle environment for it.
    pub patience_in_line: Duration,
    /// How long a function that found no room waits before another function, which uses its environments without a
    /// pause, has to give one up for it. Short times cost cold starts, long ones fairness.
    pub yield_after: Duration,
    /// How long [`Engine::drain`](crate::Engine::drain) waits for running invocations.
    pub drain_timeout: Duration,
}

impl Default for Options {
    /// Lambda's account limit, three starts for each core, two of them where there is one already, and 1 GB of memory:
    /// whoever knows the machine sets that.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(64));
        Self {
            account_concurrency: limits::ACCOUNT_CONCURRENCY,
            memory_mb: 1024,
            sharing: BTreeSet::new(),
            keep_alive: Duration::from_secs(600),
            is_adaptive: true,
            freeze_after: Duration::from_millis(50),
            max_queue_per_function: 1000,
            max_queue: 1000,
            queue_timeout: Duration::from_secs(10),
            max_starting: 3 * cores,
            max_growing: 2 * cores,
            slow_after: Duration::from_millis(250),
            patience: Duration::from_millis(5),
            turns: cores,
            turn: Duration::from_millis(2),
            patience_in_line: Duration::from_millis(20),
            yield_after: Duration::from_millis(500),
            drain_timeout: Duration::from_secs(20),
        }
    }
}

impl Options {
    /// What an environment of a revision reserves, in MB.
    pub(crate) fn reserved_mb(&self, revision: &Revision) -> u64 {
        if self.sharing.contains(&revision.runtime) {
            0
        } else {
            revision.memory_mb.into()
        }
    }
}
