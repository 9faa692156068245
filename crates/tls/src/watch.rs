//! Notices that files change, without looking again and again: inotify(7).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

/// Folders of which every change is noticed: a file that is written is put in its place at last, or a link is.
#[derive(Debug)]
pub struct Watch(OwnedFd);

impl Watch {
    /// Watches nothing yet. Reading does not wait.
    ///
    /// # Errors
    /// Those of inotify_init1(2).
    pub fn new() -> io::Result<Self> {
        Ok(Self(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?))
    }

    /// Watches a folder too; nothing changes for one that is watched already.
    ///
    /// # Errors
    /// Those of inotify_add_watch(2).
    pub fn add(&self, folder: &Path) -> io::Result<()> {
        let changes = WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ATTRIB
            | WatchFlags::ONLYDIR;
        inotify::add_watch(&self.0, folder, changes)?;
        Ok(())
    }

    /// Whether there was a change since the last call; forgets it.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn has_changed(&self) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        let mut is_changed = false;
        loop {
            match reader.next() {
                Ok(_) => is_changed = true,
                Err(Errno::AGAIN) => return Ok(is_changed),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_once() {
        let folder = tempfile::tempdir().unwrap();
        let watch = Watch::new().unwrap();
        watch.add(folder.path()).unwrap();
        assert!(!watch.has_changed().unwrap());
        std::fs::write(folder.path().join("a"), "1").unwrap();
        assert!(watch.has_changed().unwrap());
        assert!(!watch.has_changed().unwrap());
        std::fs::rename(folder.path().join("a"), folder.path().join("b")).unwrap();
        assert!(watch.has_changed().unwrap());
        assert!(watch.add(&folder.path().join("b")).is_err());
    }
}
