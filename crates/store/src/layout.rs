//! The data folder: one program at a time, and a layout that it knows.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use crate::{StoreError, backend};

/// The layout that this program writes, and the newest that it reads.
pub const LAYOUT: u32 = 1;

/// The hold on a data folder; it ends with the process at the latest.
#[derive(Debug)]
pub(crate) struct Hold {
    _lock: File,
}

/// Makes the folder when it is absent (readable by its owner alone), takes hold of it and checks its layout.
pub(crate) fn claim(dir: &Path) -> Result<Hold, StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| backend(format!("creating the data folder {}", dir.display()), error))?;
    let path = dir.join("lock");
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| backend(format!("opening {}", path.display()), error))?;
    lock.try_lock().map_err(|error| {
        let operation = match &error {
            TryLockError::WouldBlock => {
                format!(
                    "taking hold of the data folder {}, which another ephyra uses,",
                    dir.display()
                )
            }
            TryLockError::Error(_) => format!("locking {}", path.display()),
        };
        backend(operation, error)
    })?;
    check_layout(dir)?;
    Ok(Hold { _lock: lock })
}

fn check_layout(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join("layout");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return write_layout(dir).map_err(|error| backend(format!("writing {}", path.display()), error));
        }
        Err(error) => return Err(backend(format!("reading {}", path.display()), error)),
    };
    let found: u32 = text
        .trim()
        .parse()
        .map_err(|error| backend(format!("understanding {}", path.display()), error))?;
    if found > LAYOUT {
        return Err(StoreError::NewerLayout { found, known: LAYOUT });
    }
    Ok(())
}

fn write_layout(dir: &Path) -> std::io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    writeln!(file, "{LAYOUT}")?;
    file.as_file().sync_all()?;
    file.persist(dir.join("layout")).map_err(|error| error.error)?;
    sync_dir(dir)
}

/// Makes the names in a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_holder_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let hold = claim(dir.path()).unwrap();
        let refused = claim(dir.path()).unwrap_err();
        assert!(refused.to_string().contains("another ephyra"), "{refused}");
        drop(hold);
        claim(dir.path()).unwrap();
    }

    #[test]
    fn a_newer_layout_is_refused_by_its_number() {
        let dir = tempfile::tempdir().unwrap();
        drop(claim(dir.path()).unwrap());
        fs::write(dir.path().join("layout"), "7\n").unwrap();
        let refused = claim(dir.path()).unwrap_err();
        assert!(
            matches!(
                refused,
                StoreError::NewerLayout {
                    found: 7,
                    known: LAYOUT
                }
            ),
            "{refused}"
        );
        fs::write(dir.path().join("layout"), "seven").unwrap();
        assert!(matches!(claim(dir.path()), Err(StoreError::Backend { .. })));
    }
}
