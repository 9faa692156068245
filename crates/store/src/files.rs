//! Blobs as files, named by their digest and spread over folders by its first two digits.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ephyra_core::digest::Digest;
use futures_util::future::BoxFuture;

use crate::layout::sync_dir;
use crate::{Blobs, StoreError, backend};

/// The embedded [`Blobs`]: a folder.
#[derive(Clone, Debug)]
pub struct FileBlobs {
    folder: Arc<Folder>,
}

#[derive(Debug)]
struct Folder {
    root: PathBuf,
    unfinished: PathBuf,
}

impl FileBlobs {
    /// Opens the folder `data`/blobs, which is made when it is absent, and removes what a crash left unfinished. One
    /// program at a time: the hold of [`Sqlite`](crate::sqlite::Sqlite) on the data folder sees to it. Blocks.
    pub fn open(data: &Path) -> Result<Self, StoreError> {
        let root = data.join("blobs");
        let folder = Folder {
            unfinished: root.join("unfinished"),
            root,
        };
        folder
            .prepare()
            .map_err(|error| backend(format!("opening the blobs in {}", data.display()), error))?;
        Ok(Self {
            folder: Arc::new(folder),
        })
    }

    /// Runs `work` where it may block.
    fn run<T, F>(&self, operation: &'static str, work: F) -> BoxFuture<'_, Result<T, StoreError>>
    where
        T: Send + 'static,
        F: FnOnce(&Folder) -> io::Result<T> + Send + 'static,
    {
        Box::pin(async move {
            let folder = Arc::clone(&self.folder);
            tokio::task::spawn_blocking(move || work(&folder))
                .await
                .map_err(|error| backend(operation, error))?
                .map_err(|error| backend(operation, error))
        })
    }
}

impl Blobs for FileBlobs {
    fn put(&self, bytes: Bytes) -> BoxFuture<'_, Result<Digest, StoreError>> {
        self.run("storing a blob", move |folder| folder.put(&bytes))
    }

    fn get(&self, digest: Digest) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        self.run("reading a blob", move |folder| {
            Ok(if_present(fs::read(folder.path(digest)))?.map(Bytes::from))
        })
    }

    fn path(&self, digest: Digest) -> BoxFuture<'_, Result<Option<PathBuf>, StoreError>> {
        self.run("looking for a blob", move |folder| {
            let path = folder.path(digest);
            Ok(if_present(fs::symlink_metadata(&path))?.map(|_| path))
        })
    }

    fn delete(&self, digest: Digest) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run("deleting a blob", move |folder| {
            let path = folder.path(digest);
            if if_present(fs::remove_file(&path))?.is_some() {
                sync_dir(path.parent().unwrap_or(&folder.root))?;
            }
            Ok(())
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Digest>, StoreError>> {
        self.run("listing blobs", Folder::list)
    }
}

impl Folder {
    fn prepare(&self) -> io::Result<()> {
        make_dir(&self.root)?;
        if_present(fs::remove_dir_all(&self.unfinished))?;
        make_dir(&self.unfinished)?;
        sync_dir(&self.root.join(".."))
    }

    fn path(&self, digest: Digest) -> PathBuf {
        let name = digest.to_string();
        let shard = name.get(..2).unwrap_or_default();
        self.root.join(shard).join(&name)
    }

    fn put(&self, bytes: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of(bytes);
        let path = self.path(digest);
        let shard = path.parent().unwrap_or(&self.root);
        if if_present(fs::symlink_metadata(&path))?.is_none() {
            let mut file = tempfile::NamedTempFile::new_in(&self.unfinished)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            make_dir(shard)?;
            file.persist(&path).map_err(|error| error.error)?;
        }
        // For one that is there as well: whoever renamed it may not have come to this.
        sync_dir(shard)?;
        sync_dir(&self.root)?;
        Ok(digest)
    }

    fn list(&self) -> io::Result<Vec<Digest>> {
        let mut digests = Vec::new();
        for shard in fs::read_dir(&self.root)? {
            let shard = shard?;
            if !shard.file_type()?.is_dir() || shard.path() == self.unfinished {
                continue;
            }
            for file in fs::read_dir(shard.path())? {
                digests.extend(file?.file_name().to_str().and_then(|name| name.parse::<Digest>().ok()));
            }
        }
        Ok(digests)
    }
}

/// Makes a folder for its owner alone, unless it is there.
fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// `None` for what is not there.
fn if_present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
