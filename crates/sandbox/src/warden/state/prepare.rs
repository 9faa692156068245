//! Building a sandbox that is nobody's yet: from a request to the reply that it stands, or why it does not.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use ephyra_core::id::EnvironmentId;
use ephyra_core::limits::EPHEMERAL_STORAGE_MB;
use ephyra_sys::clone::clone;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::super::networks::Network;
use super::super::scratch::Image;
use super::super::slots::Slot;
use super::super::{SANDBOXES, scratch};
use super::{Phase, Sandbox, State};
use crate::build::{self, Blueprint, BuildReport, Order, Tmp};
use crate::cgroup::Limits;
use crate::packet::{self, Received};
use crate::protocol::{Prepare, Reply, Step};
use crate::skeleton::{GUEST_GID, GUEST_UID};
use crate::zygote::{Seat, Spawned};

/// How long building one sandbox may take, and assigning it.
pub(super) const BUILD: Duration = Duration::from_secs(10);

/// Why a sandbox is not built or assigned.
pub(super) struct Refusal {
    pub(super) step: Step,
    pub(super) errno: i32,
    pub(super) text: String,
}

impl Refusal {
    pub(super) fn of_request(text: impl ToString) -> Self {
        Self {
            step: Step::Request,
            errno: libc::EINVAL,
            text: text.to_string(),
        }
    }

    pub(super) fn died(text: &str) -> Self {
        Self {
            step: Step::Died,
            errno: 0,
            text: text.to_owned(),
        }
    }
}

pub(super) fn at<E: Into<io::Error>>(step: Step) -> impl FnOnce(E) -> Refusal {
    move |error| {
        let error = error.into();
        Refusal {
            step,
            errno: error.raw_os_error().unwrap_or(0),
            text: error.to_string(),
        }
    }
}

/// A sandbox whose pid 1 is building it, or into which a zygote forks.
pub(super) struct Building {
    pub(super) report: OwnedFd,
    /// What the server gets.
    ends: Vec<OwnedFd>,
    /// What a zygote gets, until it is asked.
    seat: Option<(OwnedFd, OwnedFd)>,
    runtime: u16,
    pub(super) deadline: Instant,
}

impl State {
    pub(super) fn prepare(&mut self, prepare: &Prepare) -> io::Result<()> {
        match self.begin(prepare) {
            Ok(()) => Ok(()),
            Err(refusal) => self.refuse(prepare.id, refusal),
        }
    }

    /// Says that a request is not carried out. Nothing is changed by it.
    pub(super) fn refuse(&mut self, id: EnvironmentId, refusal: Refusal) -> io::Result<()> {
        let Refusal { step, errno, text } = refusal;
        tracing::warn!(%id, %step, text, "a sandbox could not be built");
        self.reply(&Reply::failed(id, step, errno, text), Vec::new())
    }

    /// Starts building a sandbox.
    fn begin(&mut self, prepare: &Prepare) -> Result<(), Refusal> {
        prepare
            .validate(self.parts.runtimes.len())
            .map_err(Refusal::of_request)?;
        if self.sandboxes.contains_key(&prepare.id) {
            return Err(Refusal::of_request("there is already a sandbox of this name"));
        }
        if prepare.has_zygote && !self.parts.zygotes.has(prepare.runtime) {
            return Err(Refusal::of_request("its runtime has no zygote"));
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
        let limits = Limits {
            memory_mb: prepare.memory_mb,
        };
        let group = match self.parts.groups.take(limits) {
            Ok(group) => group,
            Err(error) => {
                self.parts.slots.give_back(slot);
                return Err(at(Step::Cgroup)(error));
            }
        };
        match self.copy_into(prepare, &slot, &group) {
            Ok((pid, building, tmp)) => {
                self.by_pid.insert(pid, prepare.id);
                let sandbox = Sandbox {
                    pid: Some(pid),
                    slot: Some(slot),
                    group,
                    limits,
                    tmp,
                    phase: Phase::Building(building),
                };
                self.sandboxes.insert(prepare.id, sandbox);
                self.expected.insert(prepare.id);
                Ok(())
            }
            Err(refusal) => {
                self.parts.slots.give_back(slot);
                self.parts.groups.leave(group);
                Err(refusal)
            }
        }
    }

    /// A new /tmp that is `uid`'s, mounted nowhere.
    pub(super) fn tmp(&mut self, size_mb: u32, uid: u32) -> Result<OwnedFd, Refusal> {
        match &mut self.parts.scratch {
            Some(scratch) => scratch.take(size_mb, uid),
            None => scratch::in_memory(size_mb, uid),
        }
        .map_err(at(Step::Tmp))
    }

    /// Makes the descriptors and the process of a sandbox.
    fn copy_into(
        &mut self,
        prepare: &Prepare,
        slot: &Slot,
        group: &str,
    ) -> Result<(Pid, Building, Option<Image>), Refusal> {
        let ready = self.parts.scratch.as_mut().map(|scratch| scratch.take_ready(slot.uid));
        let ready = ready.transpose().map_err(at(Step::Tmp))?;
        let parts = &self.parts;
        let (made, image) = match (ready.flatten(), &parts.scratch) {
            (Some(image), _) => match image.copy() {
                Some(mount) => (Some(mount), Some(image)),
                None => (Some(image.into_mount()), None),
            },
            (None, Some(_)) => (None, None),
            (None, None) => {
                let tmp = scratch::in_memory(*EPHEMERAL_STORAGE_MB.start(), slot.uid);
                (Some(tmp.map_err(at(Step::Tmp))?), None)
            }
        };
        let tmp = match (&made, &parts.scratch) {
            (None, Some(scratch)) => Tmp::Make(scratch),
            (made, _) => made
                .as_ref()
                .map(Tmp::Ready)
                .ok_or_else(|| Refusal::of_request("there is no /tmp"))?,
        };
        let base = prepare.base.map(|base| parts.folders.prepared(base)).transpose();
        let base = base.map_err(at(Step::Base))?;
        let skeleton = parts.stage.skeletons.get(usize::from(prepare.runtime));
        let runtime = parts.runtimes.get(usize::from(prepare.runtime));
        let (Some(skeleton), Some(runtime)) = (skeleton, runtime) else {
            return Err(Refusal::of_request("there is no such runtime"));
        };
        let ends = Ends::make(slot.uid, runtime.control()).map_err(at(Step::Descriptors))?;
        let seat = if prepare.has_zygote {
            let [control, output] = [&ends.control.1, &ends.output.1].map(OwnedFd::try_clone);
            let both = control.and_then(|control| Ok((control, output?)));
            Some(both.map_err(at(Step::Descriptors))?)
        } else {
            None
        };
        let target = parts.groups.clone_target(group).map_err(at(Step::Cgroup))?;
        let blueprint = Blueprint {
            pieces: &parts.pieces,
            filter: &parts.filter,
            group: parts.groups.tree().map(|tree| (tree, group)),
            skeleton,
            mount_point: &parts.stage.mount_point,
            base: base.as_ref(),
            tmp,
            open_files: runtime.open_files(),
            host_uid: slot.uid,
            user_namespace: slot.user_namespace.as_ref().map(AsFd::as_fd),
            network: slot.network.as_ref().map(Network::namespace),
            has_zygote: prepare.has_zygote,
            control: ends.control.1,
            supervisor: ends.supervisor.1,
            output: ends.output.1,
            extension_output: ends.extension_output.1,
            report: ends.report.1,
        };
        let namespaces = build::namespaces(&parts.pieces);
        let target = target.as_ref().map(AsFd::as_fd);
        let pid = clone(namespaces, target, || build::run(blueprint))
            .map_err(|error| at(Step::Clone)(io::Error::other(error)))?;
        Ok((
            pid,
            Building {
                report: ends.report.0,
                ends: vec![
                    ends.control.0,
                    ends.supervisor.0,
                    ends.output.0,
                    ends.extension_output.0,
                ],
                seat,
                runtime: prepare.runtime,
                deadline: Instant::now() + BUILD,
            },
            image,
        ))
    }

    /// A sandbox that is being built or assigned has said how it went, or died.
    pub(super) fn take_report(&mut self, id: EnvironmentId) -> io::Result<()> {
        let Some(sandbox) = self.sandboxes.get_mut(&id) else {
            return Ok(());
        };
        let (Phase::Building(Building { report, .. }) | Phase::Assigning { report, .. }) = &sandbox.phase else {
            return Ok(());
        };
        let result = match packet::receive(report) {
            Ok(Received::Nothing) => return Ok(()),
            Ok(Received::Packet { bytes, descriptors }) => match postcard::from_bytes(&bytes) {
                Ok(BuildReport::Ready { network }) => self.stands(id, descriptors, network),
                Ok(BuildReport::Assigned) => self.is_assigned(id),
                Ok(BuildReport::Failed { step, errno, text }) => Err(Refusal { step, errno, text }),
                Err(error) => Err(at(Step::Died)(io::Error::other(error))),
            },
            Ok(Received::Closed) => Err(Refusal::died("it said nothing")),
            Err(error) => Err(at(Step::Died)(error)),
        };
        match result {
            Ok(Some((reply, descriptors))) => self.reply(&reply, descriptors),
            Ok(None) => Ok(()),
            Err(refusal) => self.fail(id, refusal),
        }
    }

    /// Pid 1 waits: the server is told, or the zygote asked.
    fn stands(&mut self, id: EnvironmentId, descriptors: Vec<OwnedFd>, has_network: bool) -> Result<Answer, Refusal> {
        let Some(sandbox) = self.sandboxes.get_mut(&id) else {
            return Ok(None);
        };
        let (Phase::Building(building), Some(pid)) = (&mut sandbox.phase, sandbox.pid) else {
            return Err(Refusal::died("it said so twice"));
        };
        let mut descriptors = descriptors.into_iter();
        building.ends.extend(descriptors.next());
        let network = if has_network { descriptors.next() } else { None };
        if let (Some(network), Some(slot)) = (network, &mut sandbox.slot) {
            slot.network = Some(Network::made_inside(network));
        }
        if let (Some(mount), Some(file)) = (descriptors.next(), descriptors.next()) {
            sandbox.tmp = Some(Image::given(mount, file).map_err(at(Step::Tmp))?);
        }
        let Some((control, output)) = building.seat.take() else {
            return self.prepared(id);
        };
        let slot = sandbox.slot.as_ref().and_then(|slot| slot.user_namespace.as_ref());
        let user_namespace = slot.map(OwnedFd::try_clone).transpose();
        let user_namespace = user_namespace.map_err(at(Step::Zygote))?;
        let host_uid = sandbox.slot.as_ref().map_or(0, |slot| slot.uid);
        let (uid, gid) = match user_namespace {
            Some(_) => (GUEST_UID, GUEST_GID),
            None => (host_uid, host_uid),
        };
        let seat = Seat {
            id,
            runtime: building.runtime,
            first: pidfd_open(pid, PidfdFlags::empty()).map_err(at(Step::Zygote))?,
            namespaces: build::all_namespaces(&self.parts.pieces),
            user_namespace,
            uid,
            gid,
            group: self.parts.groups.entry(&sandbox.group).map_err(at(Step::Zygote))?,
            control,
            output,
        };
        let spawned = self.parts.zygotes.spawn(&seat, Instant::now());
        spawned.map_err(at(Step::Zygote))?;
        Ok(None)
    }

    /// Takes what zygotes have answered.
    pub(super) fn take_spawned(&mut self) -> io::Result<()> {
        for Spawned { id, process } in self.parts.zygotes.take(Instant::now()) {
            let adopted = process.map_err(at(Step::Zygote)).and_then(|process| {
                let Some(Phase::Building(building)) = self.sandboxes.get(&id).map(|sandbox| &sandbox.phase) else {
                    return Ok(None);
                };
                build::give(&building.report, Order::Adopt { process }, &[]).map_err(at(Step::Zygote))?;
                self.prepared(id)
            });
            match adopted {
                Ok(Some((reply, descriptors))) => self.reply(&reply, descriptors)?,
                Ok(None) => {}
                Err(refusal) => self.fail(id, refusal)?,
            }
        }
        Ok(())
    }

    /// The sandbox stands with all that it is to have before it is assigned.
    fn prepared(&mut self, id: EnvironmentId) -> Result<Answer, Refusal> {
        let Some(sandbox) = self.sandboxes.get_mut(&id) else {
            return Ok(None);
        };
        let (version, files) = self.parts.groups.files(&sandbox.group).map_err(at(Step::Cgroup))?;
        let Phase::Building(building) = std::mem::replace(&mut sandbox.phase, Phase::Standing) else {
            return Err(Refusal::died("it said so twice"));
        };
        sandbox.phase = Phase::Blank {
            report: building.report,
        };
        self.expected.remove(&id);
        let (files, controls) = files.into_parts(version);
        let mut descriptors = building.ends;
        descriptors.extend(controls);
        Ok(Some((Reply::Prepared { id, files }, descriptors)))
    }

    /// Gives up a sandbox that is being built or assigned.
    pub(super) fn fail(&mut self, id: EnvironmentId, refusal: Refusal) -> io::Result<()> {
        self.refuse(id, refusal)?;
        self.kill(id, false)
    }
}

/// What the server is told, if anything.
pub(super) type Answer = Option<(Reply, Vec<OwnedFd>)>;

type Pair = (OwnedFd, OwnedFd);

/// The connections of a sandbox, each as the server's (or the warden's) end and the guest's.
struct Ends {
    control: Pair,
    supervisor: Pair,
    output: Pair,
    extension_output: Pair,
    report: Pair,
}

impl Ends {
    fn make(uid: u32, control: SocketType) -> io::Result<Self> {
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        let ends = Self {
            control: socketpair(AddressFamily::UNIX, control, SocketFlags::CLOEXEC, None)?,
            supervisor: packet::pair()?,
            output: pipe()?,
            extension_output: pipe()?,
            report: packet::pair()?,
        };
        // So that a guest can also open its output by name, as /dev/stdout.
        for output in [&ends.output.1, &ends.extension_output.1] {
            rustix::fs::fchown(output, Some(rustix::fs::Uid::from_raw(uid)), None)?;
        }
        // The server's ends are for its event loop. The guest's are open files of their own and wait as usual.
        for end in [
            &ends.control.0,
            &ends.supervisor.0,
            &ends.output.0,
            &ends.extension_output.0,
        ] {
            rustix::io::ioctl_fionbio(end, true)?;
        }
        Ok(ends)
    }
}

/// Descriptors as they are sent.
pub(super) fn borrowed(descriptors: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    descriptors.iter().map(AsFd::as_fd).collect()
}
