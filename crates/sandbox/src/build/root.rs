//! A guest's root: the runtime's prepared one with /tmp, /proc and what the runtime boots from, and nothing else; then
//! what belongs to the function, once that is known. All that is mounted was opened by the warden.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use ephyra_sys::mount::Restrictions;
use rustix::mount::UnmountFlags;

use super::{At, Blueprint, Failure, Mounts};
use crate::isolation::Piece;
use crate::mount::{READ_ONLY, TAME, attach, attach_as_is, copy_of, new_file_system};
use crate::protocol::Step;
use crate::skeleton::{BASE, FUNCTION};

/// Builds the root and makes it the root of this process's mount namespace.
pub(super) fn build(blueprint: &Blueprint<'_>, tmp: &OwnedFd) -> Result<(), Failure> {
    let root = blueprint.mount_point;
    let skeleton = copy_of(blueprint.skeleton, true).at(Step::Root)?;
    attach_as_is(&skeleton, root).at(Step::Root)?;

    if let Some(base) = blueprint.base {
        attach(base, READ_ONLY, false, &root.join(BASE)).at(Step::Base)?;
    }
    attach(tmp, TAME, false, &root.join("tmp")).at(Step::Tmp)?;

    // Only one's own processes are shown, and of those only what one may look into: not pid 1.
    let proc = new_file_system("proc", &[("hidepid", "2")]).at(Step::Proc)?;
    attach(
        &proc,
        READ_ONLY.and(Restrictions::NO_EXECUTION),
        false,
        &root.join("proc"),
    )
    .at(Step::Proc)?;

    enter(root, blueprint.pieces.contains(&Piece::PivotRoot)).at(Step::Pivot)
}

/// Makes `root` the root of this mount namespace; nothing of the old one stays reachable.
pub(crate) fn enter(root: &Path, pivots: bool) -> io::Result<()> {
    rustix::process::chdir(root)?;
    if pivots {
        // The old root comes to lie over the new one and is taken away from there; see pivot_root(2), NOTES.
        rustix::process::pivot_root(".", ".")?;
        rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    } else {
        rustix::mount::mount_move(".", "/")?;
        rustix::process::chroot(".")?;
    }
    Ok(rustix::process::chdir("/")?)
}

/// Mounts what belongs to the function, in the order of [`Mounts::steps`]. Only trusted code has run in this mount
/// namespace with the right to change it, so the paths are what they were built as.
pub(super) fn assign(mounts: Mounts, opened: Vec<OwnedFd>, is_untouched: bool) -> Result<(), Failure> {
    if opened.len() != mounts.steps().count() {
        return Err(io::Error::from(io::ErrorKind::InvalidData)).at(Step::Request);
    }
    for (step, mount) in mounts.steps().zip(opened) {
        let (restrictions, target) = match step {
            Step::Tmp => {
                // Who has started knows the old one, and its rules of landlock name no other.
                if !is_untouched {
                    let text = "the runtime that was started before has a /tmp of another size";
                    return Err(io::Error::other(text)).at(step);
                }
                rustix::mount::unmount("/tmp", UnmountFlags::DETACH).at(step)?;
                (TAME, "tmp")
            }
            Step::Layers => (READ_ONLY, "opt"),
            Step::Prepared => (READ_ONLY, FUNCTION),
            _ => (READ_ONLY, "var/task"),
        };
        attach(&mount, restrictions, false, &Path::new("/").join(target)).at(step)?;
    }
    Ok(())
}
