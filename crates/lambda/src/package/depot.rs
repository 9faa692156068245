//! Keeps packages: the zip as a blob, its content unpacked under `code/`, both named by the zip's SHA-256.
//!
//! How many records use a package is counted in memory and counted anew at each start, so that no crash can leave
//! the count wrong; what nothing uses is removed then.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ephyra_core::digest::Digest;
use ephyra_core::limits;
use ephyra_store::{Blobs, StoreError};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{UnpackError, unpack};
use crate::record::Package;

/// How many packages are unpacked at once: they compete for the same disk.
const AT_ONCE: usize = 2;
/// The largest package when unpacked, in bytes: AWS takes what is smaller than its limit.
const LARGEST: u64 = limits::UNZIPPED_BYTES - 1;
/// Packages are changed one at a time within a shard.
const SHARDS: usize = 16;
/// How many files are synced one by one: beyond, a sync of the file system is faster.
const SYNCED_ONE_BY_ONE: usize = 64;
/// What folders under `tmp/` that are ours begin with.
const TEMPORARY: &str = "package-";

/// Why a package could not be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DepotError {
    /// The zip cannot be unpacked.
    #[error("the package cannot be unpacked")]
    Unpack(#[from] UnpackError),
    /// The zip could not be stored or read.
    #[error("the package's zip could not be stored or read")]
    Blobs(#[from] StoreError),
    /// A folder could not be made, moved, read or synced.
    #[error("{} could not be {verb}", path.display())]
    Folder {
        /// What was to be done: made, moved, read, synced.
        verb: &'static str,
        /// The folder.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A record names a package whose zip is gone.
    #[error("the zip of package {0} is gone")]
    Lost(Digest),
    /// The program is ending.
    #[error("the platform is shutting down")]
    Stopped,
}

/// A package that something uses.
#[derive(Clone, Copy, Debug)]
struct Holding {
    users: usize,
    package: Package,
    /// Whether what is unpacked survives the loss of power.
    is_durable: bool,
}

/// The packages of an account.
pub(crate) struct Depot {
    code: PathBuf,
    temporary: PathBuf,
    blobs: Arc<dyn Blobs>,
    holdings: Mutex<HashMap<Digest, Holding>>,
    slots: Semaphore,
    shards: [tokio::sync::Mutex<()>; SHARDS],
}

impl Depot {
    /// A depot in the data folder `data`, whose zips are in `blobs`, which it has for itself.
    pub(crate) fn open(data: &Path, blobs: Arc<dyn Blobs>) -> Result<Self, DepotError> {
        let depot = Self {
            code: data.join("code"),
            temporary: data.join("tmp"),
            blobs,
            holdings: Mutex::default(),
            slots: Semaphore::new(AT_ONCE),
            shards: Default::default(),
        };
        for path in [&depot.code, &depot.temporary] {
            fs::create_dir_all(path).map_err(|source| folder_error("made", path, source))?;
        }
        Ok(depot)
    }

    /// Where a package is unpacked.
    pub(crate) fn folder(&self, digest: Digest) -> PathBuf {
        self.code.join(digest.to_string())
    }

    /// Keeps a zip for one more user. When it returns, the zip is durable and its content is in place; that the
    /// content is durable too takes a [`Depot::sync`].
    pub(crate) async fn keep(&self, zip: Bytes) -> Result<Package, DepotError> {
        let slot = self.slots.acquire().await.map_err(|_| DepotError::Stopped)?;
        let digest = {
            let zip = zip.clone();
            blocking(move || Ok(Digest::of(&zip))).await?
        };
        let _shard = self.shard(digest).lock().await;
        // One that was lost from disk is put there again by whoever sends it.
        if self.folder(digest).is_dir()
            && let Some(package) = self.share_known(digest)
        {
            return Ok(package);
        }
        // What a removal has left that failed half way.
        self.remove_folder(self.folder(digest)).await?;
        let unpacked_bytes = self.unpack(digest, zip.clone()).await?;
        drop(slot);
        let package = Package {
            digest,
            zip_bytes: zip.len() as u64,
            unpacked_bytes,
        };
        if let Err(error) = self.blobs.put(zip).await {
            self.discard(digest).await;
            return Err(error.into());
        }
        let mut holdings = self.holdings.lock();
        let holding = holdings.entry(digest).or_insert(Holding {
            users: 0,
            package,
            is_durable: false,
        });
        holding.users += 1;
        holding.is_durable = false;
        Ok(package)
    }

    /// Counts one more user of a package that a living record uses.
    pub(crate) fn share(&self, package: Package) {
        let mut holdings = self.holdings.lock();
        // One that is not known yet was found at the start, where [`Depot::restore`] looks after it.
        let holding = holdings.entry(package.digest).or_insert(Holding {
            users: 0,
            package,
            is_durable: true,
        });
        holding.users += 1;
    }

    fn share_known(&self, digest: Digest) -> Option<Package> {
        let mut holdings = self.holdings.lock();
        let holding = holdings.get_mut(&digest)?;
        holding.users += 1;
        Some(holding.package)
    }

    /// Counts one user less, and removes the package with its last: then `true`.
    pub(crate) async fn release(&self, digest: Digest) -> bool {
        let _shard = self.shard(digest).lock().await;
        {
            let mut holdings = self.holdings.lock();
            let Some(holding) = holdings.get_mut(&digest) else {
                return false;
            };
            holding.users -= 1;
            if holding.users > 0 {
                return false;
            }
            holdings.remove(&digest);
        }
        self.discard(digest).await;
        true
    }

    /// Makes what is unpacked of a package durable, unless it is known to be.
    pub(crate) async fn sync(&self, digest: Digest) -> Result<(), DepotError> {
        let is_durable = |holding: &Holding| holding.is_durable;
        if self.holdings.lock().get(&digest).is_none_or(is_durable) {
            return Ok(());
        }
        let folder = self.folder(digest);
        let code = self.code.clone();
        blocking(move || sync_folder(&folder, &code)).await?;
        if let Some(holding) = self.holdings.lock().get_mut(&digest) {
            holding.is_durable = true;
        }
        Ok(())
    }

    /// Reads a package's zip.
    pub(crate) async fn zip(&self, digest: Digest) -> Result<Option<Bytes>, StoreError> {
        self.blobs.get(digest).await
    }

    /// Puts a package that a record uses in place again, when it is not or when `anew` says that it may be torn.
    pub(crate) async fn restore(&self, digest: Digest, anew: bool) -> Result<(), DepotError> {
        let folder = self.folder(digest);
        if !anew && folder.is_dir() {
            return Ok(());
        }
        let _shard = self.shard(digest).lock().await;
        let zip = self.blobs.get(digest).await?.ok_or(DepotError::Lost(digest))?;
        self.remove_folder(folder).await?;
        self.unpack(digest, zip).await?;
        if let Some(holding) = self.holdings.lock().get_mut(&digest) {
            holding.is_durable = false;
        }
        Ok(())
    }

    /// Removes what an interrupted run has left and what no record uses. Call when every user was counted.
    pub(crate) async fn sweep(&self) -> Result<(), DepotError> {
        let temporary = self.temporary.clone();
        let code = self.code.clone();
        let found = blocking(move || {
            for path in children(&temporary)? {
                if file_name(&path).starts_with(TEMPORARY) {
                    fs::remove_dir_all(&path).map_err(|source| folder_error("removed", &path, source))?;
                }
            }
            children(&code)
        })
        .await?;
        for path in found {
            let is_used = file_name(&path)
                .parse()
                .is_ok_and(|digest: Digest| self.holdings.lock().contains_key(&digest));
            if !is_used {
                self.remove_folder(path).await?;
            }
        }
        for digest in self.blobs.list().await? {
            if !self.holdings.lock().contains_key(&digest) {
                self.blobs.delete(digest).await?;
            }
        }
        Ok(())
    }

    /// Unpacks beside and then moves into place, so that what is in place is whole.
    async fn unpack(&self, digest: Digest, zip: Bytes) -> Result<u64, DepotError> {
        let target = self.folder(digest);
        let temporary = self.temporary.join(format!("{TEMPORARY}{}", Uuid::new_v4()));
        blocking(move || {
            let bytes = unpack(&zip, &temporary, LARGEST)?;
            fs::rename(&temporary, &target).map_err(|source| folder_error("moved", &temporary, source))?;
            Ok(bytes)
        })
        .await
    }

    /// Removes a package from disk. A failure is logged: the next start tries again.
    async fn discard(&self, digest: Digest) {
        if let Err(error) = self.remove_folder(self.folder(digest)).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "an unused package stays on disk"
            );
        }
        if let Err(error) = self.blobs.delete(digest).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "an unused zip stays on disk");
        }
    }

    /// Moves away before it removes, so that what is in place is whole.
    async fn remove_folder(&self, folder: PathBuf) -> Result<(), DepotError> {
        let away = self.temporary.join(format!("{TEMPORARY}{}", Uuid::new_v4()));
        blocking(move || {
            match fs::rename(&folder, &away) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(source) => return Err(folder_error("moved", &folder, source)),
                Ok(()) => {}
            }
            fs::remove_dir_all(&away).map_err(|source| folder_error("removed", &away, source))
        })
        .await
    }

    fn shard(&self, digest: Digest) -> &tokio::sync::Mutex<()> {
        &self.shards[usize::from(digest.as_bytes()[0]) % SHARDS]
    }
}

/// Syncs a package and the folders that lead to it; one with many files by way of its whole file system.
fn sync_folder(folder: &Path, code: &Path) -> Result<(), DepotError> {
    let sync = || {
        let shard = folder.parent().unwrap_or(code);
        if sync_tree(folder, &mut 0).is_err() {
            rustix::fs::syncfs(fs::File::open(code)?)?;
        }
        sync_one(shard)?;
        sync_one(code)
    };
    sync().map_err(|source| folder_error("synced", folder, source))
}

/// Fails for a tree that is large or holds files that may not be read.
fn sync_tree(folder: &Path, seen: &mut usize) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        *seen += 1;
        if *seen > SYNCED_ONE_BY_ONE {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        if kind.is_dir() {
            sync_tree(&entry.path(), seen)?;
        } else if kind.is_file() {
            sync_one(&entry.path())?;
        }
    }
    sync_one(folder)
}

fn sync_one(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DepotError> + Send + 'static,
) -> Result<T, DepotError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(DepotError::Stopped))
}

fn children(folder: &Path) -> Result<Vec<PathBuf>, DepotError> {
    let read = || -> io::Result<Vec<PathBuf>> { fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect() };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(Vec::new()),
        other => other.map_err(|source| folder_error("read", folder, source)),
    }
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn folder_error(verb: &'static str, path: &Path, source: io::Error) -> DepotError {
    DepotError::Folder {
        verb,
        path: path.to_owned(),
        source,
    }
}
