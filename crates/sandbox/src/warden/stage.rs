//! The warden's own mount namespace: a small file system, seen by nobody else, from which sandboxes are put together.

use std::fs;
use std::path::{Path, PathBuf};

use ephyra_sys::clone::Namespaces;
use ephyra_sys::namespace::unshare;
use rustix::mount::{MountPropagationFlags, mount_change};

use super::data::Folder;
use super::{During, PACKAGES, PREPARED, StartError};
use crate::mount::{READ_ONLY, TAME, attach, copy_of, new_file_system};
use crate::runtimes::Runtime;
use crate::skeleton::{self, RuntimeFiles, make_folders};

/// Where the stage is mounted: a folder that is on every Linux, that nobody can remove, and that the warden has no
/// other use for.
pub(crate) const STAGE: &str = "/sys/module";

/// Where things are on the stage.
#[derive(Debug)]
pub(super) struct Stage {
    /// An empty folder on which each process puts together its own root, in its own mount namespace.
    pub(super) mount_point: PathBuf,
    /// The data folder's packages, read-only.
    pub(super) packages: PathBuf,
    /// What was prepared, read-only.
    pub(super) prepared: PathBuf,
    /// The runtimes' roots, in the order of the list.
    pub(super) skeletons: Vec<PathBuf>,
}

/// Moves this process into a mount namespace of its own, from which nothing comes back to the host's.
pub(crate) fn leave_mounts() -> std::io::Result<()> {
    unshare(Namespaces::MOUNT)?;
    Ok(mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?)
}

impl Stage {
    pub(super) fn build(data: &Folder, runtimes: &[Runtime], files: &RuntimeFiles) -> Result<Self, StartError> {
        let step = "preparing the mount namespace";
        leave_mounts().during(step)?;
        let stage = Path::new(STAGE);
        let tmpfs = new_file_system("tmpfs", &[("size", "1m"), ("mode", "0755")]).during(step)?;
        attach(&tmpfs, TAME, false, stage).during(step)?;
        let [mount_point, packages, prepared] = ["root", "packages", "prepared"].map(|name| stage.join(name));
        fs::create_dir(&mount_point).during(step)?;
        for (name, target) in [(PACKAGES, &packages), (PREPARED, &prepared)] {
            fs::create_dir(target).during(step)?;
            let folder = copy_of(&data.path().join(name), false).during("finding the packages")?;
            attach(&folder, READ_ONLY, false, target).during("showing the packages")?;
        }
        let mut skeletons = Vec::new();
        for (number, runtime) in runtimes.iter().enumerate() {
            let target = stage.join("runtimes").join(number.to_string());
            make_folders(&target).during(step)?;
            skeleton::build(runtime, files, &target)?;
            skeletons.push(target);
        }
        Ok(Self {
            mount_point,
            packages,
            prepared,
            skeletons,
        })
    }
}
