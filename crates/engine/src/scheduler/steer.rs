//! What the control plane decides: provisioned environments, and revisions that are no longer used.

use std::sync::Arc;
use std::time::Instant;

use ephyra_core::compute::ProvisionedStatus;
use ephyra_core::id::RevisionId;
use ephyra_core::revision::Revision;

use super::{Effect, Scheduler};

/// How many retired revisions are remembered: those that were resolved before, and arrive after, are served without
/// their environment being kept.
const RETIRED_REMEMBERED: usize = 256;

impl Scheduler {
    /// Keeps `count` environments of a revision started. Of a revision that is retired, none.
    pub(crate) fn set_provisioned(
        &mut self,
        revision: &Arc<Revision>,
        count: u32,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let limit_mb = self.options.memory_mb;
        let each_mb = self.options.reserved_mb(revision);
        let pool = self.pool_mut(revision);
        let count = if pool.is_retiring { 0 } else { count };
        pool.failure = None;
        pool.retry_at = None;
        pool.setbacks = 0;
        let needs_mb = each_mb * u64::from(count);
        if needs_mb > limit_mb {
            pool.failure = Some(format!(
                "{count} environments of {} MB need {needs_mb} MB, and this machine gives {limit_mb} MB to environments",
                each_mb
            ));
        }
        self.recharge(revision.id, |_, provisioned| *provisioned = count);
        self.end_surplus(revision.id, effects);
        self.settle(revision.id, now, effects);
    }

    /// Ends what is idle of the provisioned environments that are too many, the oldest first. What is in use or being
    /// started follows when it comes free, or is on-demand from then on.
    fn end_surplus(&mut self, revision: RevisionId, effects: &mut Vec<Effect>) {
        while let Some(pool) = self.pools.get(&revision)
            && pool.has_surplus()
            && let Some(slot) = pool.idle_provisioned.first().copied()
        {
            self.end(slot, effects);
        }
    }

    /// How far a revision's provisioned environments have come.
    pub(crate) fn provisioned(&self, revision: RevisionId) -> ProvisionedStatus {
        self.pools
            .get(&revision)
            .map(|pool| ProvisionedStatus {
                available: pool.available().min(pool.provisioned),
                allocated: pool.kept.provisioned.min(pool.provisioned),
                failure: pool.failure.clone(),
            })
            .unwrap_or_default()
    }

    /// Stops using a revision; [`Effect::Retired`] follows when nothing of it is left. Returns `false` when that is so
    /// already. Those that wait are still served: they were admitted when the revision was in use.
    pub(crate) fn retire(&mut self, revision: RevisionId, now: Instant, effects: &mut Vec<Effect>) -> bool {
        if !self.retired.contains(&revision) {
            self.retired.push_back(revision);
            if self.retired.len() > RETIRED_REMEMBERED {
                self.retired.pop_front();
            }
        }
        self.expect_no_more(revision);
        let Some(pool) = self.pools.get_mut(&revision) else {
            return false;
        };
        pool.is_retiring = true;
        self.forsake(revision, effects);
        self.settle(revision, now, effects);
        true
    }
}
