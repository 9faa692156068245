//! Which environment is started next, and which has to make room for it.
//!
//! Functions that want a start take turns in a ring; one start is one turn. A function for which there is no room does
//! not hold up those behind it that fit, until it has waited for `yield_after`: from then on the room is kept for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ephyra_core::environment::Purpose;
use ephyra_core::id::{FunctionName, RevisionId};
use ephyra_core::revision::Revision;

use super::pool::{Environment, LAUNCH_TRIES, Pool, SnapStart, Stage};
use super::{Effect, Phase, Scheduler, Slot};

/// Room is made ahead for environments of at most this part of the memory: of larger ones too few would be left warm.
const ROOM_AHEAD: u64 = 16;
/// How many functions that wait are looked at when an environment's next use is decided.
const LOOKED_AT: usize = 8;

/// Environments that a revision wants started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    revision: RevisionId,
    memory_mb: u64,
    count: u32,
    purpose: Purpose,
    /// Since when the first that waits for one does; `None`: nobody waits.
    since: Option<Instant>,
}

impl Wanted {
    /// One environment for which nobody waits.
    pub(super) const fn ahead(revision: &Revision, memory_mb: u64, purpose: Purpose) -> Self {
        Self {
            revision: revision.id,
            memory_mb,
            count: 1,
            purpose,
            since: None,
        }
    }
}

impl Scheduler {
    /// What a revision wants first: an environment for each that waits and is not covered, then what is provisioned,
    /// then a template that somebody waits for.
    pub(super) fn wanted_by(&self, pool: &Pool, now: Instant) -> Option<Wanted> {
        if self.phase == Phase::Closed {
            return None;
        }
        let wanted = |purpose, count, since| Wanted {
            revision: pool.revision.id,
            memory_mb: self.options.reserved_mb(&pool.revision),
            count,
            purpose,
            since,
        };
        let coming = pool.counts.at_hand();
        let waiting = u32::try_from(pool.waiters.len()).unwrap_or(u32::MAX);
        let mut count = waiting.saturating_sub(coming);
        if count > 0 {
            count = count.saturating_sub(pool.patient(self.patience_of(pool, now), now));
        }
        if pool.is_in_line && self.takes_turns(pool, now) && self.is_fresh(pool) {
            // They wait for their turns, and not for environments.
            count = 0;
        }
        if pool.failures >= LAUNCH_TRIES {
            count = count.min(1_u32.saturating_sub(pool.counts.starting));
        }
        if count > 0 {
            let since = pool.waiters.get(coming as usize).map(|waiter| waiter.since);
            return Some(wanted(Purpose::OnDemand, count, since));
        }
        if self.phase != Phase::Serving || !pool.may_try(now) {
            return None;
        }
        let count = pool.provisioned.saturating_sub(pool.kept.provisioned);
        if count > 0 {
            return Some(wanted(Purpose::Provisioned, count, None));
        }
        match pool.snap_start {
            SnapStart::First { since } if pool.kept.templates == 0 => Some(wanted(Purpose::SnapStart, 1, Some(since))),
            _ => None,
        }
    }

    /// Whether the environment that is used next has not yet used its share of CPU time.
    fn is_fresh(&self, pool: &Pool) -> bool {
        let next = pool.next_idle().and_then(|slot| self.environments.get(&slot));
        next.is_some_and(|environment| !environment.is_spent)
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
        while turn < self.ring.len() && self.places < self.options.max_starting {
            let name = self.ring[turn].clone();
            let Some(wanted) = self.wanted(&name, now) else {
                self.ring.remove(turn);
                let function = self.functions.get_mut(&name);
                let pools = function.map(|function| {
                    function.is_listed = false;
                    function.pools.clone()
                });
                // Those that wanted environments may have become patient meanwhile: somebody has to look after them.
                for revision in pools.into_iter().flatten() {
                    self.be_patient(revision, now);
                }
                continue;
            };
            let has_one = self
                .pools
                .get(&wanted.revision)
                .is_some_and(|pool| pool.counts.live() > 0);
            if has_one && self.places >= self.options.max_growing {
                turn += 1;
                continue;
            }
            if self.slow_of(&name) >= self.options.max_starting {
                // What its starts wait for, or compute, is its own; more of them would take from the others.
                turn += 1;
                continue;
            }
            let free = self.options.memory_mb.saturating_sub(self.reserved_mb);
            let spare = (free + self.ending_mb).saturating_sub(earmarked);
            if wanted.memory_mb <= free.min(spare) {
                self.start(wanted, now, effects);
                // It goes to the end of the ring; whoever follows now stands at `turn`.
                self.ring.remove(turn);
                self.ring.push_back(name);
                continue;
            }
            let places = wanted.count.min(self.options.max_starting - self.places);
            let made = self.make_room(wanted.memory_mb, places, spare, effects);
            if made == 0 && self.is_due(wanted, now) {
                break;
            }
            earmarked += made;
            turn += 1;
        }
    }

    pub(super) fn start(&mut self, wanted: Wanted, now: Instant, effects: &mut Vec<Effect>) {
        let slot = Slot(self.number());
        let Some(pool) = self.pools.get_mut(&wanted.revision) else {
            return;
        };
        let purpose = wanted.purpose;
        pool.counts.enter(Stage::Starting);
        if let Some(kept) = pool.kept.of(purpose) {
            *kept += 1;
        }
        match purpose {
            Purpose::OnDemand => {}
            Purpose::Prewarmed => self.starting_ahead += 1,
            Purpose::Provisioned => pool.kept.provisioned_starting += 1,
            Purpose::SnapStart => {
                self.starting_ahead += 1;
                self.template_mb += wanted.memory_mb;
            }
        }
        let revision = Arc::clone(&pool.revision);
        self.counts.enter(Stage::Starting);
        self.places += 1;
        self.reserved_mb += wanted.memory_mb;
        let environment = Environment {
            revision: wanted.revision,
            memory_mb: wanted.memory_mb,
            stage: Stage::Starting,
            started: now,
            purpose,
            is_unused: true,
            owes_room: purpose == Purpose::OnDemand,
            has_place: true,
            busy_since: now,
            turn: None,
            had_turn: false,
            spent: Duration::ZERO,
            spent_at: now,
            is_spent: false,
            due: None,
        };
        self.environments.insert(slot, environment);
        self.look_by(slot, now + self.options.slow_after);
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

    /// Makes room for another environment like this one, which was started for somebody and has done its first run: where memory is
    /// full, the next function's first call would wait until one that is idle has ended. To be called while it is busy,
    /// so that it does not make room itself.
    pub(super) fn make_room_ahead(&mut self, slot: Slot, effects: &mut Vec<Effect>) {
        let Some(environment) = self.environments.get_mut(&slot) else {
            return;
        };
        let memory_mb = environment.memory_mb;
        let owes_room = std::mem::take(&mut environment.owes_room);
        // Those that wait look after themselves.
        if !owes_room || !self.ring.is_empty() || memory_mb > self.options.memory_mb / ROOM_AHEAD {
            return;
        }
        let coming = self.options.memory_mb.saturating_sub(self.reserved_mb) + self.ending_mb;
        if coming < memory_mb {
            self.evict(memory_mb - coming, effects);
        }
    }

    /// Ends the least recently used idle environments, templates among them, until `lacking_mb` is regained; none if
    /// all would not do.
    fn evict(&mut self, lacking_mb: u64, effects: &mut Vec<Effect>) -> u64 {
        let mut idle: Vec<_> = self
            .environments
            .iter()
            .filter(|(_, environment)| environment.purpose != Purpose::Provisioned)
            .filter_map(|(slot, environment)| match environment.stage {
                // To end what reserves nothing would help nobody.
                Stage::Idle { since, .. } if environment.memory_mb > 0 => Some((since, *slot, environment.memory_mb)),
                _ => None,
            })
            .collect();
        idle.sort_unstable();
        let mut regained = 0;
        let count = idle
            .iter()
            .take_while(|(_, _, memory_mb)| {
                let is_lacking = regained < lacking_mb;
                regained += if is_lacking { *memory_mb } else { 0 };
                is_lacking
            })
            .count();
        if regained < lacking_mb {
            return 0;
        }
        for (_, slot, _) in &idle[..count] {
            self.end(*slot, effects);
            let revision = self.environments.get(slot).map(|environment| environment.revision);
            if let Some(revision) = revision
                && let Some(pool) = self.pools.get(&revision)
                && pool.is_in_line
            {
                // Those that stood in line beside it may want another one now.
                let name = pool.revision.function.clone();
                self.note_line(revision);
                self.list(&name);
            }
        }
        regained
    }

    /// Whether an environment that was just used has to make room for another function, although invocations of its
    /// own revision wait for it. It has been in use for a while, so that most time goes into runs and not into starts,
    /// and the other function has nothing, or would still have less than this one.
    pub(super) fn has_to_yield(&self, slot: Slot, now: Instant) -> bool {
        if self.ring.is_empty() || self.places >= self.options.max_starting {
            return false;
        }
        let Some(environment) = self.environments.get(&slot) else {
            return false;
        };
        if environment.purpose == Purpose::Provisioned {
            return false;
        }
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
            .map(|pool| u64::from(pool.counts.live()) * self.options.reserved_mb(&pool.revision))
            .sum()
    }

    /// A function's live environments that time may end.
    pub(super) fn spare_of(&self, name: &FunctionName) -> u32 {
        let pools = self
            .functions
            .get(name)
            .into_iter()
            .flat_map(|function| &function.pools);
        pools
            .filter_map(|revision| self.pools.get(revision))
            .map(Pool::spare)
            .sum()
    }

    /// A function's starts that take long.
    fn slow_of(&self, name: &FunctionName) -> u32 {
        let pools = self
            .functions
            .get(name)
            .into_iter()
            .flat_map(|function| &function.pools);
        let pools = pools.filter_map(|revision| self.pools.get(revision));
        pools.map(|pool| pool.slow).sum()
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
