//! What happens by the passing of time: idle environments are frozen, then ended, and perhaps started again before the
//! next call; starts that take long give up their place; what could not be started ahead is tried again.
//!
//! Each environment is looked at when it is due, which may be too early, for it was used since, but never too late. So
//! a call costs no timer, and a tick only what is due.

use std::time::{Duration, Instant};

use ephyra_core::environment::Purpose;

use super::pool::Stage;
use super::rhythm::{LINGER, Plan};
use super::{Effect, Phase, Scheduler, Slot};

/// How often an idle environment is looked at, for what is known of its function may have changed.
const LOOK_AGAIN: Duration = Duration::from_secs(120);
/// Starts that take long, for each place: beyond, they keep their places.
const SLOW_STARTS: u32 = 16;

/// What becomes of an idle environment in time.
struct Fate {
    /// When it is ended; `None`: not by time.
    ends: Option<Instant>,
    /// When another is to be started in its stead, and the end of the last call before.
    returns: Option<(Instant, Instant)>,
}

impl Scheduler {
    /// Does what is due at `now`, and finds out when to be called again.
    pub(crate) fn tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.wake_at = None;
        if self.phase == Phase::Closed {
            return;
        }
        while let Some((at, slot)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.pop_first();
            if let Some(environment) = self.environments.get_mut(&slot) {
                environment.due = None;
            }
            self.look_at(slot, now, effects);
        }
        if !self.turns.line.is_empty() {
            self.end_turns(now, effects);
            self.serve_line(now, effects);
        }
        while let Some((at, revision)) = self.retries.first().copied()
            && at <= now
        {
            self.retries.pop_first();
            if let Some(pool) = self.pools.get_mut(&revision)
                && pool.patient_until.is_some_and(|until| until <= now)
            {
                pool.patient_until = None;
            }
            self.settle(revision, now, effects);
        }
        self.prepare_expected(now, effects);
        let next = [
            self.timers.first().map(|(at, _)| *at),
            self.retries.first().map(|(at, _)| *at),
        ];
        next.into_iter().flatten().for_each(|at| self.wake_by(at));
        self.wake_for_turns(now);
    }

    fn look_at(&mut self, slot: Slot, now: Instant, effects: &mut Vec<Effect>) {
        let Some(environment) = self.environments.get_mut(&slot) else {
            return;
        };
        match environment.stage {
            Stage::Starting => {
                let at = environment.started + self.options.slow_after;
                if now < at {
                    self.look_by(slot, at);
                } else if self.counts.starting - self.places < SLOW_STARTS * self.options.max_starting
                    && std::mem::take(&mut environment.has_place)
                {
                    // What still goes on is the function's own, and others are not to wait for it.
                    self.places -= 1;
                    let revision = environment.revision;
                    if let Some(pool) = self.pools.get_mut(&revision) {
                        pool.slow += 1;
                    }
                    self.settle(revision, now, effects);
                }
            }
            Stage::Idle { since, is_frozen } => self.look_at_idle(slot, since, is_frozen, now, effects),
            // It is looked at again when it is idle.
            Stage::Parking { .. } | Stage::Busy | Stage::Ending => {}
        }
    }

    fn look_at_idle(&mut self, slot: Slot, since: Instant, is_frozen: bool, now: Instant, effects: &mut Vec<Effect>) {
        let fate = self.fate(slot, since, now);
        let freezes = since + self.options.freeze_after;
        if let Some(at) = fate.ends
            && at <= now
        {
            if let Some((at, idle_since)) = fate.returns
                && let Some(revision) = self.environments.get(&slot).map(|environment| environment.revision)
            {
                self.expect(revision, idle_since, at);
            }
            self.end(slot, effects);
            self.settle_line(slot, now, effects);
        } else if is_frozen {
            if let Some(at) = fate.ends {
                self.look_by(slot, at.min(now + LOOK_AGAIN));
            }
        } else if now >= freezes {
            self.shift(slot, Stage::Parking { since });
            effects.push(Effect::Freeze { slot });
            self.settle_line(slot, now, effects);
        } else {
            self.look_by(slot, fate.ends.map_or(freezes, |at| at.min(freezes)));
        }
    }

    /// What becomes of an environment that is idle since `since`. While its function runs, or has other environments,
    /// it has the fixed keep-alive; the last one goes by the function's rhythm.
    fn fate(&mut self, slot: Slot, since: Instant, now: Instant) -> Fate {
        let never = Fate {
            ends: None,
            returns: None,
        };
        let by = |ends| Fate {
            ends: Some(ends),
            returns: None,
        };
        let Some(environment) = self.environments.get(&slot) else {
            return never;
        };
        let purpose = environment.purpose;
        if matches!(purpose, Purpose::Provisioned | Purpose::SnapStart) {
            return never;
        }
        let keep_alive = self.options.keep_alive;
        let fixed = by(since + keep_alive);
        if !self.options.is_adaptive {
            return fixed;
        }
        let Some(name) = self
            .pools
            .get(&environment.revision)
            .map(|pool| pool.revision.function.clone())
        else {
            return fixed;
        };
        let others = self.spare_of(&name).saturating_sub(1);
        let Some(function) = self.functions.get_mut(&name) else {
            return fixed;
        };
        let Some(idle_since) = function.rhythm.idle_since else {
            return fixed;
        };
        let Plan { from, until } = function.rhythm.plan(keep_alive);
        // It may have been started after the last call.
        let least = since + LINGER;
        let until = (idle_since + until).max(least);
        if purpose == Purpose::Prewarmed {
            return by(until);
        }
        let from = idle_since + from;
        if now < from && from > least {
            return Fate {
                ends: Some(least),
                returns: (others == 0).then_some((from, idle_since)),
            };
        }
        if others == 0 {
            by(until)
        } else {
            by(until.min(since + keep_alive))
        }
    }
}
