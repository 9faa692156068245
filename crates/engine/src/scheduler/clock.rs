//! What happens by the passing of time: idle environments are frozen, then ended; provisioned ones are tried again.

use std::time::Instant;

use super::pool::Stage;
use super::{Effect, Phase, Scheduler};

impl Scheduler {
    /// Does what is due at `now`, and finds out when to be called again.
    pub(crate) fn tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.wake_at = None;
        if self.phase == Phase::Closed {
            return;
        }
        let mut idle: Vec<_> = self
            .environments
            .iter()
            .filter_map(|(slot, environment)| match environment.stage {
                Stage::Idle { since, is_frozen } => Some((since, *slot, is_frozen, environment.revision)),
                _ => None,
            })
            .collect();
        // The oldest first: of a pool that may spare some, those end.
        idle.sort_unstable();
        for (since, slot, is_frozen, revision) in idle {
            let can_spare = self.pools.get(&revision).is_some_and(super::Pool::can_spare);
            if can_spare && now >= since + self.options.keep_alive {
                self.end(slot, effects);
            } else if is_frozen {
                if can_spare {
                    self.wake_by(since + self.options.keep_alive);
                }
            } else if now >= since + self.options.freeze_after {
                self.shift(slot, Stage::Parking { since });
                effects.push(Effect::Freeze { slot });
            } else {
                self.wake_by(since + self.options.freeze_after.min(self.options.keep_alive));
            }
        }
        self.retry_provisioned(now, effects);
    }

    fn retry_provisioned(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let retries: Vec<_> = self
            .pools
            .values()
            .filter(|pool| pool.provisioned > pool.counts.live())
            .filter_map(|pool| Some((pool.revision.id, pool.retry_at?)))
            .collect();
        for (revision, at) in retries {
            if at <= now {
                self.settle(revision, now, effects);
            } else {
                self.wake_by(at);
            }
        }
    }
}
