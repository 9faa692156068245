//! A file system for one sandbox after the other, as long as none of them leaves a trace in it.
//!
//! It is empty but for its root folder. Whoever makes, removes or renames something in it, or changes its root's mode,
//! owner, flags or attributes, changes the time of the root's last change, which nobody can set; who lists it changes the
//! time of its last reading. That the time was looked at makes the next change show, however soon it comes (since Linux
//! 6.13; a mount of nowhere can be copied since 6.15). What is left is a file that never had a name: it is gone with the last process that had it
//! open, and what it held is in no file that there can ever be, but the file below may have grown by it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, StatxFlags, fstat, fstatvfs, statx};

use super::give;
use crate::mount::copy_of_open;

/// How many blocks of 512 bytes the file below may grow by: what ext4 notes down for itself.
const GROWTH: i64 = 128;

/// A mounted file system, and the file that it is in.
#[derive(Debug)]
pub(crate) struct Image {
    /// Mounted nowhere itself; sandboxes have copies of it.
    mount: OwnedFd,
    file: OwnedFd,
    /// How it was when it was given, and how many blocks of 512 bytes the file had; `None` before that.
    given: Option<(Trace, i64)>,
}

/// What shows whether it was used.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trace {
    /// Of the root folder: mode, links, user, group.
    root: [u32; 4],
    /// Its size, blocks and attributes.
    extent: [u64; 3],
    /// When it was read, written to and changed.
    times: [(i64, u32); 3],
    /// Free blocks, and free inodes.
    space: [u64; 2],
}

impl Image {
    /// A new one, nobody's.
    pub(super) fn new(mount: OwnedFd, file: OwnedFd) -> Self {
        Self {
            mount,
            file,
            given: None,
        }
    }

    /// One that a sandbox's pid 1 has made and given to itself; both came from it.
    pub(crate) fn given(mount: OwnedFd, file: OwnedFd) -> io::Result<Self> {
        let mut image = Self::new(mount, file);
        image.note()?;
        Ok(image)
    }

    /// Makes it `uid`'s.
    pub(super) fn give(&mut self, uid: u32) -> io::Result<()> {
        give(&self.mount, uid)?;
        self.note()
    }

    fn note(&mut self) -> io::Result<()> {
        self.given = Some((Trace::of(&self.mount)?, self.blocks()?));
        Ok(())
    }

    fn blocks(&self) -> io::Result<i64> {
        Ok(fstat(&self.file)?.st_blocks)
    }

    /// A copy of the mount, mounted nowhere yet; `None` where this kernel copies only what is mounted (before 6.15).
    pub(crate) fn copy(&self) -> Option<OwnedFd> {
        copy_of_open(self.mount.as_fd()).ok()
    }

    /// The mount itself. What is mounted somewhere can never be copied.
    pub(crate) fn into_mount(self) -> OwnedFd {
        self.mount
    }

    /// What it takes to have it elsewhere, see [`Image::given`].
    pub(crate) fn parts(&self) -> [BorrowedFd<'_>; 2] {
        [self.mount.as_fd(), self.file.as_fd()]
    }

    /// Whether it is as it was given.
    pub(super) fn is_untouched(&self) -> bool {
        match (&self.given, Trace::of(&self.mount), self.blocks()) {
            (Some((given, before)), Ok(now), Ok(blocks)) => *given == now && blocks - before <= GROWTH,
            _ => false,
        }
    }
}

impl Trace {
    fn of(mount: &OwnedFd) -> io::Result<Self> {
        let (root, space) = (
            statx(mount, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?,
            fstatvfs(mount)?,
        );
        let times = [root.stx_atime, root.stx_mtime, root.stx_ctime];
        Ok(Self {
            root: [root.stx_mode.into(), root.stx_nlink, root.stx_uid, root.stx_gid],
            extent: [root.stx_size, root.stx_blocks, root.stx_attributes.bits()],
            times: times.map(|time| (time.tv_sec, time.tv_nsec)),
            space: [space.f_bfree, space.f_ffree],
        })
    }
}
