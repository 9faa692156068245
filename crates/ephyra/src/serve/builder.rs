//! Gives the guest room what it needs of the warden: runtimes and built sandboxes.

use std::path::{Path, PathBuf};

use ephyra_core::digest::Digest;
use ephyra_core::environment::LaunchError;
use ephyra_core::revision::Revision;
use ephyra_guest::java::base::Bases;
use ephyra_guest::prepared::Prepared;
use ephyra_guest::{Bootstrap, Builder, Runtime, RuntimeKind};
use ephyra_sandbox::client::{Blank, CreateError, Warden};
use ephyra_sandbox::runtimes::Kind;
use ephyra_sandbox::sandbox::Sandbox;
use ephyra_sandbox::warden::PREPARED;
use futures_util::future::BoxFuture;

use super::bases;

/// The warden as the guest room sees it.
pub(crate) struct WardenBuilder {
    warden: Warden,
    bases: Bases,
    prepared: Prepared,
    code: PathBuf,
}

impl WardenBuilder {
    /// `data` is the folder whose `code` holds the unpacked packages.
    pub(crate) fn new(warden: Warden, data: &Path) -> std::io::Result<Self> {
        let prepared = Prepared::new(data.join(PREPARED));
        Ok(Self {
            bases: bases::open(&warden, prepared.clone())?,
            prepared,
            warden,
            code: data.join("code"),
        })
    }

    /// The runtimes of which environments are held ready from the start, with how many: the newest of each family.
    pub(crate) fn expected(&self) -> Vec<(Runtime, usize)> {
        let newest = |kind: Kind| self.warden.runtimes().iter().rfind(|runtime| runtime.kind == kind);
        [(Kind::Python, 2), (Kind::Node, 1), (Kind::Provided, 1)]
            .into_iter()
            .filter_map(|(kind, count)| Some((self.runtime(&newest(kind)?.identifier).ok()?, count)))
            .collect()
    }

    /// The warden of which everything is asked.
    pub(crate) const fn warden(&self) -> &Warden {
        &self.warden
    }

    /// What was prepared for runtimes and functions.
    pub(crate) fn prepared(&self) -> Prepared {
        self.prepared.clone()
    }

    fn has_bootstrap(&self, package: Digest) -> bool {
        let file = self.code.join(package.to_string()).join("bootstrap");
        std::fs::symlink_metadata(file).is_ok()
    }
}

impl Builder for WardenBuilder {
    fn runtime(&self, identifier: &str) -> Result<Runtime, LaunchError> {
        let runtimes = self.warden.runtimes();
        let runtime = runtimes.iter().find(|runtime| runtime.identifier == identifier);
        let Some(runtime) = runtime else {
            let present: Vec<_> = runtimes.iter().map(|runtime| runtime.identifier.as_str()).collect();
            return Err(LaunchError::RuntimeAbsent {
                runtime: identifier.to_owned(),
                present: present.join(", "),
            });
        };
        runtime_of(runtime).ok_or_else(|| LaunchError::Sandbox(format!("{identifier} does not run in a guest")))
    }

    fn bootstrap(&self, revision: &Revision) -> Option<Bootstrap> {
        if self.has_bootstrap(revision.code) {
            return Some(Bootstrap::Task);
        }
        let is_in_layer = revision.layers.iter().any(|layer| self.has_bootstrap(*layer));
        is_in_layer.then_some(Bootstrap::Layer)
    }

    fn extensions(&self, revision: &Revision) -> Vec<String> {
        let mut names: Vec<String> = revision
            .layers
            .iter()
            .flat_map(|layer| files_in(&self.code.join(layer.to_string()).join("extensions")))
            .collect();
        names.sort_unstable();
        // Of two layers with one name the later covers the earlier.
        names.dedup();
        names
    }

    fn foresee(&self, runtime: &str) {
        self.bases.begin(runtime);
    }

    fn base(&self, runtime: &str) -> Option<Digest> {
        self.bases.whole(runtime)
    }

    fn has_code(&self, package: Digest) -> bool {
        self.code.join(package.to_string()).is_dir()
    }

    fn prepare(&self, blank: Blank) -> BoxFuture<'static, Result<Sandbox, CreateError>> {
        let (warden, bases) = (self.warden.clone(), self.bases.clone());
        Box::pin(async move { bases::prepare(&warden, &bases, blank).await })
    }
}

/// A runtime of the warden's, in the guest room's words; `None` for one that is another room's.
pub(crate) fn runtime_of(runtime: &ephyra_sandbox::runtimes::Runtime) -> Option<Runtime> {
    Some(Runtime {
        identifier: runtime.identifier.clone(),
        kind: match runtime.kind {
            Kind::Python => RuntimeKind::Python,
            Kind::Node => RuntimeKind::Node,
            Kind::Java => RuntimeKind::Java,
            Kind::Wasm => return None,
            Kind::Provided => RuntimeKind::Provided,
        },
        executable: runtime.executable.to_string_lossy().into_owned(),
        version: runtime.version.clone(),
        has_zygote: runtime.has_zygote,
    })
}

/// The names of what is in a folder and is no folder; none when there is none. A name that is not UTF-8 cannot be
/// registered, so that nothing of that name is started.
fn files_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
