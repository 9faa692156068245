//! What is made before it is asked for, so that a cold start does not wait for it.

use std::time::Duration;

use super::{Sandbox, State};
use crate::warden::scratch::Scratch;

/// How long nothing must have happened before something that takes a millisecond is made ahead.
pub(super) const QUIET: Duration = Duration::from_millis(2);

impl State {
    /// Makes slots and groups ahead, one at a time, while there is nothing else to do. Whether there may be more.
    pub(super) fn make_ahead(&mut self) -> bool {
        if self.is_unprepared {
            return false;
        }
        let made = self
            .parts
            .groups
            .prepare()
            .and_then(|made| Ok(made || self.parts.slots.prepare()?));
        made.unwrap_or_else(|error| {
            tracing::warn!(%error, "nothing can be prepared ahead");
            self.is_unprepared = true;
            false
        })
    }

    /// Whether a file system is to be made ahead: not while somebody waits for a sandbox.
    pub(super) fn is_short_of_scratch(&self) -> bool {
        let is_short = self.parts.scratch.as_ref().is_some_and(Scratch::is_short);
        let is_building = |sandbox: &Sandbox| sandbox.phase.expected().is_some();
        is_short && !self.is_closed && !self.sandboxes.values().any(is_building)
    }

    /// Makes one file system ahead. After a failure none is made ahead until one that somebody waits for succeeds.
    pub(super) fn prepare_scratch(&mut self) {
        if self.is_short_of_scratch()
            && let Some(scratch) = &mut self.parts.scratch
            && let Err(error) = scratch.prepare()
        {
            tracing::warn!(%error, "no file system for /tmp can be prepared ahead");
        }
    }
}
