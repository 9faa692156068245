//! What is known of an environment, of a revision's environments, and of a function.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ephyra_core::id::RevisionId;
use ephyra_core::revision::Revision;

use super::{Slot, Ticket};

/// Launches in a row that may fail before those that wait are told so all at once, and starts go one at a time.
pub(super) const LAUNCH_TRIES: u32 = 3;
/// The longest pause between two attempts to start an environment ahead.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Where an environment is in its life.
///
/// ```text
/// Starting ---- started ----> Busy (one waits) | Idle | Ending (nobody may use it)
/// Idle ---- request ----> Busy           Idle ---- tick ----> Parking (to be frozen) | Ending (keep-alive is over)
/// Busy ---- released ----> Busy (the next that waits) | Idle | Ending | gone (it cannot be used again)
/// Parking ---- parked ----> Busy | Idle | Ending
/// Idle ---- evicted, retired, died ----> Ending ---- ended ----> gone
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Starting,
    Idle {
        since: Instant,
        is_frozen: bool,
    },
    /// It is being frozen and will be idle again in a moment, from then on since this time.
    Parking {
        since: Instant,
    },
    Busy,
    Ending,
}

pub(super) struct Environment {
    pub(super) revision: RevisionId,
    pub(super) memory_mb: u64,
    pub(super) stage: Stage,
    /// When its start ended; until then, when it began.
    pub(super) started: Instant,
    /// Started to be provisioned, not for one that waited.
    pub(super) is_ahead: bool,
    /// No invocation has had it.
    pub(super) is_unused: bool,
}

/// Environments by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) starting: u32,
    pub(crate) idle: u32,
    /// Being frozen: idle in a moment.
    pub(crate) parking: u32,
    pub(crate) busy: u32,
    pub(crate) ending: u32,
}

impl Counts {
    const fn of(&mut self, stage: Stage) -> &mut u32 {
        match stage {
            Stage::Starting => &mut self.starting,
            Stage::Idle { .. } => &mut self.idle,
            Stage::Parking { .. } => &mut self.parking,
            Stage::Busy => &mut self.busy,
            Stage::Ending => &mut self.ending,
        }
    }

    pub(super) const fn enter(&mut self, stage: Stage) {
        *self.of(stage) += 1;
    }

    pub(super) const fn leave(&mut self, stage: Stage) {
        *self.of(stage) -= 1;
    }

    pub(super) const fn shift(&mut self, from: Stage, to: Stage) {
        self.leave(from);
        self.enter(to);
    }

    /// Environments that serve, or will in a moment.
    pub(super) const fn ready(&self) -> u32 {
        self.idle + self.parking + self.busy
    }

    /// Environments that serve now or after their start.
    pub(super) const fn live(&self) -> u32 {
        self.ready() + self.starting
    }

    /// Environments that will come to one that waits without anything else being done.
    pub(super) const fn coming(&self) -> u32 {
        self.starting + self.parking
    }
}

pub(super) struct Waiter {
    pub(super) ticket: Ticket,
    pub(super) since: Instant,
}

/// A revision in use.
pub(super) struct Pool {
    pub(super) revision: Arc<Revision>,
    pub(super) counts: Counts,
    /// Idle environments; the one used last is at the end and is used next, so that the others grow old.
    pub(super) idle: Vec<Slot>,
    pub(super) waiters: VecDeque<Waiter>,
    /// Invocations that were admitted and are not over.
    pub(super) in_flight: u32,
    /// How many environments are kept started.
    pub(super) provisioned: u32,
    pub(super) is_retiring: bool,
    /// Launches in a row that failed.
    pub(super) failures: u32,
    /// When starting ahead is tried again after it failed.
    pub(super) retry_at: Option<Instant>,
    /// Attempts to start ahead, or to keep started, that failed since an invocation last ended well.
    pub(super) setbacks: u32,
    /// Why starting ahead failed.
    pub(super) failure: Option<String>,
}

impl Pool {
    pub(super) const fn new(revision: Arc<Revision>, is_retiring: bool) -> Self {
        Self {
            revision,
            counts: Counts {
                starting: 0,
                idle: 0,
                parking: 0,
                busy: 0,
                ending: 0,
            },
            idle: Vec::new(),
            waiters: VecDeque::new(),
            in_flight: 0,
            provisioned: 0,
            is_retiring,
            failures: 0,
            retry_at: None,
            setbacks: 0,
            failure: None,
        }
    }

    /// Whether it can be forgotten.
    pub(super) const fn is_empty(&self) -> bool {
        self.counts.live() + self.counts.ending + self.in_flight + self.provisioned == 0
    }

    /// Whether an idle environment may be ended for want of time or room.
    pub(super) const fn can_spare(&self) -> bool {
        self.counts.live() > self.provisioned
    }

    /// What of the scope's concurrency this revision takes: what is provisioned is set aside, used or not.
    pub(super) fn charge(&self) -> u32 {
        self.in_flight.max(self.provisioned)
    }

    pub(super) fn unshelve(&mut self, slot: Slot) {
        if self.idle.last() == Some(&slot) {
            self.idle.pop();
        } else {
            self.idle.retain(|other| *other != slot);
        }
    }

    /// Notes that an environment could not be started ahead or did not last, and when to try again.
    pub(super) fn set_back(&mut self, now: Instant, failure: Option<String>) {
        let pause = Duration::from_secs(1 << self.setbacks.min(6)).min(LONGEST_PAUSE);
        self.setbacks = self.setbacks.saturating_add(1);
        self.retry_at = Some(now + pause);
        if failure.is_some() {
            self.failure = failure;
        }
    }
}

/// A function with something to remember.
#[derive(Default)]
pub(super) struct Function {
    pub(super) pools: Vec<RevisionId>,
    pub(super) reserved: Option<u32>,
    pub(super) in_flight: u32,
    /// The sum of its pools' charges.
    pub(super) charge: u32,
    pub(super) waiting: usize,
    /// Whether it is in the ring.
    pub(super) is_listed: bool,
}
