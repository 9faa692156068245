//! Guests' `/tmp` on disk: for each sandbox a file system of its own, of exactly its size, in a file without a name in
//! the data folder. What a guest writes there is page cache, which its memory group can take back, and not memory.
//!
//! Nothing of this has to be cleaned up: the file has no name, its loop device lets go of it when the file system is
//! unmounted, and that is when the sandbox's mount namespace ends, whoever ends it. A guest sees neither the file nor
//! the device, only the file system, which it cannot have made.
//!
//! Making and ending one takes as long as a tenth of a cold start, and most guests leave it as it was. One that nobody
//! has written to goes to the next sandbox; how that is known is in `image`. Read `template`, `image`, then this.

mod image;
mod template;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ephyra_core::limits::EPHEMERAL_STORAGE_MB;
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid, chownat, fstatfs, fstatvfs, openat};

use super::data::Folder;
use crate::isolation::TmpPlace;
use crate::mount::new_file_system;
pub(crate) use image::Image;
use template::Template;
pub(super) use template::Tools;

/// How many file systems of the default size are kept ready: they take longer to make than all else that is made ahead,
/// and some 400 KB of memory each, most of it the kernel's.
const READY: usize = 32;
/// Files and folders that /tmp may hold for each MB of its size: enough for small files, too few to use up the
/// kernel's memory by names alone.
const INODES_PER_MB: u32 = 64;
/// How many sizes are remembered.
const SIZES: usize = 16;
/// What must be free on the disk of the data folder for another sandbox: the server needs to write, too.
const RESERVE_MB: u64 = 512;

/// See statfs(2).
const RAMFS_MAGIC: libc::c_long = 0x8584_58f6;

/// Why guests' `/tmp` cannot be on disk.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScratchError {
    /// There is no disk below.
    #[error("the data folder is itself in memory")]
    InMemory,
    /// No loop devices.
    #[error("there are no loop devices (modprobe loop; in a container, give it /dev/loop-control): {0}")]
    Loop(#[source] io::Error),
    /// No e2fsprogs.
    #[error("there is no mkfs.ext4 (install e2fsprogs)")]
    MakeAbsent,
    /// A trial has failed.
    #[error("a file system in a file does not work here: {0}")]
    Trial(#[source] io::Error),
}

/// The file systems of one run.
#[derive(Debug)]
pub(crate) struct Scratch {
    folder: OwnedFd,
    tools: Tools,
    /// By size; the one that was made last comes last, the default one first.
    templates: Vec<Template>,
    /// Mounted, of the default size, nobody's yet or as nobody's.
    ready: Vec<Image>,
    /// The last attempt has failed, so that nothing is made ahead until one has succeeded.
    has_failed: bool,
}

/// Whether there is all that it takes, apart from a disk.
pub(crate) fn probe() -> TmpPlace {
    let trial = || -> Result<(), ScratchError> {
        let tools = Tools::find()?;
        let file = rustix::fs::memfd_create("ephyra-probe", rustix::fs::MemfdFlags::CLOEXEC);
        let template = file.map_err(io::Error::from);
        let template = template.and_then(|file| Template::make(&tools, *EPHEMERAL_STORAGE_MB.start(), file));
        template.map(drop).map_err(ScratchError::Trial)
    };
    place(&trial())
}

/// How the report says it.
pub(super) fn place<T>(result: &Result<T, ScratchError>) -> TmpPlace {
    match result {
        Ok(_) => TmpPlace::Disk,
        Err(error) => TmpPlace::Memory { why: error.to_string() },
    }
}

impl Scratch {
    /// Tries everything with the default size.
    pub(super) fn open(data: &Folder) -> Result<Self, ScratchError> {
        let tools = Tools::find()?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, data.path(), flags, Mode::empty());
        let folder = folder.map_err(|error| ScratchError::Trial(error.into()))?;
        let kind = fstatfs(&folder)
            .map_err(|error| ScratchError::Trial(error.into()))?
            .f_type;
        if kind == libc::TMPFS_MAGIC || kind == RAMFS_MAGIC {
            return Err(ScratchError::InMemory);
        }
        let mut scratch = Self {
            folder,
            tools,
            templates: Vec::new(),
            ready: Vec::new(),
            has_failed: false,
        };
        scratch
            .make(*EPHEMERAL_STORAGE_MB.start())
            .map_err(ScratchError::Trial)?;
        Ok(scratch)
    }

    /// One of the default size that was made ahead, or that nobody has written to, now `uid`'s; mounted nowhere yet.
    pub(super) fn take_ready(&mut self, uid: u32) -> io::Result<Option<Image>> {
        self.require_space()?;
        let Some(mut image) = self.ready.pop() else {
            // Somebody wants one, so it is worth trying again.
            self.has_failed = false;
            return Ok(None);
        };
        image.give(uid)?;
        Ok(Some(image))
    }

    /// A new one of the default size, `uid`'s, made by a copy of the warden for itself.
    pub(crate) fn make_own(&self, uid: u32) -> io::Result<Image> {
        let template = self.templates.first().ok_or(io::ErrorKind::NotFound)?;
        let file = nameless(self.folder.as_fd())?;
        template.write(&file)?;
        let mount = self.tools.mount(file.as_fd())?;
        let mut image = Image::new(mount, file);
        image.give(uid)?;
        Ok(image)
    }

    /// Takes one of the default size back whose sandbox has ended: the next sandbox has it if nobody has written to it.
    pub(super) fn take_back(&mut self, image: Image) {
        if self.ready.len() < READY && image.is_untouched() {
            self.ready.push(image);
        }
    }

    /// A new one of any size, `uid`'s, mounted nowhere yet.
    pub(super) fn take(&mut self, size_mb: u32, uid: u32) -> io::Result<OwnedFd> {
        self.require_space()?;
        let (mount, _) = self.make(size_mb)?;
        give(&mount, uid)?;
        Ok(mount)
    }

    /// Whether another file system is to be made ahead.
    pub(super) fn is_short(&self) -> bool {
        self.ready.len() < READY && !self.has_failed
    }

    /// Makes one more ahead.
    pub(super) fn prepare(&mut self) -> io::Result<()> {
        let (mount, file) = self.make(*EPHEMERAL_STORAGE_MB.start())?;
        self.ready.push(Image::new(mount, file));
        Ok(())
    }

    /// A mount and the file that it is in.
    fn make(&mut self, size_mb: u32) -> io::Result<(OwnedFd, OwnedFd)> {
        let made = self.try_make(size_mb);
        self.has_failed = made.is_err();
        made
    }

    fn try_make(&mut self, size_mb: u32) -> io::Result<(OwnedFd, OwnedFd)> {
        let file = nameless(self.folder.as_fd())?;
        let template = match self.templates.iter().position(|template| template.size_mb() == size_mb) {
            Some(index) => &self.templates[index],
            None => {
                let template = Template::make(&self.tools, size_mb, nameless(self.folder.as_fd())?)?;
                if self.templates.len() >= SIZES {
                    self.templates.remove(1);
                }
                self.templates.push(template);
                &self.templates[self.templates.len() - 1]
            }
        };
        template.write(&file)?;
        let mount = self.tools.mount(file.as_fd())?;
        Ok((mount, file))
    }

    fn require_space(&self) -> io::Result<()> {
        let disk = fstatvfs(&self.folder)?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) >> 20 < RESERVE_MB {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("less than {RESERVE_MB} MB are free on the disk of the data folder"),
            ));
        }
        Ok(())
    }
}

/// Owners are given as the host counts them: the sandbox's processes enter their user namespace later.
fn give(mount: &OwnedFd, uid: u32) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
    Ok(chownat(mount, "", Some(user), Some(group), AtFlags::EMPTY_PATH)?)
}

/// A /tmp where it cannot be on disk, `uid`'s, mounted nowhere yet. What is in it counts against the guest's memory.
pub(super) fn in_memory(size_mb: u32, uid: u32) -> io::Result<OwnedFd> {
    let size = format!("{size_mb}m");
    let inodes = size_mb.saturating_mul(INODES_PER_MB).to_string();
    let uid = uid.to_string();
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

/// A file that is gone when it is closed.
fn nameless(folder: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(openat(folder, ".", flags, Mode::RUSR | Mode::WUSR)?)
}
