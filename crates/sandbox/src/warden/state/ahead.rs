//! What is done when there is nothing else to do, so that no cold start waits for it: removing what is left of sandboxes,
//! and making what the next ones take.

use std::time::Duration;

use super::State;
use crate::warden::scratch::Scratch;

/// How long nothing must have happened before something that takes a millisecond is made ahead.
pub(super) const QUIET: Duration = Duration::from_millis(2);
/// How many groups may be left over before they are removed however much there is to do.
const LEFT_OVER: usize = 256;

/// Something to be done, in the order of their urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chore {
    /// A few groups are removed.
    Removal,
    /// A group is made.
    Group,
    /// A slot is made, or given a network.
    Slot,
    /// A file system for /tmp is made.
    Tmp,
}

impl State {
    /// The most urgent thing to be done while nobody waits for a sandbox.
    pub(super) fn chore(&self) -> Option<Chore> {
        if !self.expected.is_empty() || self.is_closed {
            return None;
        }
        let parts = &self.parts;
        // What the kernel did not let go of is tried again after a while.
        if parts.groups.is_leaving() && !self.is_stuck {
            Some(Chore::Removal)
        } else if parts.groups.is_short() && !self.is_unprepared {
            Some(Chore::Group)
        } else if parts.slots.is_short() && !self.is_unprepared {
            Some(Chore::Slot)
        } else {
            parts
                .scratch
                .as_ref()
                .is_some_and(Scratch::is_short)
                .then_some(Chore::Tmp)
        }
    }

    /// Does it. What has failed is not tried ahead again until somebody waits for it.
    pub(super) fn carry_out(&mut self, chore: Chore) {
        let made = match chore {
            Chore::Removal => {
                self.is_stuck = !self.parts.groups.remove_some();
                return;
            }
            Chore::Group => self.parts.groups.prepare(),
            Chore::Slot => self.parts.slots.prepare(),
            Chore::Tmp => {
                let made = self.parts.scratch.as_mut().map_or(Ok(()), Scratch::prepare);
                return made.unwrap_or_else(|error| {
                    tracing::warn!(%error, "no file system for /tmp can be prepared ahead");
                });
            }
        };
        if let Err(error) = made {
            tracing::warn!(%error, "nothing can be prepared ahead");
            self.is_unprepared = true;
        }
    }

    /// Removes groups although somebody waits, when there are too many, or tries again what was stuck.
    pub(super) fn tidy(&mut self) {
        self.is_stuck = false;
        if self.parts.groups.left_over() > LEFT_OVER {
            self.parts.groups.remove_some();
        }
    }
}
