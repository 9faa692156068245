//! Unpacks a zip from anybody into a folder that is not there yet.
//!
//! Files and folders are written first and links last, so that nothing is ever written through a link. What a zip
//! says of its own sizes is not believed: bytes are counted as they are inflated.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Cursor, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use zip::ZipArchive;
use zip::read::ZipFile;
use zip::result::ZipError;

use super::path::{self, Parts, PathError, TARGET_BYTES, Tree};

/// How many paths a package may have.
const PATHS: usize = 65_536;
/// Folders that a zip names no mode for, and those it does not name.
const FOLDER_MODE: u32 = 0o755;
/// Files that a zip names no mode for.
const FILE_MODE: u32 = 0o644;
/// The file type in a Unix mode, and its values.
const TYPE: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;
const LINK: u32 = 0o120_000;

/// Why a package was not unpacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    /// Nothing is in it.
    #[error("the zip is empty")]
    Empty,
    /// It inflates to more than was allowed.
    #[error("the zip holds more than is allowed")]
    TooLarge,
    /// It is no zip, or one that cannot be read.
    #[error("the zip cannot be read")]
    Zip(#[source] ZipError),
    /// It holds something that a package may not hold.
    #[error("entry {entry:?} was refused: {reason}")]
    Refused {
        /// The entry's name.
        entry: String,
        /// Why.
        reason: String,
    },
    /// The disk failed, or is full.
    #[error("{} could not be written", path.display())]
    Write {
        /// What was being written.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// Unpacks `zip` into `target`, which must not exist, and returns the sum of the files' sizes, at most `budget`.
/// When it fails it leaves nothing.
pub(crate) fn unpack(zip: &[u8], target: &Path, budget: u64) -> Result<u64, UnpackError> {
    let result = Unpacker::new(zip, target, budget).and_then(Unpacker::run);
    if result.is_err() {
        match fs::remove_dir_all(target) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %target.display(), %error, "a half unpacked package could not be removed");
            }
            _ => {}
        }
    }
    result
}

struct Unpacker<'a> {
    archive: ZipArchive<Cursor<&'a [u8]>>,
    target: &'a Path,
    budget: u64,
    written: u64,
    tree: Tree,
    links: Vec<(PathBuf, String)>,
    /// Folders with the mode they are to have in the end.
    folders: Vec<(PathBuf, u32)>,
}

impl<'a> Unpacker<'a> {
    fn new(zip: &'a [u8], target: &'a Path, budget: u64) -> Result<Self, UnpackError> {
        refuse_zip64(zip)?;
        let archive = ZipArchive::new(Cursor::new(zip)).map_err(UnpackError::Zip)?;
        if archive.is_empty() {
            return Err(UnpackError::Empty);
        }
        if archive.has_duplicate_names() {
            return Err(refused("", PathError::Twice));
        }
        Ok(Self {
            archive,
            target,
            budget,
            written: 0,
            tree: Tree::default(),
            links: Vec::new(),
            folders: Vec::new(),
        })
    }

    fn run(mut self) -> Result<u64, UnpackError> {
        // All names first: what is refused costs no disk.
        for index in 0..self.archive.len() {
            self.check(index)?;
        }
        make_folder(self.target)?;
        for index in 0..self.archive.len() {
            self.entry(index)?;
        }
        for (path, target) in &self.links {
            symlink(target, path).map_err(|source| write_error(path, source))?;
        }
        // Deepest first, so that no mode keeps us from those below.
        for (path, mode) in self.folders.iter().rev() {
            // The owner keeps all rights: the package must be removable.
            fs::set_permissions(path, Permissions::from_mode(mode | 0o700))
                .map_err(|source| write_error(path, source))?;
        }
        Ok(self.written)
    }

    /// Checks an entry's name and type against those before it.
    fn check(&mut self, index: usize) -> Result<(), UnpackError> {
        let file = self.archive.by_index_raw(index).map_err(UnpackError::Zip)?;
        let Entry { name, parts, kind, .. } = Entry::of(&file)?;
        let added = match kind {
            FOLDER => self.tree.add_folder(&parts),
            _ => self.tree.add_leaf(&parts),
        };
        added.map_err(|error| refused(&name, error))?;
        if self.tree.len() > PATHS {
            return Err(refused(&name, "the package has too many files and folders"));
        }
        Ok(())
    }

    /// Writes an entry that was checked.
    fn entry(&mut self, index: usize) -> Result<(), UnpackError> {
        let mut file = self.archive.by_index(index).map_err(UnpackError::Zip)?;
        let Entry {
            name,
            parts,
            kind,
            permissions,
        } = Entry::of(&file)?;
        let folders = match kind {
            FOLDER => parts.as_slice(),
            _ => &parts[..parts.len().saturating_sub(1)],
        };
        let folder = make_folders(self.target, folders)?;
        match kind {
            FOLDER => {
                self.folders.push((folder, permissions.unwrap_or(FOLDER_MODE)));
            }
            LINK => {
                let mut target = Vec::new();
                file.by_ref()
                    .take(TARGET_BYTES as u64 + 1)
                    .read_to_end(&mut target)
                    .map_err(|error| UnpackError::Zip(ZipError::Io(error)))?;
                let target = path::check_target(&target, folders.len()).map_err(|error| refused(&name, error))?;
                self.links.push((place(self.target, &parts), target.to_owned()));
            }
            _ => {
                let path = place(self.target, &parts);
                let left = self.budget - self.written;
                self.written += write_file(&mut file, &path, permissions.unwrap_or(FILE_MODE), left)?;
            }
        }
        Ok(())
    }
}

/// What the directory of the zip says of an entry.
struct Entry {
    name: String,
    parts: Parts,
    /// One of [`REGULAR`], [`FOLDER`] and [`LINK`].
    kind: u32,
    permissions: Option<u32>,
}

impl Entry {
    fn of<R: io::Read>(file: &ZipFile<'_, R>) -> Result<Self, UnpackError> {
        let name = String::from_utf8_lossy(file.name_raw()).into_owned();
        let parts = path::parse(file.name_raw()).map_err(|error| refused(&name, error))?;
        let mode = file.unix_mode();
        let kind = match mode.map_or(0, |mode| mode & TYPE) {
            // Some tools write the permissions alone; then the name tells.
            0 if file.is_dir() => FOLDER,
            0 => REGULAR,
            // A folder's name ends in a slash, whatever its mode says; anything else would be read as two things.
            FOLDER if file.is_dir() => FOLDER,
            REGULAR if !file.is_dir() => REGULAR,
            LINK if !file.is_dir() => LINK,
            _ => return Err(refused(&name, "it is neither a file, a folder nor a link")),
        };
        // A function runs as a user of its own: what others may not read would be of no use to it. AWS has it fail
        // on such files; here they are made readable.
        let permissions = mode
            .map(|mode| mode & 0o777)
            .filter(|mode| *mode != 0)
            .map(|mode| mode | if kind == FOLDER { 0o555 } else { 0o444 });
        Ok(Self {
            name,
            parts,
            kind,
            permissions,
        })
    }
}

/// Inflates one file, at most `left` bytes of it.
fn write_file(source: &mut impl io::Read, path: &Path, mode: u32, left: u64) -> Result<u64, UnpackError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| write_error(path, source))?;
    let mut buffer = [0; 16 * 1024];
    let mut written = 0;
    loop {
        let count = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(UnpackError::Zip(ZipError::Io(error))),
        };
        written += count as u64;
        if written > left {
            return Err(UnpackError::TooLarge);
        }
        file.write_all(&buffer[..count])
            .map_err(|source| write_error(path, source))?;
    }
    // Set by hand, as the process's umask would take bits away.
    file.set_permissions(Permissions::from_mode(mode))
        .map_err(|source| write_error(path, source))?;
    Ok(written)
}

fn make_folders(root: &Path, parts: &[String]) -> Result<PathBuf, UnpackError> {
    let mut path = root.to_owned();
    for part in parts {
        path.push(part);
        make_folder(&path)?;
    }
    Ok(path)
}

/// Makes a folder unless it is there. That nothing else is there in its place was checked before.
fn make_folder(path: &Path) -> Result<(), UnpackError> {
    match DirBuilder::new().mode(FOLDER_MODE).create(path) {
        Ok(()) => {
            fs::set_permissions(path, Permissions::from_mode(FOLDER_MODE)).map_err(|source| write_error(path, source))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(write_error(path, source)),
    }
}

fn place(root: &Path, parts: &Parts) -> PathBuf {
    parts.iter().fold(root.to_owned(), |path, part| path.join(part))
}

fn refused(entry: &str, reason: impl ToString) -> UnpackError {
    UnpackError::Refused {
        entry: entry.chars().take(200).collect(),
        reason: reason.to_string(),
    }
}

fn write_error(path: &Path, source: io::Error) -> UnpackError {
    UnpackError::Write {
        path: path.to_owned(),
        source,
    }
}

/// Refuses the 64-bit form of the directory. No package within the limits needs it, and without it the number of
/// entries, hence the memory for the directory, is bounded by 65,535.
fn refuse_zip64(zip: &[u8]) -> Result<(), UnpackError> {
    const END: &[u8] = b"PK\x05\x06";
    const LOCATOR: &[u8] = b"PK\x06\x07";
    const LOCATOR_BYTES: usize = 20;
    let tail = &zip[zip.len().saturating_sub(66_000 + LOCATOR_BYTES)..];
    let is_zip64 = tail
        .windows(LOCATOR_BYTES + END.len())
        .any(|window| window.starts_with(LOCATOR) && window.ends_with(END));
    if is_zip64 {
        return Err(refused("", "the zip has a 64-bit directory"));
    }
    Ok(())
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
