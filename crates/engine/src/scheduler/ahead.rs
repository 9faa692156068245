//! What is started in the background: templates of versions with SnapStart, and environments for calls that are
//! expected.
//!
//! Nobody waits for these, so they never make another environment end, leave a part of the memory and half of the
//! places to those that somebody waits for, and come after them. Only the first template of a version, for which its
//! publication waits, is started like one for an invocation (`demand`).

use std::sync::Arc;
use std::time::Instant;

use ephyra_core::compute::SnapStartError;
use ephyra_core::environment::Purpose;
use ephyra_core::id::RevisionId;
use ephyra_core::revision::Revision;

use super::demand::Wanted;
use super::pool::{Pool, SnapStart};
use super::{Effect, Phase, Scheduler};

/// Calls that are expected at once; of more, the later ones are not prepared for.
const EXPECTED: usize = 4096;
/// The part of the memory that is left to those that somebody waits for.
const HEADROOM: u64 = 10;
/// The part of the memory that templates made in the background may fill.
const TEMPLATES: u64 = 2;

/// A call that is expected.
pub(super) struct Expected {
    revision: Arc<Revision>,
    /// The end of the last call before it: another one since, and it is no longer expected.
    idle_since: Instant,
}

/// What became of environments started for calls that were expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Forecasts {
    /// The call came.
    pub(crate) right: u64,
    /// The environment was ended without a call.
    pub(crate) wrong: u64,
    /// There was no room for an environment.
    pub(crate) skipped: u64,
}

impl Scheduler {
    /// Has an environment of `revision` started at `at`, unless its function is called before.
    pub(super) fn expect(&mut self, revision: RevisionId, idle_since: Instant, at: Instant) {
        if self.expected.len() >= EXPECTED {
            self.forecasts.skipped += 1;
            return;
        }
        let Some(revision) = self.pools.get(&revision).map(|pool| Arc::clone(&pool.revision)) else {
            return;
        };
        let number = self.number();
        self.expected.insert((at, number), Expected { revision, idle_since });
        self.wake_by(at);
    }

    /// A revision is retired: no call of it is expected.
    pub(super) fn expect_no_more(&mut self, revision: RevisionId) {
        self.expected.retain(|_, expected| expected.revision.id != revision);
    }

    /// Starts environments for the calls that are due to be expected.
    pub(super) fn prepare_expected(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        while let Some(entry) = self.expected.first_entry()
            && entry.key().0 <= now
        {
            let expected = entry.remove();
            if !self.is_still_expected(&expected) {
                continue;
            }
            let pool = self.pool_mut(&expected.revision);
            pool.wants_prewarm = true;
            let revision = pool.revision.id;
            self.settle(revision, now, effects);
        }
        if let Some(((at, _), _)) = self.expected.first_key_value() {
            self.wake_by(*at);
        }
    }

    fn is_still_expected(&self, expected: &Expected) -> bool {
        let revision = &expected.revision;
        if self.phase != Phase::Serving || self.retired.contains(&revision.id) {
            return false;
        }
        let function = self.functions.get(&revision.function);
        let rhythm = match function {
            Some(function) => Some(&function.rhythm),
            None => self.rhythms.get(&revision.function),
        };
        let is_unchanged = rhythm.is_some_and(|rhythm| rhythm.idle_since == Some(expected.idle_since));
        let is_stopped = function.is_some_and(|function| function.reserved == Some(0));
        is_unchanged && !is_stopped && self.spare_of(&revision.function) == 0
    }

    /// Lists a revision that wants something started in the background.
    pub(super) fn list_background(&mut self, revision: RevisionId, now: Instant) {
        let phase = self.phase;
        if let Some(pool) = self.pools.get_mut(&revision)
            && wanted_ahead(pool, phase, now).is_some()
            && !std::mem::replace(&mut pool.is_in_background, true)
        {
            self.background.push_back(revision);
        }
    }

    /// Starts what is wanted in the background, as far as nobody waits and there is room to spare.
    pub(super) fn dispatch_background(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let places = (self.options.max_starting / 2).max(1);
        // Each is looked at once at most.
        for _ in 0..self.background.len() {
            let is_free =
                self.ring.is_empty() && self.places < self.options.max_starting && self.starting_ahead < places;
            let Some(revision) = self.background.front().copied().filter(|_| is_free) else {
                return;
            };
            self.background.pop_front();
            let Some(pool) = self.pools.get_mut(&revision) else {
                continue;
            };
            let Some(purpose) = wanted_ahead(pool, self.phase, now) else {
                pool.is_in_background = false;
                continue;
            };
            let memory_mb = self.options.reserved_mb(&pool.revision);
            let limit_mb = self.options.memory_mb;
            let free_mb = limit_mb.saturating_sub(self.reserved_mb);
            let has_room = free_mb >= memory_mb + limit_mb / HEADROOM
                && (purpose != Purpose::SnapStart || self.template_mb + memory_mb <= limit_mb / TEMPLATES);
            if has_room {
                pool.is_in_background = false;
                pool.wants_prewarm = false;
                let wanted = Wanted::ahead(&pool.revision, memory_mb, purpose);
                self.start(wanted, now, effects);
            } else if purpose == Purpose::Prewarmed {
                // Later is too late.
                pool.is_in_background = false;
                pool.wants_prewarm = false;
                self.forecasts.skipped += 1;
                if self.pools.get(&revision).is_some_and(Pool::is_empty) {
                    self.forget(revision, effects);
                }
            } else {
                // When something has ended the next one is looked at, so that a large one does not hold up others.
                self.background.push_back(revision);
                return;
            }
        }
    }

    /// Keeps a template of a revision, or none. Of a revision that is retired, none.
    pub(crate) fn set_snap_start(
        &mut self,
        revision: &Arc<Revision>,
        is_on: bool,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let phase = self.phase;
        let pool = self.pool_mut(revision);
        if !is_on || pool.is_retiring || phase != Phase::Serving {
            pool.snap_start = SnapStart::Off;
            let idle = pool.idle_templates.clone();
            self.tell_template(revision.id, Err(SnapStartError::Undone), effects);
            for slot in idle {
                self.end(slot, effects);
            }
        } else if pool.snap_start == SnapStart::Off {
            pool.snap_start = SnapStart::Kept;
        }
        self.settle(revision.id, now, effects);
    }

    /// Makes a template at once, with an [`Effect::Template`] when it stands ready or cannot.
    pub(crate) fn first_template(&mut self, revision: &Arc<Revision>, now: Instant, effects: &mut Vec<Effect>) {
        let (phase, limit_mb) = (self.phase, self.options.memory_mb);
        let needs_mb = self.options.reserved_mb(revision);
        let pool = self.pool_mut(revision);
        let id = revision.id;
        let outcome = if pool.is_retiring || phase != Phase::Serving {
            Some(Err(SnapStartError::Undone))
        } else if needs_mb > limit_mb {
            Some(Err(SnapStartError::Launch(format!(
                "the function needs {needs_mb} MB, and this machine gives {limit_mb} MB to all environments together"
            ))))
        } else if !pool.idle_templates.is_empty() {
            Some(Ok(()))
        } else {
            pool.retry_at = None;
            pool.snap_start = SnapStart::First { since: now };
            None
        };
        if let Some(outcome) = outcome {
            effects.push(Effect::Template { revision: id, outcome });
        }
        self.settle(id, now, effects);
    }

    /// Tells those that wait for the first template of a revision what became of it.
    pub(super) fn tell_template(
        &mut self,
        revision: RevisionId,
        outcome: Result<(), SnapStartError>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(pool) = self.pools.get_mut(&revision) else {
            return;
        };
        if matches!(pool.snap_start, SnapStart::First { .. }) {
            pool.snap_start = SnapStart::Kept;
        }
        effects.push(Effect::Template { revision, outcome });
    }
}

/// What a revision wants started in the background.
fn wanted_ahead(pool: &Pool, phase: Phase, now: Instant) -> Option<Purpose> {
    if phase != Phase::Serving || pool.is_retiring {
        None
    } else if pool.snap_start == SnapStart::Kept && pool.kept.templates == 0 && pool.may_try(now) {
        Some(Purpose::SnapStart)
    } else {
        pool.wants_prewarm.then_some(Purpose::Prewarmed)
    }
}
