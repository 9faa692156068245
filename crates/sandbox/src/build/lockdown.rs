//! Giving up every right that building needed. The order matters: each step needs what a later one takes away.

use std::io;

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets};

use super::{At, Blueprint, Failure, root};
use crate::isolation::Piece;
use crate::protocol::Step;
use ephyra_core::limits::OPEN_FILES;

/// The newest rights of landlock that are asked for; older kernels give fewer.
const LANDLOCK: ABI = ABI::V6;

/// Makes this process the guest's own and shuts it in.
pub(super) fn apply(blueprint: &Blueprint<'_>) -> Result<(), Failure> {
    let uses = |piece| blueprint.pieces.contains(&piece);
    limits().at(Step::Privileges)?;
    let (uid, gid) = root::identity(blueprint);
    become_user(uid, gid).at(Step::Identity)?;
    if uses(Piece::NoNewPrivileges) {
        rustix::thread::set_no_new_privs(true).at(Step::Privileges)?;
    }
    // A change of user clears the death signal, so it comes after; that the warden still lives shows when the report
    // is sent.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).at(Step::Privileges)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).at(Step::Privileges)?;
    if uses(Piece::Landlock) {
        landlock().map_err(io::Error::other).at(Step::Landlock)?;
    }
    if uses(Piece::Seccomp) {
        blueprint.filter.apply().map_err(io::Error::other).at(Step::Seccomp)?;
    }
    Ok(())
}

fn limits() -> rustix::io::Result<()> {
    let both = |value| Rlimit {
        current: Some(value),
        maximum: Some(value),
    };
    rustix::process::setrlimit(Resource::Nofile, both(OPEN_FILES))?;
    rustix::process::setrlimit(Resource::Core, both(0))
}

/// Takes on a user and a group, and gives up all capabilities for ever.
pub(crate) fn become_user(uid: u32, gid: u32) -> rustix::io::Result<()> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // Past the last one that this kernel has.
            Err(rustix::io::Errno::INVAL) => break,
            result => result?,
        }
    }
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
    rustix::thread::clear_ambient_capability_set()?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none)
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

/// Everything may be read and executed; only /tmp and the devices may be written to; signals and abstract sockets
/// end at the sandbox. Holds even if a mount should be writable by mistake.
pub(crate) fn landlock() -> Result<(), LandlockError> {
    let all = AccessFs::from_all(LANDLOCK);
    let read = AccessFs::from_read(LANDLOCK);
    let device: BitFlags<AccessFs> =
        AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::WriteFile | AccessFs::IoctlDev | AccessFs::Truncate;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .scope(Scope::from_all(LANDLOCK))?
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
