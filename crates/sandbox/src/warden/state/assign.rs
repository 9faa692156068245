//! Giving a sandbox to a function: its limits are set here, what belongs to the function is opened here, and mounted by
//! the sandbox's own pid 1, which then gives up its rights and says so.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use ephyra_core::id::EnvironmentId;
use ephyra_core::limits::EPHEMERAL_STORAGE_MB;

use super::prepare::{Answer, BUILD, Refusal, at, borrowed};
use super::{Phase, State};
use crate::build::{self, Mounts, Order};
use crate::cgroup::Limits;
use crate::protocol::{Assign, Reply, Step};

impl State {
    pub(super) fn assign(&mut self, assign: &Assign) -> io::Result<()> {
        let checked = assign.validate().map_err(Refusal::of_request);
        let uid = checked.and_then(|()| match self.sandboxes.get(&assign.id) {
            Some(sandbox) if matches!(sandbox.phase, Phase::Blank { .. }) => {
                Ok(sandbox.slot.as_ref().map(|slot| slot.uid))
            }
            Some(_) => Err(Refusal::of_request("it is not one that waits to be assigned")),
            None => Err(Refusal::of_request("there is no such sandbox")),
        });
        match uid {
            Err(refusal) => self.refuse(assign.id, refusal),
            Ok(None) => self.fail(assign.id, Refusal::died("it ended before it was assigned")),
            Ok(Some(uid)) => match self.order(assign, uid) {
                Ok(()) => Ok(()),
                Err(refusal) => self.fail(assign.id, refusal),
            },
        }
    }

    /// Opens what belongs to the function, and has pid 1 take it.
    fn order(&mut self, assign: &Assign, uid: u32) -> Result<(), Refusal> {
        let tmp = if assign.tmp_mb == *EPHEMERAL_STORAGE_MB.start() {
            None
        } else {
            Some(self.tmp(assign.tmp_mb, uid)?)
        };
        let folders = &self.parts.folders;
        let code = assign.code.map(|code| folders.package(code)).transpose();
        let code = code.map_err(at(Step::Code))?;
        let layers = folders.layers(&assign.layers).map_err(at(Step::Layers))?;
        let prepared = assign.prepared.map(|prepared| folders.prepared(prepared)).transpose();
        let prepared = prepared.map_err(at(Step::Prepared))?;
        let mounts = Mounts {
            code: code.is_some(),
            layers: layers.is_some(),
            prepared: prepared.is_some(),
            tmp: tmp.is_some(),
        };
        let opened: Vec<OwnedFd> = [code, layers, prepared, tmp].into_iter().flatten().collect();
        let Some(sandbox) = self.sandboxes.get_mut(&assign.id) else {
            return Err(Refusal::of_request("there is no such sandbox"));
        };
        let limits = Limits {
            memory_mb: assign.memory_mb,
        };
        let changed = self.parts.groups.change(&sandbox.group, sandbox.limits, limits);
        changed.map_err(at(Step::Cgroup))?;
        sandbox.limits = limits;
        match std::mem::replace(&mut sandbox.phase, Phase::Standing) {
            Phase::Blank { report } => {
                let given = build::give(&report, Order::Assign(mounts), &borrowed(&opened));
                let deadline = Instant::now() + BUILD;
                sandbox.phase = Phase::Assigning { report, deadline };
                self.expected.insert(assign.id);
                given.map_err(at(Step::Died))
            }
            _ => Err(Refusal::of_request("it is not one that waits to be assigned")),
        }
    }

    /// Pid 1 has done it.
    pub(super) fn is_assigned(&mut self, id: EnvironmentId) -> Result<Answer, Refusal> {
        let Some(sandbox) = self.sandboxes.get_mut(&id) else {
            return Ok(None);
        };
        if !matches!(sandbox.phase, Phase::Assigning { .. }) {
            return Err(Refusal::died("it was not asked"));
        }
        // The socket to pid 1 ends here: there is nothing more to be said.
        sandbox.phase = Phase::Standing;
        self.expected.remove(&id);
        Ok(Some((Reply::Assigned { id }, Vec::new())))
    }
}
