//! The scheduler's pure core: it is told what happened and at what time, and answers with [`Effect`]s to carry out.
//!
//! Read `pool` (what is known of a revision and its environments), `admission` (who may run), `events` (what happens
//! to environments and to those that wait for one), `demand` (which environment is started next, and which has to
//! make room for it), `steer` (what the control plane decides), `clock` (what happens by the passing of time), `rhythm`
//! (when a function's next call is expected), `ahead` (what is started in the background: templates, and environments
//! for calls that are expected).
//!
//! **Invariant:** an environment that is busy is held by exactly one invocation, and one that waits is covered by a
//! start, or listed in the ring of functions that want one, or behind an environment that is in use.

mod admission;
mod ahead;
mod clock;
mod demand;
mod events;
mod pool;
mod rhythm;
mod rhythms;
mod snapshot;
mod steer;
#[cfg(test)]
mod tests;
mod turns;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ephyra_core::compute::SnapStartError;
use ephyra_core::environment::{LaunchError, Purpose};
use ephyra_core::id::{FunctionName, RevisionId};
use ephyra_core::invocation::ThrottleReason;
use ephyra_core::revision::Revision;

use crate::options::Options;
use admission::Account;
use ahead::Expected;
pub(crate) use ahead::Forecasts;
pub(crate) use pool::Counts;
use pool::{Environment, Function, Pool, Stage};
use rhythms::Rhythms;
pub use snapshot::{FunctionSnapshot, Snapshot};
use turns::Turns;

/// One environment, from the decision to start it until nothing is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Slot(u64);

/// One invocation that waits for an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// What the shell has to do. Each effect is carried out once, in order.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    /// Start an environment, then report `started` or `launch_failed`.
    Start {
        slot: Slot,
        revision: Arc<Revision>,
        purpose: Purpose,
    },
    /// Give the environment to one that waits; report `released` when its run is over.
    Grant { ticket: Ticket, lease: Lease },
    /// Tell one that waits that no environment could be started.
    Fail { ticket: Ticket, error: LaunchError },
    /// Tell one that waits that the platform goes down.
    Dismiss { ticket: Ticket },
    /// End the environment, then report `ended`.
    End { slot: Slot },
    /// Freeze the environment, then report `parked`.
    Freeze { slot: Slot },
    /// Nothing is left of a retired revision.
    Retired { revision: RevisionId },
    /// The first template of a revision stands ready, or there is none.
    Template {
        revision: RevisionId,
        outcome: Result<(), SnapStartError>,
    },
}

/// An environment in the hands of one invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) slot: Slot,
    /// Whether the invocation waited for this environment's start, or is the first to use one that was not started
    /// ahead of demand.
    pub(crate) cold: bool,
}

/// How an admitted invocation goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// With an environment that was idle.
    Run(Lease),
    /// By waiting for a [`Effect::Grant`], [`Effect::Fail`] or [`Effect::Dismiss`].
    Wait(Ticket),
}

/// Why an invocation is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Draining,
    Throttled(ThrottleReason),
    /// It could not run if it were alone on the machine.
    TooLarge {
        needs_mb: u64,
        limit_mb: u64,
    },
}

/// What became of one that does not want to wait any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GiveUp {
    /// It is forgotten.
    Gone,
    /// An environment is being started for it: it has to wait for the end of that.
    Covered,
    /// It does not wait: it was answered.
    Answered,
}

/// From serving to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Nothing new is admitted; what was admitted is served.
    Draining,
    /// Nothing is started, and everything idle is ended.
    Closed,
}

/// The state of all scheduling on one machine.
pub(crate) struct Scheduler {
    options: Options,
    phase: Phase,
    account: Account,
    /// Revisions with an environment, an invocation or a provision.
    pools: HashMap<RevisionId, Pool>,
    /// Functions with a pool or a reservation.
    functions: HashMap<FunctionName, Function>,
    environments: HashMap<Slot, Environment>,
    /// Functions that want an environment started, in the order of their turns.
    ring: VecDeque<FunctionName>,
    /// Runs that take turns, and who waits for one.
    turns: Turns,
    /// Revisions that want an environment started in the background, in the order of their turns.
    background: VecDeque<RevisionId>,
    /// Calls that are expected, by the time at which an environment is to be there.
    expected: BTreeMap<(Instant, u64), Expected>,
    /// What became of environments started for calls that were expected.
    forecasts: Forecasts,
    /// Rhythms of functions of which nothing else is known.
    rhythms: Rhythms,
    /// The revisions retired last: one that was resolved before may still arrive after.
    retired: VecDeque<RevisionId>,
    counts: Counts,
    waiting: usize,
    reserved_mb: u64,
    /// The part of `reserved_mb` whose environments are ending.
    ending_mb: u64,
    /// Environments that are being started and count among those that may be at once.
    places: u32,
    /// Environments that are being started in the background.
    starting_ahead: u32,
    /// The memory of templates, in MB.
    template_mb: u64,
    /// When which environment is looked at.
    timers: BTreeSet<(Instant, Slot)>,
    /// When what could not be started ahead is tried again.
    retries: BTreeSet<(Instant, RevisionId)>,
    /// No later than the next moment at which `tick` has something to do.
    wake_at: Option<Instant>,
    next: u64,
}

impl Scheduler {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            account: Account::new(options.account_concurrency),
            options,
            phase: Phase::Serving,
            pools: HashMap::new(),
            functions: HashMap::new(),
            environments: HashMap::new(),
            ring: VecDeque::new(),
            turns: Turns::default(),
            background: VecDeque::new(),
            expected: BTreeMap::new(),
            forecasts: Forecasts::default(),
            rhythms: Rhythms::default(),
            retired: VecDeque::new(),
            counts: Counts::default(),
            waiting: 0,
            reserved_mb: 0,
            ending_mb: 0,
            places: 0,
            starting_ahead: 0,
            template_mb: 0,
            timers: BTreeSet::new(),
            retries: BTreeSet::new(),
            wake_at: None,
            next: 0,
        }
    }

    /// When [`Scheduler::tick`] is to be called next; `None`: not before something else happens.
    pub(crate) const fn wake_at(&self) -> Option<Instant> {
        self.wake_at
    }

    /// Environments by state.
    pub(crate) const fn counts(&self) -> Counts {
        self.counts
    }

    /// Memory reserved by environments, in MB.
    pub(crate) const fn reserved_mb(&self) -> u64 {
        self.reserved_mb
    }

    /// Invocations that were admitted and are not over.
    pub(crate) const fn in_flight(&self) -> u32 {
        self.account.in_flight()
    }

    /// Whether no environment is left, not even one that is ending.
    pub(crate) fn is_empty(&self) -> bool {
        self.environments.is_empty()
    }

    fn wake_by(&mut self, at: Instant) {
        self.wake_at = Some(self.wake_at.map_or(at, |set| set.min(at)));
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// What became of environments started for calls that were expected.
    pub(crate) const fn forecasts(&self) -> Forecasts {
        self.forecasts
    }

    /// A function's row, made when there is none.
    fn function_mut(&mut self, name: &FunctionName) -> &mut Function {
        let rhythms = &mut self.rhythms;
        self.functions.entry(name.clone()).or_insert_with(|| Function {
            rhythm: rhythms.take(name),
            ..Function::default()
        })
    }

    /// The pool of a revision, made when there is none.
    fn pool_mut(&mut self, revision: &Arc<Revision>) -> &mut Pool {
        if !self.pools.contains_key(&revision.id) {
            self.function_mut(&revision.function).pools.push(revision.id);
        }
        let retired = &self.retired;
        self.pools
            .entry(revision.id)
            .or_insert_with(|| Pool::new(Arc::clone(revision), retired.contains(&revision.id)))
    }

    /// Moves an environment from its stage to another, and keeps every count right.
    fn shift(&mut self, slot: Slot, to: Stage) {
        let Some(environment) = self.environments.get_mut(&slot) else {
            return;
        };
        let from = std::mem::replace(&mut environment.stage, to);
        let (purpose, memory_mb, revision) = (environment.purpose, environment.memory_mb, environment.revision);
        let is_spent = environment.is_spent;
        if to == Stage::Ending && from != Stage::Ending {
            self.ending_mb += memory_mb;
        }
        if from == Stage::Starting {
            self.leave_start(slot);
        }
        if let Some(pool) = self.pools.get_mut(&revision) {
            pool.counts.shift(from, to);
            if matches!(from, Stage::Idle { .. }) {
                pool.unshelve(slot, purpose);
            }
            if matches!(to, Stage::Idle { .. }) {
                pool.shelve(slot, purpose, is_spent);
            }
        }
        self.counts.shift(from, to);
        if to == Stage::Ending && from != Stage::Ending {
            self.drop_purpose(slot, false);
        }
    }

    /// An environment is no longer being started.
    fn leave_start(&mut self, slot: Slot) {
        let Some(environment) = self.environments.get_mut(&slot) else {
            return;
        };
        let had_place = std::mem::take(&mut environment.has_place);
        let pool = self.pools.get_mut(&environment.revision);
        match environment.purpose {
            Purpose::Prewarmed | Purpose::SnapStart => self.starting_ahead -= 1,
            Purpose::OnDemand | Purpose::Provisioned => {}
        }
        if had_place {
            self.places -= 1;
        }
        if let Some(pool) = pool {
            if !had_place {
                pool.slow -= 1;
            }
            if environment.purpose == Purpose::Provisioned {
                pool.kept.provisioned_starting -= 1;
            }
        }
    }

    /// An environment is from now on there for whoever comes, or is gone, and no longer what it was kept for.
    fn drop_purpose(&mut self, slot: Slot, is_used: bool) {
        let Some(environment) = self.environments.get_mut(&slot) else {
            return;
        };
        let purpose = std::mem::replace(&mut environment.purpose, Purpose::OnDemand);
        if let Some(pool) = self.pools.get_mut(&environment.revision)
            && let Some(count) = pool.kept.of(purpose)
        {
            *count -= 1;
        }
        match purpose {
            Purpose::SnapStart => self.template_mb -= environment.memory_mb,
            Purpose::Prewarmed if is_used => self.forecasts.right += 1,
            Purpose::Prewarmed => self.forecasts.wrong += 1,
            Purpose::OnDemand | Purpose::Provisioned => {}
        }
    }

    /// Has the clock look at an environment at `at`, or before.
    fn look_by(&mut self, slot: Slot, at: Instant) {
        let Some(environment) = self.environments.get_mut(&slot) else {
            return;
        };
        match environment.due {
            Some(due) if due <= at => return,
            Some(due) => {
                self.timers.remove(&(due, slot));
            }
            None => {}
        }
        environment.due = Some(at);
        self.timers.insert((at, slot));
        self.wake_by(at);
    }

    /// Forgets an environment of which nothing is left.
    fn remove(&mut self, slot: Slot) -> Option<Environment> {
        self.give_up_turn(slot);
        let stage = self.environments.get(&slot)?.stage;
        let purpose = self.environments.get(&slot)?.purpose;
        if stage == Stage::Starting {
            self.leave_start(slot);
        }
        if stage != Stage::Ending {
            self.drop_purpose(slot, false);
        }
        let mut environment = self.environments.remove(&slot)?;
        environment.purpose = purpose;
        if let Some(due) = environment.due {
            self.timers.remove(&(due, slot));
        }
        self.reserved_mb -= environment.memory_mb;
        if stage == Stage::Ending {
            self.ending_mb -= environment.memory_mb;
        }
        if let Some(pool) = self.pools.get_mut(&environment.revision) {
            pool.counts.leave(stage);
            if matches!(stage, Stage::Idle { .. }) {
                pool.unshelve(slot, purpose);
            }
        }
        self.counts.leave(stage);
        Some(environment)
    }

    /// Notes that an environment that was to be kept could not be started or did not last.
    fn set_back(&mut self, revision: RevisionId, purpose: Purpose, now: Instant, failure: String) {
        if !matches!(purpose, Purpose::Provisioned | Purpose::SnapStart) {
            return;
        }
        if let Some(pool) = self.pools.get_mut(&revision) {
            let at = pool.set_back(now, failure);
            self.retries.insert((at, revision));
            self.wake_by(at);
        }
    }

    fn end(&mut self, slot: Slot, effects: &mut Vec<Effect>) {
        self.shift(slot, Stage::Ending);
        effects.push(Effect::End { slot });
    }

    /// What follows each change of a pool: it is listed when it wants a start, forgotten when nothing is left of it,
    /// and whoever can be served is served.
    fn settle(&mut self, revision: RevisionId, now: Instant, effects: &mut Vec<Effect>) {
        self.serve_own(revision, now, effects);
        self.list_wanted(revision, now);
        if self.pools.get(&revision).is_some_and(Pool::is_empty) {
            self.forget(revision, effects);
        }
        self.be_patient(revision, now);
        self.list_background(revision, now);
        if !self.ring.is_empty() {
            self.dispatch(now, effects);
        }
        if !self.background.is_empty() {
            self.dispatch_background(now, effects);
        }
        if !self.turns.line.is_empty() {
            self.serve_line(now, effects);
        }
    }

    /// Lists the function of a revision that wants an environment.
    fn list_wanted(&mut self, revision: RevisionId, now: Instant) {
        if let Some(pool) = self.pools.get(&revision)
            && self.wanted_by(pool, now).is_some()
        {
            let name = pool.revision.function.clone();
            self.list(&name);
        }
    }

    /// Has the clock look after those that stand in line, or wait for an environment in use.
    fn be_patient(&mut self, revision: RevisionId, now: Instant) {
        let Some(pool) = self.pools.get(&revision).filter(|pool| !pool.waiters.is_empty()) else {
            return;
        };
        let patience = self.patience_of(pool, now);
        let in_line = pool.waiters.front().filter(|_| pool.is_in_line);
        let in_line = in_line.map(|waiter| waiter.since + self.options.patience_in_line);
        let at = in_line.into_iter().chain(pool.patient_until(patience, now)).min();
        if let Some(at) = at
            && let Some(pool) = self.pools.get_mut(&revision)
            && pool.patient_until.is_none_or(|until| at < until)
        {
            pool.patient_until = Some(at);
            self.retries.insert((at, revision));
            self.wake_by(at);
        }
    }

    /// How long a call waits for an environment in use before another is started. When there are as many as can have
    /// turns, another one would only stand in line.
    fn patience_of(&self, pool: &Pool, now: Instant) -> Duration {
        if self.takes_turns(pool, now) && pool.counts.live() >= self.turns_at_once(now) {
            self.options.patience_in_line
        } else {
            self.options.patience
        }
    }

    fn forget(&mut self, revision: RevisionId, effects: &mut Vec<Effect>) {
        let Some(pool) = self.pools.remove(&revision) else {
            return;
        };
        if pool.is_retiring {
            effects.push(Effect::Retired { revision });
        }
        if pool.is_in_background {
            self.background.retain(|listed| *listed != revision);
        }
        let name = &pool.revision.function;
        if let Some(function) = self.functions.get_mut(name) {
            function.pools.retain(|other| *other != revision);
        }
        self.forget_function(name);
    }

    fn forget_function(&mut self, name: &FunctionName) {
        let is_used = |function: &Function| !function.pools.is_empty() || function.reserved.is_some();
        if self.functions.get(name).is_some_and(|function| !is_used(function))
            && let Some((name, function)) = self.functions.remove_entry(name)
        {
            if function.is_listed {
                self.ring.retain(|listed| *listed != name);
            }
            self.rhythms.put(name, function.rhythm);
        }
    }

    fn list(&mut self, name: &FunctionName) {
        if let Some(function) = self.functions.get_mut(name)
            && !std::mem::replace(&mut function.is_listed, true)
        {
            self.ring.push_back(name.clone());
        }
    }
}
