//! Whose turn it is to run: short runs that compute take turns on the processors.
//!
//! More runs at once than there are processors do not end sooner; they only push each other out of the caches and make
//! everybody else wait for their time slices. So a call of a function whose runs are short and compute waits for its
//! turn, even beside an idle environment, and the environment that has just answered takes the next event. A function
//! of which nothing runs never waits for the turns of others, and who holds the fewest turns is next. A function that is
//! alone has thrice as many turns: each run pauses while the server hands it the next event, and more of them fill the
//! processors; in company that would be the others' delay.
//!
//! Whether a function's runs compute is a guess ([`Pace`]), and a wrong one has to be cheap: a run that goes on for
//! longer than a turn gives its turn up, a function whose runs seem to wait is given more turns as long as they do not
//! become slower by it, and nobody stands in line for longer than
//! [`Options::patience_in_line`](crate::Options::patience_in_line).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ephyra_core::id::{FunctionName, RevisionId};

use super::pool::{Pool, Stage};
use super::{Effect, Scheduler, Slot};

/// A run that spends so much time without computing waits for something, and another could compute meanwhile; or it
/// waits for a processor, as all do when the machine is full, and another would make it wait longer.
const WAITS: Duration = Duration::from_millis(1);
/// A share of all runs.
const ALL: u32 = 1 << 16;
/// How much a run counts for what is thought of its function: one in so many.
const WEIGHT: u32 = 16;
/// How long a function whose runs wait takes no turns, at first and at most.
const FIRST_LEAVE: Duration = Duration::from_millis(250);
const LONGEST_LEAVE: Duration = Duration::from_secs(60);
/// How long a function to which more turns were of no use is given no more, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Runs by which it is seen whether more turns are of use, after those that have begun before.
const TRIAL: u32 = 32;
const BEFORE_TRIAL: u32 = 16;
/// How many times as many turns a function is given at most, before it takes none.
const WIDEST: u32 = 16;

/// How many times as many turns a function has that is alone.
const ALONE: u32 = 3;
/// How long after a call of another function one is not alone.
const COMPANY: Duration = Duration::from_secs(10);

/// Whether a function's runs are short and compute.
#[derive(Debug)]
pub(super) struct Pace {
    /// The share of its runs that do not, by those that ended last.
    waiting: u32,
    /// How long its runs take that begin with a turn, by those that ended last.
    took: Duration,
    /// How many times as many turns it has.
    width: u32,
    /// Since it has more of them.
    trial: Option<Trial>,
    /// Until when it is given no more turns than it has.
    paused_until: Option<Instant>,
    pause: Duration,
    /// Until when it takes no turns.
    leave_until: Option<Instant>,
    /// How long it takes none the next time.
    leave: Duration,
}

/// Runs with more turns than before: where they wait for something else than a processor, they take as long as ever.
#[derive(Debug)]
struct Trial {
    /// How long a run took before.
    before: Duration,
    runs: u32,
    /// How long those that count took together.
    took: Duration,
}

impl Default for Pace {
    /// Of a function that never ran, the best is thought, and little is needed to think otherwise.
    fn default() -> Self {
        Self {
            waiting: ALL / 4,
            took: Duration::ZERO,
            width: 1,
            trial: None,
            paused_until: None,
            pause: FIRST_PAUSE,
            leave_until: None,
            leave: FIRST_LEAVE,
        }
    }
}

impl Pace {
    pub(super) fn takes_turns(&self, now: Instant) -> bool {
        self.leave_until.is_none_or(|until| until <= now)
    }

    /// Notes whether a run in its turn waited for something.
    fn learn(&mut self, is_waiting: bool, now: Instant) {
        if !self.takes_turns(now) {
            return;
        }
        self.waiting -= self.waiting / WEIGHT;
        if is_waiting {
            self.waiting += ALL / WEIGHT;
        }
        if self.trial.is_some() {
            return;
        }
        if self.waiting > ALL / 2 {
            self.widen(now);
        } else if self.waiting < ALL / 16 {
            self.width = 1;
            self.pause = FIRST_PAUSE;
            self.leave = FIRST_LEAVE;
        }
    }

    /// Notes how long a run took that began with a turn.
    fn ended(&mut self, took: Duration, now: Instant) {
        let known = if self.took.is_zero() { took } else { self.took };
        self.took = (known * (WEIGHT - 1) + took) / WEIGHT;
        let Some(trial) = &mut self.trial else {
            return;
        };
        trial.runs += 1;
        if trial.runs > BEFORE_TRIAL {
            trial.took += took;
        }
        if trial.runs < BEFORE_TRIAL + TRIAL {
            return;
        }
        if trial.took / TRIAL > trial.before * 5 / 4 {
            self.width = 1;
            self.waiting = ALL / 4;
            self.paused_until = Some(now + self.pause);
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
        self.trial = None;
    }

    /// Its runs seem to wait: more of them at once, and in the end all.
    fn widen(&mut self, now: Instant) {
        if self.paused_until.is_some_and(|until| now < until) {
            return;
        }
        if self.width < WIDEST {
            self.width *= 2;
            self.trial = Some(Trial {
                before: self.took,
                runs: 0,
                took: Duration::ZERO,
            });
        } else {
            self.width = 1;
            self.waiting = ALL / 4;
            self.leave_until = Some(now + self.leave);
            self.leave = (self.leave * 2).min(LONGEST_LEAVE);
        }
    }
}

/// The turns that are taken, and who waits for one.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Runs in their turn, by their beginning.
    held: BTreeSet<(Instant, Slot)>,
    /// Those of them whose function had no more turns than any other.
    narrow: u32,
    /// Revisions whose calls wait beside idle environments.
    pub(super) line: Vec<RevisionId>,
    /// What was called last, and when.
    last: Option<(RevisionId, Instant)>,
    /// Until when no function is alone.
    shared_until: Option<Instant>,
}

impl Turns {
    /// Notes what is called.
    pub(super) fn note(&mut self, revision: RevisionId, now: Instant) {
        if let Some((other, at)) = self.last.replace((revision, now))
            && other != revision
        {
            self.shared_until = Some(at + COMPANY);
        }
    }

    /// Whether several functions were called lately.
    fn are_shared(&self, now: Instant) -> bool {
        self.shared_until.is_some_and(|until| now < until)
    }
}

impl Scheduler {
    /// Whether a call may run beside an idle environment of its revision, or stands in line.
    pub(super) fn may_run(&mut self, revision: RevisionId, now: Instant, effects: &mut Vec<Effect>) -> bool {
        let Some(pool) = self.pools.get(&revision) else {
            return true;
        };
        if !self.takes_turns(pool, now) {
            return true;
        }
        if !pool.waiters.is_empty() {
            return false;
        }
        if self.has_turn(pool, now) {
            return true;
        }
        self.end_turns(now, effects);
        self.pools
            .get(&revision)
            .is_none_or(|pool| !self.takes_turns(pool, now) || (pool.waiters.is_empty() && self.has_turn(pool, now)))
    }

    /// Whether the environment that has just answered takes the next of its own revision's calls.
    pub(super) fn goes_on(&self, slot: Slot, now: Instant) -> bool {
        let Some(environment) = self.environments.get(&slot) else {
            return false;
        };
        let Some(pool) = self.pools.get(&environment.revision) else {
            return false;
        };
        if environment.stage == Stage::Starting || !self.takes_turns(pool, now) {
            return true;
        }
        if environment.is_spent && pool.counts.idle > 0 {
            return false;
        }
        let own = self.turns_of(&pool.revision.function);
        let is_first = |other: &RevisionId| {
            let other = self.pools.get(other);
            other.is_some_and(|other| self.turns_of(&other.revision.function) < own)
        };
        own == 0 || (self.has_turn(pool, now) && !self.turns.line.iter().any(is_first))
    }

    /// A run begins; it takes a turn if its function takes turns.
    pub(super) fn take_turn(&mut self, slot: Slot, now: Instant) {
        let Some(environment) = self.environments.get_mut(&slot) else {
            return;
        };
        let Some(pool) = self.pools.get(&environment.revision) else {
            return;
        };
        // The first run of an environment is its slowest, and tells nothing of the others.
        let takes_turns = self.options.turns > 0 && pool.pace.takes_turns(now);
        environment.had_turn = takes_turns && !environment.is_unused;
        if !environment.had_turn {
            return;
        }
        let is_narrow = pool.pace.width == 1;
        environment.turn = Some(is_narrow);
        self.turns.narrow += u32::from(is_narrow);
        self.turns.held.insert((environment.busy_since, slot));
        if let Some(function) = self.functions.get_mut(&pool.revision.function) {
            function.turns += 1;
        }
    }

    /// A run is over; it computed for `cpu`.
    pub(super) fn end_turn(&mut self, slot: Slot, cpu: Duration, now: Instant) {
        let is_in_turn = self.give_up_turn(slot).is_some();
        let Some(environment) = self.environments.get(&slot).filter(|environment| environment.had_turn) else {
            return;
        };
        if let Some(pool) = self.pools.get_mut(&environment.revision) {
            let took = now.saturating_duration_since(environment.busy_since);
            pool.pace.ended(took, now);
            if is_in_turn {
                pool.pace.learn(took.saturating_sub(cpu) >= WAITS, now);
            }
        }
    }

    /// Takes the turn of an environment away, and gives the time at which it began.
    pub(super) fn give_up_turn(&mut self, slot: Slot) -> Option<Instant> {
        let environment = self.environments.get_mut(&slot)?;
        let is_narrow = environment.turn.take()?;
        let since = environment.busy_since;
        self.turns.narrow -= u32::from(is_narrow);
        self.turns.held.remove(&(since, slot));
        if let Some(pool) = self.pools.get(&environment.revision)
            && let Some(function) = self.functions.get_mut(&pool.revision.function)
        {
            function.turns -= 1;
        }
        Some(since)
    }

    /// Ends the turns of runs that go on for longer than one.
    pub(super) fn end_turns(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        while let Some((since, slot)) = self.turns.held.first().copied()
            && since + self.options.turn <= now
        {
            self.give_up_turn(slot);
            let Some(revision) = self.environments.get(&slot).map(|environment| environment.revision) else {
                continue;
            };
            if let Some(pool) = self.pools.get_mut(&revision) {
                pool.pace.learn(true, now);
            }
            self.settle(revision, now, effects);
        }
    }

    /// Serves those of a revision that need not stand in line any longer, and has the clock look after the others.
    pub(super) fn serve_own(&mut self, revision: RevisionId, now: Instant, effects: &mut Vec<Effect>) {
        while let Some(pool) = self.pools.get(&revision)
            && let Some(waiter) = pool.waiters.front()
            && let Some(slot) = pool.next_idle()
            && (!self.takes_turns(pool, now)
                || waiter.since + self.options.patience_in_line <= now
                || self.turns_of(&pool.revision.function) == 0)
        {
            self.grant(slot, now, effects);
        }
        self.note_line(revision);
    }

    /// Lists a revision whose calls wait beside idle environments, and no other.
    pub(super) fn note_line(&mut self, revision: RevisionId) {
        let Some(pool) = self.pools.get_mut(&revision) else {
            return;
        };
        let is_in_line = !pool.waiters.is_empty() && pool.counts.idle > 0;
        if is_in_line && !pool.is_in_line {
            self.turns.line.push(revision);
        } else if !is_in_line && pool.is_in_line {
            self.turns.line.retain(|other| *other != revision);
        }
        pool.is_in_line = is_in_line;
    }

    /// Gives the turns that are free to those in line, first to the function that holds the fewest.
    pub(super) fn serve_line(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        loop {
            let turns = |revision: &RevisionId| {
                let pool = self.pools.get(revision).filter(|pool| self.has_turn(pool, now))?;
                Some((self.turns_of(&pool.revision.function), pool.next_idle()?, *revision))
            };
            let next = self
                .turns
                .line
                .iter()
                .filter_map(turns)
                .min_by_key(|(turns, ..)| *turns);
            let Some((_, slot, revision)) = next else {
                break;
            };
            self.grant(slot, now, effects);
            self.serve_own(revision, now, effects);
            // Those that are no longer in line, for nothing is idle, wait for environments again.
            self.list_wanted(revision, now);
            self.be_patient(revision, now);
            self.list_background(revision, now);
        }
        if !self.ring.is_empty() {
            self.dispatch(now, effects);
        }
        self.wake_for_turns(now);
    }

    /// Has the clock end turns, and give those that come with being alone, while somebody stands in line.
    pub(super) fn wake_for_turns(&mut self, now: Instant) {
        if self.turns.line.is_empty() {
            return;
        }
        let over = self.turns.held.first().map(|(since, _)| *since + self.options.turn);
        let alone = self.turns.shared_until.filter(|until| now < *until);
        over.into_iter().chain(alone).for_each(|at| self.wake_by(at));
    }

    /// An idle environment is no longer at hand: those that stand in line beside it may want another.
    pub(super) fn settle_line(&mut self, slot: Slot, now: Instant, effects: &mut Vec<Effect>) {
        let revision = self.environments.get(&slot).map(|environment| environment.revision);
        if let Some(revision) = revision
            && self.pools.get(&revision).is_some_and(|pool| pool.is_in_line)
        {
            self.settle(revision, now, effects);
        }
    }

    /// A function's calls wait for their turns only while it takes any; those of a revision that is to go never do.
    pub(super) fn takes_turns(&self, pool: &Pool, now: Instant) -> bool {
        self.options.turns > 0 && !pool.is_retiring && pool.pace.takes_turns(now)
    }

    /// Whether there is a turn for a function.
    pub(super) fn has_turn(&self, pool: &Pool, now: Instant) -> bool {
        let own = self.turns_of(&pool.revision.function);
        let width = pool.pace.width;
        let turns = self.turns_at_once(now);
        own == 0
            || if width > 1 {
                own < width * turns
            } else {
                self.turns.narrow < turns
            }
    }

    /// How many turns there are.
    pub(super) fn turns_at_once(&self, now: Instant) -> u32 {
        let times = if self.turns.are_shared(now) { 1 } else { ALONE };
        self.options.turns * times
    }

    fn turns_of(&self, name: &FunctionName) -> u32 {
        self.functions.get(name).map_or(0, |function| function.turns)
    }
}
