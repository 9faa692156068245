//! What was made ahead for sandboxes to boot from: folders of files in the data folder, each named by a digest over
//! everything that went into it.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ephyra_core::digest::Digest;

/// The folders of one data folder.
#[derive(Clone, Debug)]
pub struct Prepared {
    folder: PathBuf,
}

impl Prepared {
    /// Those in `folder`, which exists.
    pub const fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }

    /// Whether the folder of this digest is there: then it is whole.
    pub fn has(&self, digest: Digest) -> bool {
        self.path(digest).is_dir()
    }

    /// The digests of all folders that are there.
    pub fn all(&self) -> io::Result<Vec<Digest>> {
        let mut digests = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            // What is unfinished has another name, and is begun anew by whoever needs it.
            let name = entry?.file_name();
            digests.extend(name.to_str().and_then(|name| name.parse::<Digest>().ok()));
        }
        Ok(digests)
    }

    /// Whether a folder has a file of this name.
    pub fn has_file(&self, digest: Digest, name: &str) -> bool {
        self.path(digest).join(name).is_file()
    }

    /// Removes a folder, if it is there. Sandboxes that have it mounted find it empty.
    pub fn remove(&self, digest: Digest) -> io::Result<()> {
        // First away from its name: what is there under that is whole.
        let unfinished = self.folder.join(format!(".{digest}"));
        remove(&unfinished)?;
        match fs::rename(self.path(digest), &unfinished) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => remove(&unfinished),
        }
    }

    /// A file of a folder.
    pub fn read(&self, digest: Digest, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path(digest).join(name))
    }

    /// Writes a folder, durably and as a whole. Its files are readable by all, and all of the same, constant age: some
    /// programs compare what they have prepared by that. One that is there already stays.
    pub fn write(&self, digest: Digest, files: &[(&str, &[u8])]) -> io::Result<()> {
        if self.has(digest) {
            return Ok(());
        }
        // One process writes here, and each folder once; what is there was left when that process died.
        let unfinished = self.folder.join(format!(".{digest}"));
        remove(&unfinished)?;
        fs::create_dir(&unfinished)?;
        fs::set_permissions(&unfinished, Permissions::from_mode(0o755))?;
        for (name, bytes) in files {
            let mut file = File::create(unfinished.join(name))?;
            file.write_all(bytes)?;
            file.set_permissions(Permissions::from_mode(0o644))?;
            file.set_modified(SystemTime::UNIX_EPOCH + AGE)?;
            file.sync_all()?;
        }
        File::open(&unfinished)?.sync_all()?;
        fs::rename(&unfinished, self.path(digest))?;
        File::open(&self.folder)?.sync_all()
    }
}

/// When all files were last changed, after 1970: 1980, the least that a zip can say.
const AGE: Duration = Duration::from_secs(315_532_800);

fn remove(folder: &std::path::Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_there_as_a_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let prepared = Prepared::new(folder.path().to_owned());
        let digest = Digest::of(b"one");
        assert!(!prepared.has(digest));
        prepared.write(digest, &[("a", b"1"), ("b", b"2")]).unwrap();
        // The second is not looked at.
        prepared.write(digest, &[("a", b"other")]).unwrap();
        assert!(prepared.has(digest));
        assert_eq!(prepared.read(digest, "a").unwrap(), b"1");
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing unfinished is left"
        );
        let file = folder.path().join(digest.to_string()).join("b");
        let modified = fs::metadata(&file).unwrap().modified().unwrap();
        assert_eq!(modified, SystemTime::UNIX_EPOCH + AGE);
        assert_eq!(prepared.all().unwrap(), [digest]);
        assert!(prepared.has_file(digest, "a") && !prepared.has_file(digest, "c"));
        assert!(prepared.write(Digest::of(b"two"), &[("x/y", b"")]).is_err());
        assert!(!prepared.has(Digest::of(b"two")));
        assert_eq!(prepared.all().unwrap(), [digest], "what is unfinished is not there");
        for _ in 0..2 {
            prepared.remove(digest).unwrap();
            assert!(!prepared.has(digest));
        }
    }
}
