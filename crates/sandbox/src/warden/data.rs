//! The data folder: whose it is, and that only one platform uses it at a time.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use ephyra_core::digest::Digest;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::process::{Flock, FlockType, fcntl_getlk};

use super::{PACKAGES, PREPARED};

/// The file that marks a folder as a data folder of this platform, and that the warden holds a lock on.
pub const MARKER: &str = ".ephyra";

/// The folder of certificates, which may be made before the platform first runs.
const CERTIFICATES: &str = "tls";
/// The one file in it that stays root's: with it one makes certificates that the machine's users believe.
const AUTHORITY_KEY: &std::ffi::CStr = c"ca-key.pem";

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// It holds something, but nothing of this platform's.
    #[error("{} is not empty and not a data folder of ephyra's: choose another folder, or an empty one", .0.display())]
    Foreign(PathBuf),
    /// It is another user's.
    #[error(
        "{} belongs to user {owner}, not to {server}: start with the --uid-base that it was made with",
        path.display()
    )]
    Owner {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Whose it should be.
        server: u32,
    },
    /// Another platform uses it.
    #[error("{} is in use by the ephyra with process id {pid}: stop that one first, or choose another folder", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The other's warden; 0 when it is in another pid namespace.
        pid: i32,
    },
    /// It could not be made, read or changed.
    #[error("{what} {} failed", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A data folder that this process has locked, for as long as this lives.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// A lock of fcntl(2) belongs to the process: the server and the sandboxes, copies of it, do not hold it too.
    _lock: File,
}

impl Folder {
    /// Makes or takes over the folder at `path` for the server's user, and locks it.
    pub(super) fn take(path: &Path, server: u32) -> Result<Self, DataError> {
        let io = |what, path: &Path| {
            let path = path.to_owned();
            move |source| DataError::Io { what, path, source }
        };
        match fs::DirBuilder::new().recursive(true).mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io("making", path)(error)),
            _ => {}
        }
        let path = path.canonicalize().map_err(io("finding", path))?;
        let folder = File::open(&path).map_err(io("opening", &path))?;
        let marker = path.join(MARKER);
        let is_marked = fs::symlink_metadata(&marker).is_ok_and(|metadata| metadata.is_file());
        let owner = folder.metadata().map_err(io("reading", &path))?.uid();
        if !is_marked && fs::read_dir(&path).map_err(io("reading", &path))?.next().is_some() {
            return Err(DataError::Foreign(path));
        }
        if owner != server && owner != 0 {
            return Err(DataError::Owner { path, owner, server });
        }
        let lock = lock(&path, &marker)?;
        if owner != server {
            fchown(&folder, Some(server), Some(server)).map_err(io("taking over", &path))?;
        }
        folder
            .set_permissions(Permissions::from_mode(0o700))
            .map_err(io("closing off", &path))?;
        for name in [PACKAGES, PREPARED] {
            make_folder(&path.join(name), server).map_err(io("making", &path.join(name)))?;
        }
        let certificates = path.join(CERTIFICATES);
        give_folder(&certificates, server).map_err(io("taking over", &certificates))?;
        Ok(Self { path, _lock: lock })
    }

    /// The canonical path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the folder's control group: the same for each run.
    pub(super) fn group_name(&self) -> String {
        let digest = Digest::of(self.path.as_os_str().as_encoded_bytes()).to_string();
        format!("ephyra-{}", &digest[..16])
    }
}

/// What is shown to the sandboxes, once and for all, is there before the server is.
fn make_folder(path: &Path, server: u32) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.and_then(|()| std::os::unix::fs::lchown(path, Some(server), Some(server))),
    }
}

/// Gives the server what root has put into a folder before, certificates and their keys, so that it can read them: files
/// that have no other name. No link is followed, as the folder may be in the hands of a server that was taken over.
fn give_folder(path: &Path, server: u32) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let folder = match rustix::fs::open(path, flags | OFlags::DIRECTORY, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        folder => folder?,
    };
    let give = |file: &File| -> io::Result<()> {
        let metadata = file.metadata()?;
        let is_alone = metadata.is_dir() || (metadata.is_file() && metadata.nlink() == 1);
        if is_alone && metadata.uid() == 0 && server != 0 {
            fchown(file, Some(server), Some(server))?;
        }
        Ok(())
    };
    for entry in rustix::fs::Dir::read_from(&folder)? {
        let entry = entry?;
        // What cannot be opened is a link, or of no kind that is read.
        if entry.file_type() == rustix::fs::FileType::RegularFile
            && entry.file_name() != AUTHORITY_KEY
            && let Ok(file) = rustix::fs::openat(&folder, entry.file_name(), flags, Mode::empty())
        {
            give(&File::from(file))?;
        }
    }
    give(&File::from(folder))
}

fn lock(path: &Path, marker: &Path) -> Result<File, DataError> {
    let io = |source| DataError::Io {
        what: "locking",
        path: marker.to_owned(),
        source,
    };
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .mode(0o644)
        .custom_flags(libc::O_NOFOLLOW);
    let mut file = options.open(marker).map_err(io)?;
    match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => {
            let held = fcntl_getlk(&file, &Flock::from(FlockType::WriteLock)).map_err(|error| io(error.into()))?;
            let pid = held
                .and_then(|lock| lock.pid)
                .map_or(0, rustix::process::Pid::as_raw_pid);
            return Err(DataError::InUse {
                path: path.to_owned(),
                pid,
            });
        }
        Err(error) => return Err(io(error.into())),
    }
    if file.metadata().map_err(io)?.len() == 0 {
        file.write_all(b"A data folder of ephyra's. Its warden holds a lock on this file.\n")
            .map_err(io)?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[test]
    fn a_new_folder_is_made_and_found_again() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        let name = Folder::take(&path, own()).unwrap().group_name();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        assert!(path.join(PACKAGES).is_dir() && path.join(PREPARED).is_dir() && path.join(MARKER).is_file());
        assert_eq!(Folder::take(&path, own()).unwrap().group_name(), name);
    }

    #[test]
    fn a_folder_of_others_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("letters"), "dear").unwrap();
        assert!(matches!(Folder::take(root.path(), own()), Err(DataError::Foreign(_))));
        assert!(!root.path().join(MARKER).exists());
        // A link of that name is no marker.
        std::os::unix::fs::symlink("/etc/passwd", root.path().join(MARKER)).unwrap();
        assert!(matches!(Folder::take(root.path(), own()), Err(DataError::Foreign(_))));
    }
}
