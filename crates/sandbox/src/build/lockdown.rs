//! Giving up every right that building needed. The order matters: each step needs what a later one takes away.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::BorrowedFd;

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets};

use super::{At, Blueprint, Failure};
use crate::isolation::Piece;
use crate::protocol::Step;
use crate::seccomp::Filter;
use crate::skeleton::{GUEST_GID, GUEST_UID};
use ephyra_sys::namespace::enter_user;

/// The newest rights of landlock that are asked for; older kernels give fewer.
const LANDLOCK: ABI = ABI::V6;

/// What a process of a sandbox has more than a guest may have, and how it is given up.
pub(super) struct Rights<'a> {
    pieces: &'a BTreeSet<Piece>,
    filter: &'a Filter,
    user_namespace: Option<BorrowedFd<'a>>,
    open_files: u64,
    /// In the numbers of the user namespace.
    uid: u32,
    gid: u32,
}

/// How far a process's signals reach, where landlock can say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// No further than itself and what it starts: for what runs beside a pid 1 that is privileged.
    Own,
    /// All of the sandbox: for pid 1 itself, which ends a runtime that was started before.
    Sandbox,
}

impl<'a> Rights<'a> {
    pub(super) fn of(blueprint: &Blueprint<'a>) -> Self {
        let (uid, gid) = if blueprint.user_namespace.is_some() {
            (GUEST_UID, GUEST_GID)
        } else {
            (blueprint.host_uid, blueprint.host_uid)
        };
        Self {
            pieces: blueprint.pieces,
            filter: blueprint.filter,
            user_namespace: blueprint.user_namespace,
            open_files: blueprint.open_files,
            uid,
            gid,
        }
    }

    /// The slot's user namespace, which must be open when the rights are given up.
    pub(super) fn user_namespace(&self) -> Option<BorrowedFd<'a>> {
        self.user_namespace
    }

    /// Makes this process the guest's own and shuts it in.
    pub(super) fn give_up(&self, reach: Reach) -> Result<(), Failure> {
        let uses = |piece| self.pieces.contains(&piece);
        if let Some(namespace) = self.user_namespace {
            enter_user(namespace).at(Step::Identity)?;
        }
        limits(self.open_files).at(Step::Privileges)?;
        become_user(self.uid, self.gid).at(Step::Identity)?;
        if uses(Piece::NoNewPrivileges) {
            rustix::thread::set_no_new_privs(true).at(Step::Privileges)?;
        }
        // A change of user clears the death signal and may let others look inside.
        end_with_parent().at(Step::Privileges)?;
        if uses(Piece::Landlock) {
            landlock(reach).map_err(io::Error::other).at(Step::Landlock)?;
        }
        if uses(Piece::Seccomp) {
            self.filter.apply().map_err(io::Error::other).at(Step::Seccomp)?;
        }
        Ok(())
    }
}

/// Has this process end with its parent, and nobody look inside. That the parent still lives must show otherwise.
pub(crate) fn end_with_parent() -> rustix::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

pub(crate) fn limits(open_files: u64) -> rustix::io::Result<()> {
    let both = |value| Rlimit {
        current: Some(value),
        maximum: Some(value),
    };
    // Nobody but the machine's own root may have more than this process was given.
    let given = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    rustix::process::setrlimit(Resource::Nofile, both(open_files.min(given)))?;
    rustix::process::setrlimit(Resource::Core, both(0))
}

/// Takes on a user and a group, and gives up all capabilities for ever.
pub(crate) fn become_user(uid: u32, gid: u32) -> rustix::io::Result<()> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
    bound_capabilities(CapabilitySet::empty())?;
    rustix::thread::set_capabilities_secure_bits(
        CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
            | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED,
    )?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    // The new user's other processes could look inside as soon as there are no capabilities that they lack.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::thread::clear_ambient_capability_set()?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none)
}

/// No program that this process or what it starts executes has capabilities other than these.
pub(crate) fn bound_capabilities(kept: CapabilitySet) -> rustix::io::Result<()> {
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if kept.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // Past the last one that this kernel has.
            Err(rustix::io::Errno::INVAL) => break,
            result => result?,
        }
    }
    Ok(())
}

/// What landlock refuses to say more about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LandlockError {
    /// A rule set could not be made or applied.
    #[error("the rules could not be applied: {0}")]
    Rules(#[from] landlock::RulesetError),
    /// A folder of the rules could not be opened.
    #[error("a folder of the rules could not be opened: {0}")]
    Path(#[from] landlock::PathFdError),
    /// The kernel took the rules without enforcing them.
    #[error("the kernel does not enforce the rules")]
    NotEnforced,
}

/// Everything may be read and executed, what is mounted later included; only /tmp as it is now and the devices may be
/// written to. Holds even if a mount should be writable by mistake.
pub(crate) fn landlock(reach: Reach) -> Result<(), LandlockError> {
    let all = AccessFs::from_all(LANDLOCK);
    let read = AccessFs::from_read(LANDLOCK);
    let device: BitFlags<AccessFs> =
        AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::WriteFile | AccessFs::IoctlDev | AccessFs::Truncate;
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?;
    let rules = match reach {
        Reach::Own => rules.scope(Scope::Signal)?,
        Reach::Sandbox => rules,
    };
    let status = rules
        .create()?
        .add_rule(PathBeneath::new(PathFd::new("/")?, read))?
        .add_rule(PathBeneath::new(PathFd::new("/tmp")?, all))?
        .add_rule(PathBeneath::new(PathFd::new("/dev")?, device))?
        .restrict_self()?;
    match status.ruleset {
        landlock::RulesetStatus::NotEnforced => Err(LandlockError::NotEnforced),
        _ => Ok(()),
    }
}
