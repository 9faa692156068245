//! Which environment is started next, and which has to make room for it.
//!
//! Functions that want a start take turns in a ring; one start is one turn. A function for which there is no room does
//! not hold up those behind it that fit, until it has waited for `yield_after`: from then on the room is kept for it.

use std::sync::Arc;
use std::time::Instant;

use ephyra_core::environment::Purpose;
use ephyra_core::id::{FunctionName, RevisionId};

use super::pool::{Environment, LAUNCH_TRIES, Pool, Stage};
use super::{Effect, Phase, Scheduler, Slot};

/// How many functions that wait are looked at when an environment's next use is decided.
const LOOKED_AT: usize = 8;

/// Environments that a revision wants started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    revision: RevisionId,
    memory_mb: u64,
    count: u32,
    /// Since when the first invocation waits for one; `None`: they are started ahead.
    since: Option<Instant>,
}

impl Scheduler {
    /// What a revision wants: an environment for each that waits and is not covered, and what is provisioned.
    pub(super) fn wanted_by(&self, pool: &Pool, now: Instant) -> Option<Wanted> {
        let coming = pool.counts.coming();
        let waiting = u32::try_from(pool.waiters.len()).unwrap_or(u32::MAX);
        let mut count = waiting.saturating_sub(coming);
        if pool.failures >= LAUNCH_TRIES {
            count = count.min(1_u32.saturating_sub(pool.counts.starting));
        }
        let since = if count > 0 {
            pool.waiters.get(coming as usize).map(|waiter| waiter.since)
        } else {
            None
        };
        if self.phase == Phase::Serving && pool.retry_at.is_none_or(|at| at <= now) {
            count = count.max(pool.provisioned.saturating_sub(pool.counts.live()));
        }
        (count > 0 && self.phase != Phase::Closed).then(|| Wanted {
            revision: pool.revision.id,
            memory_mb: u64::from(pool.revision.memory_mb),
            count,
            since,
        })
    }

    /// What a function wants most: first for the one that waits longest.
    fn wanted(&self, name: &FunctionName, now: Instant) -> Option<Wanted> {
        self.functions
            .get(name)?
            .pools
            .iter()
            .filter_map(|revision| self.wanted_by(self.pools.get(revision)?, now))
            .min_by_key(|wanted| (wanted.since.is_none(), wanted.since))
    }

    /// Starts what is wanted and fits, turn by turn, and makes room by ending idle environments.
    pub(super) fn dispatch(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        // What ending environments will give back and is meant for a function that was looked at before.
        let mut earmarked = 0;
        let mut turn = 0;
        while turn < self.ring.len() && self.counts.starting < self.options.max_starting {
            let name = self.ring[turn].clone();
            let Some(wanted) = self.wanted(&name, now) else {
                self.ring.remove(turn);
                if let Some(function) = self.functions.get_mut(&name) {
                    function.is_listed = false;
                }
                continue;
            };
            let free = self.options.memory_mb.saturating_sub(self.reserved_mb);
            let spare = (free + self.ending_mb).saturating_sub(earmarked);
            if wanted.memory_mb <= free.min(spare) {
                self.start(wanted, now, effects);
                // It goes to the end of the ring; whoever follows now stands at `turn`.
                self.ring.remove(turn);
                self.ring.push_back(name);
                continue;
            }
            let places = wanted.count.min(self.options.max_starting - self.counts.starting);
            let made = self.make_room(wanted.memory_mb, places, spare, effects);
            if made == 0 && self.is_due(wanted, now) {
                break;
            }
            earmarked += made;
            turn += 1;
        }
    }

    fn start(&mut self, wanted: Wanted, now: Instant, effects: &mut Vec<Effect>) {
        let slot = Slot(self.number());
        let Some(pool) = self.pools.get_mut(&wanted.revision) else {
            return;
        };
        pool.counts.enter(Stage::Starting);
        self.counts.enter(Stage::Starting);
        self.reserved_mb += wanted.memory_mb;
        let purpose = match wanted.since {
            Some(_) => Purpose::OnDemand,
            None => Purpose::Provisioned,
        };
        let environment = Environment {
            revision: wanted.revision,
            memory_mb: wanted.memory_mb,
            stage: Stage::Starting,
            started: now,
            is_ahead: purpose == Purpose::Provisioned,
            is_unused: true,
        };
        self.environments.insert(slot, environment);
        let revision = Arc::clone(&pool.revision);
        effects.push(Effect::Start {
            slot,
            revision,
            purpose,
        });
    }

    /// Sees to it that up to `places` environments of `memory_mb` will fit, and returns the memory that is to be kept
    /// for them. Idle environments are only ended when that makes room for at least one more.
    fn make_room(&mut self, memory_mb: u64, places: u32, mut spare: u64, effects: &mut Vec<Effect>) -> u64 {
        let mut kept = 0;
        for _ in 0..places {
            if spare < memory_mb {
                spare += self.evict(memory_mb - spare, effects);
            }
            if spare < memory_mb {
                break;
            }
            spare -= memory_mb;
            kept += memory_mb;
        }
        kept
    }

    /// Ends the least recently used idle environments until `lacking_mb` is regained; none if all would not do.
    fn evict(&mut self, lacking_mb: u64, effects: &mut Vec<Effect>) -> u64 {
        let mut idle: Vec<_> = self
            .environments
            .iter()
            .filter_map(|(slot, environment)| match environment.stage {
                Stage::Idle { since, .. } => Some((since, *slot, environment.memory_mb, environment.revision)),
                _ => None,
            })
            .collect();
        idle.sort_unstable();
        let mut victims = Vec::new();
        let mut regained = 0;
        let mut taken = std::collections::HashMap::new();
        for (_, slot, memory_mb, revision) in idle {
            if regained >= lacking_mb {
                break;
            }
            let Some(pool) = self.pools.get(&revision) else {
                continue;
            };
            let already: &mut u32 = taken.entry(revision).or_default();
            if pool.counts.live() - *already > pool.provisioned {
                *already += 1;
                regained += memory_mb;
                victims.push(slot);
            }
        }
        if regained < lacking_mb {
            return 0;
        }
        for slot in victims {
            self.end(slot, effects);
        }
        regained
    }

    /// Whether an environment that was just used has to make room for another function, although invocations of its
    /// own revision wait for it. It has been in use for a while, so that most time goes into runs and not into starts,
    /// and the other function has nothing, or would still have less than this one.
    pub(super) fn has_to_yield(&self, slot: Slot, now: Instant) -> bool {
        if self.ring.is_empty() || self.counts.starting >= self.options.max_starting {
            return false;
        }
        let Some(environment) = self.environments.get(&slot) else {
            return false;
        };
        let Some(pool) = self.pools.get(&environment.revision) else {
            return false;
        };
        if pool.waiters.is_empty() || now < environment.started + self.options.yield_after {
            return false;
        }
        let own = &pool.revision.function;
        let own_mb = self.memory_of(own);
        let coming = self.options.memory_mb.saturating_sub(self.reserved_mb) + self.ending_mb;
        self.ring
            .iter()
            .filter(|name| *name != own)
            .take(LOOKED_AT)
            .any(|name| {
                self.wanted(name, now).is_some_and(|wanted| {
                    let other_mb = self.memory_of(name);
                    let has_less = other_mb == 0 || other_mb + wanted.memory_mb < own_mb;
                    has_less && wanted.memory_mb > coming && self.is_due(wanted, now)
                })
            })
    }

    /// The memory of a function's environments that serve or are started, in MB.
    fn memory_of(&self, name: &FunctionName) -> u64 {
        let pools = self
            .functions
            .get(name)
            .into_iter()
            .flat_map(|function| &function.pools);
        pools
            .filter_map(|revision| self.pools.get(revision))
            .map(|pool| u64::from(pool.counts.live()) * u64::from(pool.revision.memory_mb))
            .sum()
    }

    /// Puts the function of a revision behind all others in the ring: it has given up an environment for one of them.
    pub(super) fn step_back(&mut self, revision: RevisionId) {
        let Some(pool) = self.pools.get(&revision) else {
            return;
        };
        let own = &pool.revision.function;
        if let Some(turn) = self.ring.iter().position(|name| name == own)
            && let Some(name) = self.ring.remove(turn)
        {
            self.ring.push_back(name);
        }
    }

    /// Whether an invocation has waited for so long that others have to make room for it.
    fn is_due(&self, wanted: Wanted, now: Instant) -> bool {
        wanted
            .since
            .is_some_and(|since| now >= since + self.options.yield_after)
    }
}
