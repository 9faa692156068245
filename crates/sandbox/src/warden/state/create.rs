//! Building one sandbox: from a request to the reply that it stands, or why it does not.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use ephyra_core::id::EnvironmentId;
use ephyra_sys::clone::clone;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::Pid;

use super::super::SANDBOXES;
use super::super::slots::Slot;
use super::{Building, Phase, Sandbox, State};
use crate::build::{self, Blueprint, BuildReport};
use crate::cgroup::Limits;
use crate::packet::{self, Received};
use crate::protocol::{Create, Reply, Step};

/// How long building one sandbox may take.
pub(super) const BUILD: Duration = Duration::from_secs(10);
/// Why a sandbox is not built.
pub(super) struct Refusal {
    pub(super) step: Step,
    pub(super) errno: i32,
    pub(super) text: String,
}

fn at<E: Into<io::Error>>(step: Step) -> impl FnOnce(E) -> Refusal {
    move |error| {
        let error = error.into();
        Refusal {
            step,
            errno: error.raw_os_error().unwrap_or(0),
            text: error.to_string(),
        }
    }
}

impl State {
    pub(super) fn create(&mut self, create: &Create) -> io::Result<()> {
        match self.begin(create) {
            Ok(()) => Ok(()),
            Err(Refusal { step, errno, text }) => {
                tracing::warn!(id = %create.id, %step, text, "a sandbox could not be built");
                self.reply(&Reply::failed(create.id, step, errno, text), Vec::new())
            }
        }
    }

    /// Starts building a sandbox.
    fn begin(&mut self, create: &Create) -> Result<(), Refusal> {
        let refuse = |text: String| Refusal {
            step: Step::Request,
            errno: libc::EINVAL,
            text,
        };
        create
            .validate(self.parts.runtimes)
            .map_err(|error| refuse(error.to_string()))?;
        if self.sandboxes.contains_key(&create.id) {
            return Err(refuse("there is already a sandbox of this name".to_owned()));
        }
        let is_full = || Refusal {
            step: Step::Slot,
            errno: libc::EAGAIN,
            text: format!("all {SANDBOXES} places are taken"),
        };
        if self.sandboxes.len() >= SANDBOXES as usize {
            return Err(is_full());
        }
        let slot = self
            .parts
            .slots
            .take()
            .map_err(at(Step::UserNamespace))?
            .ok_or_else(is_full)?;
        let group = match self.parts.groups.take(Limits {
            memory_mb: create.memory_mb,
        }) {
            Ok(group) => group,
            Err(error) => {
                self.parts.slots.give_back(slot);
                return Err(at(Step::Cgroup)(error));
            }
        };
        match self.copy_into(create, &slot, &group) {
            Ok((pid, building)) => {
                self.by_pid.insert(pid, create.id);
                let sandbox = Sandbox {
                    pid: Some(pid),
                    slot: Some(slot),
                    group,
                    phase: Phase::Building(building),
                };
                self.sandboxes.insert(create.id, sandbox);
                Ok(())
            }
            Err(refusal) => {
                self.parts.slots.give_back(slot);
                self.parts.groups.leave(group);
                Err(refusal)
            }
        }
    }

    /// Makes the descriptors and the process of a sandbox.
    fn copy_into(&mut self, create: &Create, slot: &Slot, group: &str) -> Result<(Pid, Building), Refusal> {
        let tmp = self.parts.scratch.as_mut();
        let tmp = tmp.map(|scratch| scratch.take(create.tmp_mb, slot.uid)).transpose();
        let tmp = tmp.map_err(at(Step::Tmp))?;
        let parts = &self.parts;
        let descriptors = at(Step::Descriptors);
        let (control, supervisor, output, report) = ends(slot.uid).map_err(descriptors)?;
        let target = parts.groups.clone_target(group).map_err(at(Step::Cgroup))?;
        let skeleton = parts
            .stage
            .skeletons
            .get(usize::from(create.runtime))
            .ok_or_else(|| Refusal {
                step: Step::Request,
                errno: libc::EINVAL,
                text: format!("there is no runtime {}", create.runtime),
            })?;
        let blueprint = Blueprint {
            pieces: &parts.pieces,
            filter: &parts.filter,
            group: parts.groups.tree().map(|tree| (tree, group)),
            skeleton,
            mount_point: &parts.stage.mount_point,
            packages: &parts.stage.packages,
            server_uid: parts.slots.server_uid(),
            code: create.code,
            layers: &create.layers,
            tmp: tmp.as_ref(),
            tmp_mb: create.tmp_mb,
            has_listener: create.has_listener,
            host_uid: slot.uid,
            user_namespace: slot.user_namespace.as_ref().map(AsFd::as_fd),
            control: control.1,
            supervisor: supervisor.1,
            output: output.1,
            report: report.1,
        };
        let namespaces = build::namespaces(&parts.pieces);
        let target = target.as_ref().map(AsFd::as_fd);
        let pid = clone(namespaces, target, || build::run(blueprint))
            .map_err(|error| at(Step::Clone)(io::Error::other(error)))?;
        let ends = vec![control.0, supervisor.0, output.0];
        Ok((
            pid,
            Building {
                report: report.0,
                ends,
                deadline: Instant::now() + BUILD,
            },
        ))
    }

    /// A sandbox that is being built has said how it went, or died.
    pub(super) fn take_report(&mut self, id: EnvironmentId) -> io::Result<()> {
        let Some(sandbox) = self.sandboxes.get_mut(&id) else {
            return Ok(());
        };
        let Phase::Building(building) = &mut sandbox.phase else {
            return Ok(());
        };
        let failure = match packet::receive(&building.report) {
            Ok(Received::Nothing) => return Ok(()),
            Ok(Received::Packet { bytes, descriptors }) => match postcard::from_bytes(&bytes) {
                Ok(BuildReport::Ready) => match self.parts.groups.files(&sandbox.group) {
                    Ok((version, files)) => {
                        let mut ends = std::mem::take(&mut building.ends);
                        let (files, controls) = files.into_parts(version);
                        ends.extend(descriptors);
                        ends.extend(controls);
                        sandbox.phase = Phase::Standing;
                        return self.reply(&Reply::Created { id, files }, ends);
                    }
                    Err(error) => at(Step::Cgroup)(error),
                },
                Ok(BuildReport::Failed { step, errno, text }) => Refusal { step, errno, text },
                Err(error) => at(Step::Died)(io::Error::other(error)),
            },
            Ok(Received::Closed) => Refusal {
                step: Step::Died,
                errno: 0,
                text: "it said nothing".to_owned(),
            },
            Err(error) => at(Step::Died)(error),
        };
        self.fail(id, failure)
    }

    /// Gives up a sandbox that is being built.
    pub(super) fn fail(&mut self, id: EnvironmentId, Refusal { step, errno, text }: Refusal) -> io::Result<()> {
        tracing::warn!(%id, %step, text, "a sandbox could not be built");
        self.reply(&Reply::failed(id, step, errno, text), Vec::new())?;
        self.kill(id, false)
    }
}

type Pair = (OwnedFd, OwnedFd);

/// The four connections of a sandbox, each as the server's (or the warden's) end and the guest's.
fn ends(uid: u32) -> io::Result<(Pair, Pair, Pair, Pair)> {
    let control = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let supervisor = packet::pair()?;
    let output = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let report = packet::pair()?;
    // So that a guest can also open its output by name, as /dev/stdout.
    rustix::fs::fchown(&output.1, Some(rustix::fs::Uid::from_raw(uid)), None)?;
    // The server's ends are for its event loop. The guest's are open files of their own and wait as usual.
    for end in [&control.0, &supervisor.0, &output.0] {
        rustix::io::ioctl_fionbio(end, true)?;
    }
    Ok((control, supervisor, output, report))
}
