//! The data folder's `tls/`: each `*.pem` in it holds a certificate, its chain and its private key, and is shown to clients,
//! but for the local authority's own two files.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use crate::pem::LARGEST;
use crate::{Certificate, Refreshed};

/// The local authority's certificate, for everybody to read and to trust.
pub const AUTHORITY: &str = "ca.pem";
/// The local authority's private key.
pub const AUTHORITY_KEY: &str = "ca-key.pem";
/// The certificate that the local authority has issued.
pub const LOCAL: &str = "local.pem";

/// Files that are looked at; more are somebody's mistake.
const FILES: usize = 1000;

/// Who can read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Everybody who can come to the folder.
    All,
    /// Whose the data folder is: the server.
    Server,
    /// Who has made it; not the server, if that was root.
    Maker,
}

/// The folder.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Of a data folder.
    pub fn of(data: &Path) -> Self {
        Self(data.join("tls"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A file's path.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Whether there is anything to show.
    pub fn has_certificates(&self) -> bool {
        self.shown().is_ok_and(|names| !names.is_empty())
    }

    /// Makes the folder when it is not there, for its owner alone, who is the data folder's.
    ///
    /// # Errors
    /// Those of mkdir(2) and chown(2).
    pub fn make(&self) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // A link could lead root anywhere.
                let is_folder = fs::symlink_metadata(&self.0)?.is_dir();
                is_folder
                    .then_some(())
                    .ok_or_else(|| io::ErrorKind::NotADirectory.into())
            }
            made => made.and_then(|()| self.give(&File::open(&self.0)?)),
        }
    }

    /// Puts a file in the place of what was there, whole or not at all.
    ///
    /// # Errors
    /// Those of open(2), write(2), fsync(2), chown(2) and rename(2).
    pub fn write(&self, name: &str, bytes: &[u8], readers: Readers) -> io::Result<()> {
        let new = self.file(&format!(".{name}.new"));
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mode = if readers == Readers::All { 0o644 } else { 0o600 };
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(bytes)?;
        if readers != Readers::Maker {
            self.give(&file)?;
        }
        file.sync_all()?;
        fs::rename(&new, self.file(name))?;
        File::open(&self.0)?.sync_all()
    }

    /// Reads a file of the folder's: not a link, and not a large one.
    ///
    /// # Errors
    /// Those of open(2) and read(2), and `InvalidData` for a larger one.
    pub fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).map_err(io::Error::other)?;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(self.file(name))?;
        read_bounded(&file)
    }

    /// The names of the files that are shown.
    fn shown(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0)?.take(FILES) {
            let Ok(name) = entry?.file_name().into_string() else {
                continue;
            };
            if name.ends_with(".pem") && !name.starts_with('.') && name != AUTHORITY && name != AUTHORITY_KEY {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// To whom the data folder belongs, this belongs too.
    fn give(&self, file: &File) -> io::Result<()> {
        let data = fs::metadata(self.0.parent().unwrap_or(&self.0))?;
        let own = file.metadata()?;
        if own.uid() == data.uid() {
            Ok(())
        } else {
            fchown(file, Some(data.uid()), Some(data.gid()))
        }
    }
}

pub(crate) fn read_bounded(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(LARGEST).map_err(io::Error::other)?;
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() > LARGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large"));
    }
    Ok(bytes)
}

/// What was read of the folder last.
#[derive(Debug)]
pub struct Loaded {
    folder: Folder,
    certificates: BTreeMap<String, Arc<Certificate>>,
}

impl Loaded {
    /// Nothing yet.
    pub const fn new(folder: Folder) -> Self {
        Self {
            folder,
            certificates: BTreeMap::new(),
        }
    }

    /// Reads all anew.
    ///
    /// # Errors
    /// When the folder itself cannot be read.
    pub fn refresh(&mut self) -> io::Result<Refreshed> {
        let names = match self.folder.shown() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            names => names?,
        };
        let mut broken = Vec::new();
        let mut before = std::mem::take(&mut self.certificates);
        for name in names {
            let read = self.folder.read(&name).map_err(|error| error.to_string());
            let read = read.and_then(|bytes| Certificate::read(&bytes, &bytes).map_err(|error| error.to_string()));
            let certificate = match read {
                Ok(certificate) => Some(Arc::new(certificate)),
                Err(reason) => {
                    broken.push(format!("{name}: {reason}"));
                    before.remove(&name)
                }
            };
            if let Some(certificate) = certificate {
                self.certificates.insert(name, certificate);
            }
        }
        Ok(Refreshed {
            shown: self.certificates.values().cloned().collect(),
            broken,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn text(name: &str) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        format!("{}{}", key.serialize_pem(), made.pem())
    }

    #[test]
    fn a_broken_file_keeps_what_it_held() {
        let data = tempfile::tempdir().unwrap();
        let folder = Folder::of(data.path());
        let mut loaded = Loaded::new(folder.clone());
        assert!(loaded.refresh().unwrap().shown.is_empty() && !folder.has_certificates());
        folder.make().unwrap();
        folder.make().unwrap();
        folder
            .write("a.pem", text("a.test").as_bytes(), Readers::Server)
            .unwrap();
        folder.write(AUTHORITY, text("ca").as_bytes(), Readers::All).unwrap();
        let mode = |name: &str| fs::metadata(folder.file(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("a.pem"), mode(AUTHORITY), mode("")), (0o600, 0o644, 0o700));
        let Refreshed { shown, broken } = loaded.refresh().unwrap();
        assert_eq!((shown.len(), broken.len()), (1, 0));
        folder
            .write("a.pem", b"-----BEGIN CERTIFICATE-----\n", Readers::Server)
            .unwrap();
        folder
            .write("b.pem", text("b.test").as_bytes(), Readers::Server)
            .unwrap();
        std::os::unix::fs::symlink("b.pem", folder.file("c.pem")).unwrap();
        let Refreshed { shown, broken } = loaded.refresh().unwrap();
        let names: Vec<_> = shown.iter().map(|certificate| certificate.names[0].as_str()).collect();
        assert_eq!(names, ["a.test", "b.test"]);
        assert_eq!(broken.len(), 2, "{broken:?}");
        fs::remove_file(folder.file("a.pem")).unwrap();
        assert_eq!(loaded.refresh().unwrap().shown.len(), 1);
        folder
            .write("b.pem", &vec![b'a'; LARGEST + 1], Readers::Server)
            .unwrap();
        assert_eq!(loaded.refresh().unwrap().shown.len(), 1);
    }
}
