//! What happens to environments, and to the invocations that want one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ephyra_core::compute::SnapStartError;
use ephyra_core::environment::{LaunchError, Purpose};
use ephyra_core::id::RevisionId;
use ephyra_core::invocation::{FunctionError, ThrottleReason};
use ephyra_core::revision::Revision;

use super::pool::{LAUNCH_TRIES, Pool, SnapStart, Stage, Waiter};
use super::{Admission, Effect, GiveUp, Lease, Phase, Refusal, Scheduler, Slot, Ticket};

/// How much of a failure is kept to be shown.
const FAILURE_CHARACTERS: usize = 1000;

impl Scheduler {
    /// An invocation arrives.
    pub(crate) fn request(
        &mut self,
        revision: &Arc<Revision>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) -> Result<Admission, Refusal> {
        if self.phase != Phase::Serving {
            return Err(Refusal::Draining);
        }
        let needs_mb = self.options.reserved_mb(revision);
        if needs_mb > self.options.memory_mb {
            let limit_mb = self.options.memory_mb;
            return Err(Refusal::TooLarge { needs_mb, limit_mb });
        }
        self.admits(revision).map_err(Refusal::Throttled)?;
        self.turns.note(revision.id, now);
        let waiting = self
            .functions
            .get(&revision.function)
            .map_or(0, |function| function.waiting);
        let is_full = waiting >= self.options.max_queue_per_function || self.waiting >= self.options.max_queue;
        let has_idle = |pool: &Pool| pool.counts.idle > 0;
        if self.pools.get(&revision.id).is_some_and(has_idle)
            && (is_full || self.may_run(revision.id, now, effects))
            && let Some(slot) = self.pools.get(&revision.id).and_then(Pool::next_idle)
        {
            self.enter(revision.id, now);
            let is_template = self.is_template(slot);
            let lease = self.assign(slot, now);
            if is_template {
                // The next one is made.
                self.settle(revision.id, now, effects);
            }
            return Ok(Admission::Run(lease));
        }
        if is_full {
            return Err(Refusal::Throttled(ThrottleReason::CallerRateLimitExceeded));
        }
        let ticket = Ticket(self.number());
        let waiter = Waiter { ticket, since: now };
        self.pool_mut(revision).waiters.push_back(waiter);
        self.enter(revision.id, now);
        self.count_waiting(revision.id, 1);
        self.settle(revision.id, now, effects);
        Ok(Admission::Wait(ticket))
    }

    /// An invocation's run is over, or it was dropped. `used`: its environment came back, having computed for so long.
    pub(crate) fn released(&mut self, slot: Slot, used: Option<Duration>, now: Instant, effects: &mut Vec<Effect>) {
        let Some(environment) = self.environments.get_mut(&slot) else {
            return;
        };
        let (revision, busy_since) = (environment.revision, environment.busy_since);
        if let Some(cpu) = used {
            environment.spend(cpu, now);
        }
        self.leave(revision, now);
        if let Some(cpu) = used {
            self.make_room_ahead(slot, effects);
            self.end_turn(slot, cpu, now);
            if let Some(pool) = self.pools.get_mut(&revision) {
                pool.learn(now.saturating_duration_since(busy_since));
                pool.failures = 0;
                pool.setbacks = 0;
            }
            if self.has_to_yield(slot, now) {
                self.end(slot, effects);
                self.step_back(revision);
            } else {
                self.offer(slot, now, now, effects);
            }
        } else {
            self.remove(slot);
        }
        self.settle(revision, now, effects);
    }

    /// An environment was started. `init_error`: its initialisation failed by the function's fault, so that it can
    /// only answer one invocation with that failure.
    pub(crate) fn started(
        &mut self,
        slot: Slot,
        init_error: Option<FunctionError>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let Some(environment) = self.environments.get_mut(&slot) else {
            return;
        };
        environment.started = now;
        let (revision, purpose) = (environment.revision, environment.purpose);
        let is_healthy = init_error.is_none();
        let Some(pool) = self.pools.get_mut(&revision) else {
            return;
        };
        pool.failures = 0;
        if let Some(error) = &init_error {
            let document: String = String::from_utf8_lossy(&error.payload)
                .chars()
                .take(FAILURE_CHARACTERS)
                .collect();
            self.set_back(revision, purpose, now, format!("{}: {document}", error.error_type));
        }
        if purpose == Purpose::SnapStart {
            self.tell_template(
                revision,
                init_error.map_or(Ok(()), |error| Err(SnapStartError::Init(error))),
                effects,
            );
        }
        if is_healthy || self.pools.get(&revision).is_some_and(|pool| !pool.waiters.is_empty()) {
            self.offer(slot, now, now, effects);
        } else {
            self.end(slot, effects);
        }
        if let Some(pool) = self.pools.get_mut(&revision)
            && pool.available() >= pool.provisioned
        {
            pool.failure = None;
        }
        self.settle(revision, now, effects);
    }

    /// An environment could not be started: one that waits is told so, and the others are served by further starts.
    /// After [`LAUNCH_TRIES`] failures in a row, and when nothing serves or is being started any more, all are told.
    pub(crate) fn launch_failed(&mut self, slot: Slot, error: &LaunchError, now: Instant, effects: &mut Vec<Effect>) {
        let Some(environment) = self.remove(slot) else {
            return;
        };
        let revision = environment.revision;
        self.set_back(revision, environment.purpose, now, error.to_string());
        if environment.purpose == Purpose::SnapStart {
            self.tell_template(revision, Err(SnapStartError::Launch(error.to_string())), effects);
        }
        let Some(pool) = self.pools.get_mut(&revision) else {
            return;
        };
        pool.failures = pool.failures.saturating_add(1);
        let is_hopeless = pool.failures >= LAUNCH_TRIES && pool.counts.live() == 0;
        while let Some(waiter) = self.next_waiter(revision) {
            self.leave(revision, now);
            let (ticket, error) = (waiter.ticket, error.clone());
            effects.push(Effect::Fail { ticket, error });
            if !is_hopeless {
                break;
            }
        }
        self.settle(revision, now, effects);
    }

    /// An environment was frozen, or could not be and stays idle as it is.
    pub(crate) fn parked(&mut self, slot: Slot, now: Instant, effects: &mut Vec<Effect>) {
        if let Some(environment) = self.environments.get(&slot)
            && let Stage::Parking { since } = environment.stage
        {
            let revision = environment.revision;
            self.offer(slot, since, now, effects);
            self.settle(revision, now, effects);
        }
    }

    /// An idle environment has died by itself.
    pub(crate) fn died(&mut self, slot: Slot, now: Instant, effects: &mut Vec<Effect>) {
        if let Some(environment) = self.environments.get(&slot)
            && matches!(environment.stage, Stage::Idle { .. })
        {
            let (revision, purpose) = (environment.revision, environment.purpose);
            self.end(slot, effects);
            let failure = "an environment's runtime exited while it was idle".to_owned();
            self.set_back(revision, purpose, now, failure);
            self.settle(revision, now, effects);
        }
    }

    /// Nothing is left of an environment that was to be ended.
    pub(crate) fn ended(&mut self, slot: Slot, now: Instant, effects: &mut Vec<Effect>) {
        if let Some(environment) = self.remove(slot) {
            self.settle(environment.revision, now, effects);
        }
    }

    /// One that waits has waited for as long as it may.
    pub(crate) fn give_up(
        &mut self,
        ticket: Ticket,
        revision: RevisionId,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) -> GiveUp {
        let Some(pool) = self.pools.get_mut(&revision) else {
            return GiveUp::Answered;
        };
        let Some(place) = pool.waiters.iter().position(|waiter| waiter.ticket == ticket) else {
            return GiveUp::Answered;
        };
        if place < pool.counts.coming() as usize {
            return GiveUp::Covered;
        }
        pool.waiters.remove(place);
        self.count_waiting(revision, -1);
        self.leave(revision, now);
        self.settle(revision, now, effects);
        GiveUp::Gone
    }

    /// Refuses invocations from now on; what was admitted is served.
    pub(crate) fn drain(&mut self) {
        if self.phase == Phase::Serving {
            self.phase = Phase::Draining;
        }
    }

    /// Ends what is idle, and dismisses those that wait.
    pub(crate) fn close(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.phase = Phase::Closed;
        let revisions: Vec<_> = self.pools.keys().copied().collect();
        for revision in revisions {
            while let Some(waiter) = self.next_waiter(revision) {
                self.leave(revision, now);
                effects.push(Effect::Dismiss { ticket: waiter.ticket });
            }
            self.forsake(revision, effects);
            self.settle(revision, now, effects);
        }
        self.expected.clear();
    }

    /// Keeps nothing of a revision: what is idle ends now.
    pub(super) fn forsake(&mut self, revision: RevisionId, effects: &mut Vec<Effect>) {
        self.recharge(revision, |_, provisioned| *provisioned = 0);
        self.tell_template(revision, Err(SnapStartError::Undone), effects);
        let Some(pool) = self.pools.get_mut(&revision) else {
            return;
        };
        pool.snap_start = SnapStart::Off;
        pool.wants_prewarm = false;
        let shelves = [&pool.idle, &pool.idle_provisioned, &pool.idle_templates];
        let idle: Vec<_> = shelves.into_iter().flatten().copied().collect();
        for slot in idle {
            self.end(slot, effects);
        }
    }

    /// Gives an environment to the one that waits longest, or keeps it idle since `since`, or ends it.
    fn offer(&mut self, slot: Slot, since: Instant, now: Instant, effects: &mut Vec<Effect>) {
        let Some(environment) = self.environments.get(&slot) else {
            return;
        };
        let (revision, purpose) = (environment.revision, environment.purpose);
        let is_fresh = environment.stage == Stage::Starting;
        let is_frozen = matches!(environment.stage, Stage::Parking { .. });
        if self.phase == Phase::Closed {
            self.end(slot, effects);
        } else if self.goes_on(slot, now)
            && let Some(waiter) = self.next_waiter(revision)
        {
            let lease = self.assign(slot, now);
            let cold = lease.cold || is_fresh;
            let lease = Lease { cold, ..lease };
            effects.push(Effect::Grant {
                ticket: waiter.ticket,
                lease,
            });
        } else if self
            .pools
            .get(&revision)
            .is_some_and(|pool| pool.is_retiring || !pool.has_use_for(purpose))
        {
            self.end(slot, effects);
        } else {
            self.shift(slot, Stage::Idle { since, is_frozen });
            let at = if is_frozen {
                now
            } else {
                since + self.options.freeze_after
            };
            self.look_by(slot, at.max(now));
        }
    }

    /// Gives an idle environment to the one that waits longest for one of its revision.
    pub(super) fn grant(&mut self, slot: Slot, now: Instant, effects: &mut Vec<Effect>) {
        if let Some(revision) = self.environments.get(&slot).map(|environment| environment.revision)
            && let Some(waiter) = self.next_waiter(revision)
        {
            let lease = self.assign(slot, now);
            effects.push(Effect::Grant {
                ticket: waiter.ticket,
                lease,
            });
        }
    }

    /// Hands an environment to an invocation.
    fn assign(&mut self, slot: Slot, now: Instant) -> Lease {
        self.shift(slot, Stage::Busy);
        let Some(environment) = self.environments.get_mut(&slot) else {
            return Lease { slot, cold: false };
        };
        environment.busy_since = now;
        self.take_turn(slot, now);
        let Some(environment) = self.environments.get_mut(&slot) else {
            return Lease { slot, cold: false };
        };
        let purpose = environment.purpose;
        let is_first = std::mem::replace(&mut environment.is_unused, false);
        let revision = environment.revision;
        let stays =
            purpose == Purpose::Provisioned && self.pools.get(&revision).is_some_and(|pool| !pool.has_surplus());
        if !stays {
            self.drop_purpose(slot, true);
        }
        let cold = is_first && matches!(purpose, Purpose::OnDemand | Purpose::SnapStart);
        Lease { slot, cold }
    }

    fn is_template(&self, slot: Slot) -> bool {
        self.environments
            .get(&slot)
            .is_some_and(|environment| environment.purpose == Purpose::SnapStart)
    }

    /// Takes the one that waits longest out of the queue.
    fn next_waiter(&mut self, revision: RevisionId) -> Option<Waiter> {
        let waiter = self.pools.get_mut(&revision)?.waiters.pop_front()?;
        self.count_waiting(revision, -1);
        Some(waiter)
    }

    fn count_waiting(&mut self, revision: RevisionId, change: isize) {
        self.waiting = self.waiting.saturating_add_signed(change);
        if let Some(pool) = self.pools.get(&revision)
            && let Some(function) = self.functions.get_mut(&pool.revision.function)
        {
            function.waiting = function.waiting.saturating_add_signed(change);
        }
    }
}
