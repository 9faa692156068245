//! What belongs to a function, opened by digest in the data folder: packages, layers, prepared folders. All of it is the
//! server's to write, which may have been taken over, so nothing here follows a link or leaves its folder.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use ephyra_core::digest::Digest;
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::stage::Stage;
use crate::mount::{copy_of_open, new_file_system, open_beneath};

/// The data folder's folders of digests, as mounted on the stage.
#[derive(Debug)]
pub(super) struct Folders {
    packages: OwnedFd,
    prepared: OwnedFd,
    /// Whom everything in them must belong to.
    owner: u32,
    has_overlay: bool,
}

impl Folders {
    pub(super) fn open(stage: &Stage, owner: u32, has_overlay: bool) -> io::Result<Self> {
        let open = |path: &Path| -> io::Result<OwnedFd> {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            Ok(openat(CWD, path, flags, Mode::empty())?)
        };
        Ok(Self {
            packages: open(&stage.packages)?,
            prepared: open(&stage.prepared)?,
            owner,
            has_overlay,
        })
    }

    /// A package, mounted nowhere.
    pub(super) fn package(&self, digest: Digest) -> io::Result<OwnedFd> {
        copy_of_open(self.folder(self.packages.as_fd(), digest)?.as_fd())
    }

    /// A prepared folder, mounted nowhere.
    pub(super) fn prepared(&self, digest: Digest) -> io::Result<OwnedFd> {
        copy_of_open(self.folder(self.prepared.as_fd(), digest)?.as_fd())
    }

    /// One layer as it is; several as one folder in which a later layer covers an earlier one.
    pub(super) fn layers(&self, layers: &[Digest]) -> io::Result<Option<OwnedFd>> {
        let opened = layers
            .iter()
            .map(|&layer| self.folder(self.packages.as_fd(), layer))
            .collect::<io::Result<Vec<_>>>()?;
        match opened.as_slice() {
            [] => Ok(None),
            [layer] => copy_of_open(layer.as_fd()).map(Some),
            _ if !self.has_overlay => Err(io::Error::new(
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

    fn folder(&self, folders: BorrowedFd<'_>, digest: Digest) -> io::Result<OwnedFd> {
        let folder = open_beneath(folders, &digest.to_string())?;
        if rustix::fs::fstat(&folder)?.st_uid == self.owner {
            Ok(folder)
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }
}
