//! The scheduler's pure core: it is told what happened and at what time, and answers with [`Effect`]s to carry out.
//!
//! Read `pool` (what is known of a revision and its environments), `admission` (who may run), `events` (what happens
//! to environments and to those that wait for one), `demand` (which environment is started next, and which has to
//! make room for it), `steer` (what the control plane decides), `clock` (what happens by the passing of time).
//!
//! **Invariant:** an environment that is busy is held by exactly one invocation, and one that waits is covered by a
//! start, or listed in the ring of functions that want one, or behind an environment that is in use.

mod admission;
mod clock;
mod demand;
mod events;
mod pool;
mod snapshot;
mod steer;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use ephyra_core::environment::{LaunchError, Purpose};
use ephyra_core::id::{FunctionName, RevisionId};
use ephyra_core::invocation::ThrottleReason;
use ephyra_core::revision::Revision;

use crate::options::Options;
use admission::Account;
pub(crate) use pool::Counts;
use pool::{Environment, Function, Pool, Stage};
pub use snapshot::{FunctionSnapshot, Snapshot};

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
    /// The revisions retired last: one that was resolved before may still arrive after.
    retired: VecDeque<RevisionId>,
    counts: Counts,
    waiting: usize,
    reserved_mb: u64,
    /// The part of `reserved_mb` whose environments are ending.
    ending_mb: u64,
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
            retired: VecDeque::new(),
            counts: Counts::default(),
            waiting: 0,
            reserved_mb: 0,
            ending_mb: 0,
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

    /// The pool of a revision, made when there is none.
    fn pool_mut(&mut self, revision: &Arc<Revision>) -> &mut Pool {
        let retired = &self.retired;
        let functions = &mut self.functions;
        self.pools.entry(revision.id).or_insert_with(|| {
            functions
                .entry(revision.function.clone())
                .or_default()
                .pools
                .push(revision.id);
            Pool::new(Arc::clone(revision), retired.contains(&revision.id))
        })
    }

    /// Moves an environment from its stage to another, and keeps every count right.
    fn shift(&mut self, slot: Slot, to: Stage) {
        let Some(environment) = self.environments.get_mut(&slot) else {
            return;
        };
        let from = std::mem::replace(&mut environment.stage, to);
        if to == Stage::Ending && from != Stage::Ending {
            self.ending_mb += environment.memory_mb;
        }
        if let Some(pool) = self.pools.get_mut(&environment.revision) {
            pool.counts.shift(from, to);
            if matches!(from, Stage::Idle { .. }) {
                pool.unshelve(slot);
            }
            if matches!(to, Stage::Idle { .. }) {
                pool.idle.push(slot);
            }
        }
        self.counts.shift(from, to);
    }

    /// Forgets an environment of which nothing is left.
    fn remove(&mut self, slot: Slot) -> Option<Environment> {
        let environment = self.environments.remove(&slot)?;
        self.reserved_mb -= environment.memory_mb;
        if environment.stage == Stage::Ending {
            self.ending_mb -= environment.memory_mb;
        }
        if let Some(pool) = self.pools.get_mut(&environment.revision) {
            pool.counts.leave(environment.stage);
            pool.unshelve(slot);
        }
        self.counts.leave(environment.stage);
        Some(environment)
    }

    fn end(&mut self, slot: Slot, effects: &mut Vec<Effect>) {
        self.shift(slot, Stage::Ending);
        effects.push(Effect::End { slot });
    }

    /// What follows each change of a pool: it is listed when it wants a start, forgotten when nothing is left of it,
    /// and whoever can be served is served.
    fn settle(&mut self, revision: RevisionId, now: Instant, effects: &mut Vec<Effect>) {
        if let Some(pool) = self.pools.get(&revision) {
            if self.wanted_by(pool, now).is_some() {
                let name = pool.revision.function.clone();
                self.list(&name);
            } else if pool.is_empty() {
                self.forget(revision, effects);
            }
        }
        if !self.ring.is_empty() {
            self.dispatch(now, effects);
        }
    }

    fn forget(&mut self, revision: RevisionId, effects: &mut Vec<Effect>) {
        let Some(pool) = self.pools.remove(&revision) else {
            return;
        };
        if pool.is_retiring {
            effects.push(Effect::Retired { revision });
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
            && self.functions.remove(name).is_some_and(|function| function.is_listed)
        {
            self.ring.retain(|listed| listed != name);
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
