//! Properties of mounts: mount_setattr(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::check;

/// What may not be done with the files of a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restrictions(u64);

impl Restrictions {
    /// No writing.
    pub const READ_ONLY: Self = Self(libc::MOUNT_ATTR_RDONLY);
    /// Set-user-id bits and file capabilities are without effect.
    pub const NO_SETUID: Self = Self(libc::MOUNT_ATTR_NOSUID);
    /// Device nodes cannot be opened.
    pub const NO_DEVICES: Self = Self(libc::MOUNT_ATTR_NODEV);
    /// Nothing can be executed.
    pub const NO_EXECUTION: Self = Self(libc::MOUNT_ATTR_NOEXEC);

    /// These and those.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Restricts the mount that `mount` is the root of, and all mounts below it when `recursive`.
pub fn restrict(mount: BorrowedFd<'_>, restrictions: Restrictions, recursive: bool) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: restrictions.0,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string, and the attributes live through the call and are as long as said.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    check(result).map(drop)
}
