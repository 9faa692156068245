//! Mounts through the new mount API: a tree is made detached, restricted, and only then put where it can be seen.
//! See fsopen(2), open_tree(2), move_mount(2), mount_setattr(2).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use ephyra_sys::mount::{Restrictions, restrict};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

/// No set-user-id programs and no device nodes: for all that is not made here.
pub(crate) const TAME: Restrictions = Restrictions::NO_SETUID.and(Restrictions::NO_DEVICES);
/// Nor any writing.
pub(crate) const READ_ONLY: Restrictions = TAME.and(Restrictions::READ_ONLY);

/// A detached file system of a type with `key=value` options; an empty value stands for a flag.
pub(crate) fn new_file_system(kind: &str, options: &[(&str, &str)]) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        if value.is_empty() {
            fsconfig_set_flag(&context, *key)?;
        } else {
            fsconfig_set_string(&context, *key, *value)?;
        }
    }
    fsconfig_create(&context)?;
    Ok(fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )?)
}

/// A detached copy of the mount at `path`, of what is mounted below it too when `recursive`.
pub(crate) fn copy_of(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    Ok(open_tree(CWD, path, copy_flags(recursive))?)
}

/// A detached copy of what is open as `folder`, a descriptor of this process's own mount namespace.
pub(crate) fn copy_of_open(folder: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(open_tree(
        folder,
        c"",
        copy_flags(false) | OpenTreeFlags::AT_EMPTY_PATH,
    )?)
}

fn copy_flags(recursive: bool) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags | OpenTreeFlags::AT_RECURSIVE
    } else {
        flags
    }
}

/// Puts a detached mount at `target`, restricted.
pub(crate) fn attach(mount: &OwnedFd, restrictions: Restrictions, recursive: bool, target: &Path) -> io::Result<()> {
    restrict(mount.as_fd(), restrictions, recursive)?;
    attach_as_is(mount, target)
}

/// Puts a detached mount at `target`.
pub(crate) fn attach_as_is(mount: &OwnedFd, target: &Path) -> io::Result<()> {
    Ok(move_mount(
        mount,
        c"",
        CWD,
        target,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )?)
}

/// Opens a folder below `base` by a relative name that must not lead out of it, nor over any link: what stands there
/// was put there by somebody less privileged.
pub(crate) fn open_beneath(base: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    Ok(openat2(base, name, flags, Mode::empty(), resolve)?)
}
