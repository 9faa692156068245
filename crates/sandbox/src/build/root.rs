//! A guest's root: the runtime's prepared one with the guest's own code, layers, /tmp and /proc, and nothing else.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use ephyra_core::digest::Digest;
use ephyra_sys::mount::Restrictions;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::UnmountFlags;

use super::{At, Blueprint, Failure};
use crate::isolation::Piece;
use crate::mount::{READ_ONLY, TAME, attach, attach_as_is, copy_of, copy_of_open, new_file_system, open_beneath};
use crate::protocol::Step;
use crate::skeleton::{GUEST_GID, GUEST_UID};

/// Files and folders that /tmp may hold for each MB of its size: enough for small files, too few to use up the
/// kernel's memory by names alone.
pub(crate) const INODES_PER_MB: u32 = 64;

/// Builds the root and makes it the root of this process's mount namespace.
pub(super) fn build(blueprint: &Blueprint<'_>) -> Result<(), Failure> {
    let root = blueprint.mount_point;
    let skeleton = copy_of(blueprint.skeleton, true).at(Step::Root)?;
    attach_as_is(&skeleton, root).at(Step::Root)?;

    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let packages = rustix::fs::openat(CWD, blueprint.packages, flags, Mode::empty()).at(Step::Code)?;
    let owner = blueprint.server_uid;
    let code = package(packages.as_fd(), blueprint.code, owner).at(Step::Code)?;
    let code = copy_of_open(code.as_fd()).at(Step::Code)?;
    attach(&code, READ_ONLY, false, &root.join("var/task")).at(Step::Code)?;

    let layers = layers(
        packages.as_fd(),
        blueprint.layers,
        owner,
        blueprint.pieces.contains(&Piece::Overlayfs),
    );
    if let Some(layers) = layers.at(Step::Layers)? {
        attach(&layers, READ_ONLY, false, &root.join("opt")).at(Step::Layers)?;
    }

    let target = root.join("tmp");
    match blueprint.tmp {
        Some(tmp) => attach(tmp, TAME, false, &target).at(Step::Tmp)?,
        None => attach(&tmp_in_memory(blueprint).at(Step::Tmp)?, TAME, false, &target).at(Step::Tmp)?,
    }

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

/// Opens an unpacked package. The folder is the server's to write: what is opened must be the server's own as well.
fn package(packages: BorrowedFd<'_>, digest: Digest, owner: u32) -> io::Result<OwnedFd> {
    let folder = open_beneath(packages, &digest.to_string())?;
    if rustix::fs::fstat(&folder)?.st_uid == owner {
        Ok(folder)
    } else {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

/// One layer as it is; several as one folder in which a later layer covers an earlier one.
fn layers(packages: BorrowedFd<'_>, layers: &[Digest], owner: u32, has_overlay: bool) -> io::Result<Option<OwnedFd>> {
    let opened = layers
        .iter()
        .map(|&layer| package(packages, layer, owner))
        .collect::<io::Result<Vec<_>>>()?;
    match opened.as_slice() {
        [] => Ok(None),
        [layer] => copy_of_open(layer.as_fd()).map(Some),
        _ if !has_overlay => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "several layers need overlayfs, which this platform was started without",
        )),
        _ => {
            // The first named is the topmost.
            let folders: Vec<_> = opened
                .iter()
                .rev()
                .map(|layer| format!("/proc/self/fd/{}", layer.as_raw_fd()))
                .collect();
            new_file_system("overlay", &[("lowerdir", &folders.join(":"))]).map(Some)
        }
    }
}

/// Where /tmp cannot be on disk. What is in it counts against the guest's memory.
fn tmp_in_memory(blueprint: &Blueprint<'_>) -> io::Result<OwnedFd> {
    let size = format!("{}m", blueprint.tmp_mb);
    let inodes = blueprint.tmp_mb.saturating_mul(INODES_PER_MB).to_string();
    // Owners are given as the host counts them: the mount is made before the user namespace is entered.
    let uid = blueprint.host_uid.to_string();
    new_file_system(
        "tmpfs",
        &[
            ("size", &size),
            ("nr_inodes", &inodes),
            ("mode", "0700"),
            ("uid", &uid),
            ("gid", &uid),
        ],
    )
}

/// The guest's user and group in the numbers of its own user namespace, or the host's where it has none.
pub(super) fn identity(blueprint: &Blueprint<'_>) -> (u32, u32) {
    if blueprint.user_namespace.is_some() {
        (GUEST_UID, GUEST_GID)
    } else {
        (blueprint.host_uid, blueprint.host_uid)
    }
}
