//! What is known of an environment, of a revision's environments, and of a function.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ephyra_core::environment::Purpose;
use ephyra_core::id::RevisionId;
use ephyra_core::limits::MEMORY_MB_OF_ONE_CPU;
use ephyra_core::revision::Revision;

use super::rhythm::Rhythm;
use super::turns::Pace;
use super::{Slot, Ticket};

/// Launches in a row that may fail before those that wait are told so all at once, and starts go one at a time.
pub(super) const LAUNCH_TRIES: u32 = 3;
/// The period of the share of CPU time that an environment has by its memory.
const CPU_PERIOD: Duration = Duration::from_millis(20);
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
    /// What it is there for. A template and a pre-warmed one are on-demand from their first use on, and so is one of
    /// those provisioned that is one too many while it is used.
    pub(super) purpose: Purpose,
    /// No invocation has had it.
    pub(super) is_unused: bool,
    /// It was started for an invocation that waited, and room for the next such start has not been looked after yet.
    pub(super) owes_room: bool,
    /// It is being started and counts among those that may be at once.
    pub(super) has_place: bool,
    /// Since when the invocation that has it has it.
    pub(super) busy_since: Instant,
    /// It is in its turn, and its function has as many turns as any other.
    pub(super) turn: Option<bool>,
    /// What runs in it began with a turn.
    pub(super) had_turn: bool,
    /// The CPU time that it has used beyond its share of the time, and when that was worked out.
    pub(super) spent: Duration,
    pub(super) spent_at: Instant,
    /// It has used so much that it may soon be made to pause: others come first.
    pub(super) is_spent: bool,
    /// When the clock looks at it next. It may be too early, but never too late.
    pub(super) due: Option<Instant>,
}

impl Environment {
    /// Notes the CPU time of a run. Beyond its share an environment is made to pause until its next period.
    pub(super) fn spend(&mut self, cpu: Duration, now: Instant) {
        let share = |time: Duration| {
            let memory_mb = u32::try_from(self.memory_mb).unwrap_or(u32::MAX);
            time.saturating_mul(memory_mb) / MEMORY_MB_OF_ONE_CPU
        };
        let regained = share(now.saturating_duration_since(self.spent_at));
        // Of a period's share, half is left for what is not seen here.
        let enough = share(CPU_PERIOD) / 2;
        self.spent = self.spent.saturating_sub(regained) + cpu;
        self.spent_at = now;
        // What reserves nothing has its share together with others.
        let has_share = (1..MEMORY_MB_OF_ONE_CPU.into()).contains(&self.memory_mb);
        self.is_spent = has_share && self.spent > enough;
    }
}

/// Live environments that are there for something else than the invocation that waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) provisioned: u32,
    /// Those of them that are being started.
    pub(super) provisioned_starting: u32,
    pub(super) templates: u32,
    pub(super) prewarmed: u32,
}

impl Kept {
    pub(super) const fn of(&mut self, purpose: Purpose) -> Option<&mut u32> {
        match purpose {
            Purpose::OnDemand => None,
            Purpose::Prewarmed => Some(&mut self.prewarmed),
            Purpose::Provisioned => Some(&mut self.provisioned),
            Purpose::SnapStart => Some(&mut self.templates),
        }
    }
}

/// Whether a revision has a template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SnapStart {
    #[default]
    Off,
    /// Somebody waits for the first one, since then: it is started like one for an invocation.
    First { since: Instant },
    /// One is kept when there is room for it.
    Kept,
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

    /// Environments that are idle, or will be in a moment.
    pub(super) const fn at_hand(&self) -> u32 {
        self.idle + self.coming()
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
    pub(super) kept: Kept,
    /// Starts that take long and have given up their places.
    pub(super) slow: u32,
    /// Idle environments; the one used last is at the end and is used next, so that the others grow old.
    pub(super) idle: Vec<Slot>,
    /// Idle environments that are provisioned: these are used first.
    pub(super) idle_provisioned: Vec<Slot>,
    /// Idle templates, of which there is one: used when there is nothing else.
    pub(super) idle_templates: Vec<Slot>,
    pub(super) waiters: VecDeque<Waiter>,
    /// Invocations that were admitted and are not over.
    pub(super) in_flight: u32,
    /// Whether those that wait do so beside idle environments, for a turn.
    pub(super) is_in_line: bool,
    /// Whether runs compute, or wait for something.
    pub(super) pace: Pace,
    /// How long a run takes, by those that ended last.
    pub(super) run: Option<Duration>,
    /// When it is looked at whether those that wait for an environment in use have waited long enough.
    pub(super) patient_until: Option<Instant>,
    /// How many environments are kept started.
    pub(super) provisioned: u32,
    pub(super) snap_start: SnapStart,
    /// A call is expected, and an environment is to be there before it.
    pub(super) wants_prewarm: bool,
    /// Whether it is listed among those that want an environment started in the background.
    pub(super) is_in_background: bool,
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
    pub(super) fn new(revision: Arc<Revision>, is_retiring: bool) -> Self {
        Self {
            revision,
            counts: Counts::default(),
            kept: Kept::default(),
            slow: 0,
            idle: Vec::new(),
            idle_provisioned: Vec::new(),
            idle_templates: Vec::new(),
            waiters: VecDeque::new(),
            in_flight: 0,
            is_in_line: false,
            pace: Pace::default(),
            run: None,
            patient_until: None,
            provisioned: 0,
            snap_start: SnapStart::Off,
            wants_prewarm: false,
            is_in_background: false,
            is_retiring,
            failures: 0,
            retry_at: None,
            setbacks: 0,
            failure: None,
        }
    }

    /// Whether it can be forgotten.
    pub(super) fn is_empty(&self) -> bool {
        self.counts.live() + self.counts.ending + self.in_flight + self.provisioned == 0
            && self.snap_start == SnapStart::Off
            && !self.wants_prewarm
    }

    /// The idle environment that is used next.
    pub(super) fn next_idle(&self) -> Option<Slot> {
        let shelves = [&self.idle_provisioned, &self.idle, &self.idle_templates];
        shelves.into_iter().find_map(|shelf| shelf.last().copied())
    }

    /// Whether more are provisioned than there are to be.
    pub(super) const fn has_surplus(&self) -> bool {
        self.kept.provisioned > self.provisioned
    }

    /// Whether an environment that nobody uses is still wanted for what it is there for.
    pub(super) fn has_use_for(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::OnDemand | Purpose::Prewarmed => true,
            Purpose::Provisioned => !self.has_surplus(),
            Purpose::SnapStart => self.snap_start != SnapStart::Off,
        }
    }

    /// Provisioned environments that serve, or will in a moment.
    pub(super) const fn available(&self) -> u32 {
        self.kept.provisioned - self.kept.provisioned_starting
    }

    /// Live environments that time may end.
    pub(super) const fn spare(&self) -> u32 {
        self.counts.live() - self.kept.provisioned - self.kept.templates
    }

    /// Whether an attempt to start one ahead may be made now.
    pub(super) fn may_try(&self, now: Instant) -> bool {
        self.retry_at.is_none_or(|at| at <= now)
    }

    /// What of the scope's concurrency this revision takes: what is provisioned is set aside, used or not.
    pub(super) fn charge(&self) -> u32 {
        self.in_flight.max(self.provisioned)
    }

    /// Notes how long a run took.
    pub(super) fn learn(&mut self, run: Duration) {
        self.run = Some(self.run.map_or(run, |known| (known * 7 + run) / 8));
    }

    /// Those that wait and for whom no environment is there or is coming.
    fn uncovered(&self) -> impl Iterator<Item = &Waiter> {
        self.waiters.iter().skip(self.counts.at_hand() as usize)
    }

    /// When the first of those that are [patient](Self::patient) has waited for long enough.
    pub(super) fn patient_until(&self, patience: Duration, now: Instant) -> Option<Instant> {
        if self.patient(patience, now) == 0 {
            return None;
        }
        self.uncovered()
            .map(|waiter| waiter.since + patience)
            .find(|at| *at > now)
    }

    /// How many of those that wait without being covered need no environment of their own, for one that is in use
    /// comes free in time.
    pub(super) fn patient(&self, patience: Duration, now: Instant) -> u32 {
        let Some(run) = self.run.filter(|run| *run < patience) else {
            return 0;
        };
        let turns = patience.as_micros() / run.as_micros().max(1);
        let soon = u128::from(self.counts.busy) * turns;
        let overdue = self
            .uncovered()
            .take_while(|waiter| waiter.since + patience <= now)
            .count();
        let waiting = self.waiters.len().saturating_sub(self.counts.at_hand() as usize);
        let soon = usize::try_from(soon).unwrap_or(usize::MAX);
        u32::try_from((waiting - overdue).min(soon)).unwrap_or(u32::MAX)
    }

    fn shelf(&mut self, purpose: Purpose) -> &mut Vec<Slot> {
        match purpose {
            Purpose::OnDemand | Purpose::Prewarmed => &mut self.idle,
            Purpose::Provisioned => &mut self.idle_provisioned,
            Purpose::SnapStart => &mut self.idle_templates,
        }
    }

    pub(super) fn shelve(&mut self, slot: Slot, purpose: Purpose, is_spent: bool) {
        let shelf = self.shelf(purpose);
        if is_spent {
            shelf.insert(0, slot);
        } else {
            shelf.push(slot);
        }
    }

    pub(super) fn unshelve(&mut self, slot: Slot, purpose: Purpose) {
        let shelf = self.shelf(purpose);
        if shelf.last() == Some(&slot) {
            shelf.pop();
        } else {
            shelf.retain(|other| *other != slot);
        }
    }

    /// Notes that an environment could not be started ahead or did not last, and when to try again.
    pub(super) fn set_back(&mut self, now: Instant, failure: String) -> Instant {
        let pause = Duration::from_secs(1 << self.setbacks.min(6)).min(LONGEST_PAUSE);
        self.setbacks = self.setbacks.saturating_add(1);
        self.failure = Some(failure);
        let at = now + pause;
        self.retry_at = Some(at);
        at
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
    /// Runs that are in their turn.
    pub(super) turns: u32,
    /// Whether it is in the ring.
    pub(super) is_listed: bool,
    /// How its calls follow each other.
    pub(super) rhythm: Rhythm,
}
