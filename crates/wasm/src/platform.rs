//! The room's centre: the host process that runs, the compilers, the folder of what was compiled.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ephyra_core::digest::Digest;
use ephyra_core::environment::{Environment, LaunchError, Launcher, Purpose};
use ephyra_core::id::EnvironmentId;
use ephyra_core::logs::LogSink;
use ephyra_core::prepare::{Prepare, PrepareError};
use ephyra_core::revision::Revision;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::artefact::{Artefact, Store};
use crate::compiler::compile;
use crate::environment::WasmEnvironment;
use crate::link::Link;
use crate::start::{Role, Start};

/// The identifier of this runtime.
pub const RUNTIME: &str = "wasm";
/// Calls that a host has room for at once, unless it is said otherwise.
pub const CALLS: u32 = 1000;
/// Modules that are compiled at once: each takes all processors it can get, and much memory.
const COMPILERS: usize = 2;

/// What an operator may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WasmOptions {
    /// Calls that run at once in a host, which has room for as many; more wait.
    pub calls: u32,
    /// How long a host may take to end a call whose time is up or that nobody wants any more. Then it is taken to hang,
    /// and is ended with all of its calls.
    pub patience: Duration,
}

impl Default for WasmOptions {
    fn default() -> Self {
        Self {
            calls: CALLS,
            patience: Duration::from_secs(20),
        }
    }
}

/// Runs functions that are WebAssembly. Clones are the same.
#[derive(Clone)]
pub struct Wasm {
    shared: Arc<Inner>,
}

pub(crate) struct Inner {
    start: Arc<dyn Start>,
    options: WasmOptions,
    store: Store,
    packages: PathBuf,
    logs: Arc<dyn LogSink>,
    host: Mutex<Option<Arc<Link>>>,
    /// Held while a host is started.
    starting: tokio::sync::Mutex<()>,
    compiling: Mutex<HashMap<Artefact, Compiling>>,
    compilers: Arc<Semaphore>,
    pub(crate) places: Arc<Semaphore>,
}

type Compiling = Shared<BoxFuture<'static, Result<(), PrepareError>>>;

impl Wasm {
    /// Opens the folder of what was compiled in `data`, and removes from it what is of no use any more. Blocks. When
    /// there are functions, call [`Wasm::warm_up`] next.
    pub fn open(
        data: &Path,
        start: Arc<dyn Start>,
        logs: Arc<dyn LogSink>,
        options: WasmOptions,
    ) -> std::io::Result<Self> {
        let store = Store::open(data)?;
        let shared = Inner {
            start,
            options,
            store,
            packages: data.join("code"),
            logs,
            host: Mutex::default(),
            starting: tokio::sync::Mutex::default(),
            compiling: Mutex::default(),
            compilers: Arc::new(Semaphore::new(COMPILERS)),
            places: Arc::new(Semaphore::new(options.calls as usize)),
        };
        let shared = Arc::new(shared);
        Ok(Self { shared })
    }

    fn environment(&self, revision: Arc<Revision>, purpose: Purpose) -> Box<dyn Environment> {
        let id = EnvironmentId::new();
        let shared = Arc::clone(&self.shared);
        Box::new(WasmEnvironment::new(shared, revision, purpose, id, &*self.shared.logs))
    }

    /// Starts the host ahead of the first call, when there is something to be called. To be called inside the
    /// asynchronous runtime.
    pub fn warm_up(&self) {
        if !self.shared.store.is_empty() {
            self.shared.ahead(|_| ());
        }
    }
}

impl Inner {
    /// The host, which is started if there is none; that goes on when the future is dropped.
    pub(crate) async fn link(self: &Arc<Self>) -> Result<Arc<Link>, LaunchError> {
        if let Some(link) = self.alive() {
            return Ok(link);
        }
        let starting = tokio::spawn(Arc::clone(self).start_host());
        starting
            .await
            .unwrap_or_else(|error| Err(LaunchError::Sandbox(format!("starting the host broke off: {error}"))))
    }

    async fn start_host(self: Arc<Self>) -> Result<Arc<Link>, LaunchError> {
        let _turn = self.starting.lock().await;
        if let Some(link) = self.alive() {
            return Ok(link);
        }
        let link = Link::open(self.start.start(Role::Host).await?, self.options.patience).await?;
        *self.host.lock() = Some(Arc::clone(&link));
        Ok(link)
    }

    fn alive(&self) -> Option<Arc<Link>> {
        self.host.lock().as_ref().filter(|link| link.is_alive()).cloned()
    }

    /// Has the host map what is to be called for the first time.
    fn foresee(self: &Arc<Self>, artefact: Artefact) {
        if let Some(bytes) = self.store.bytes(artefact) {
            self.ahead(move |link| link.foresee(artefact, bytes));
        }
    }

    /// Does something with the host before anybody waits for it; starts it if there is none.
    fn ahead(self: &Arc<Self>, work: impl FnOnce(&Link) + Send + 'static) {
        if let Some(link) = self.alive() {
            return work(&link);
        }
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            match shared.start_host().await {
                Ok(link) => work(&link),
                Err(error) => tracing::warn!(%error, "the WebAssembly host could not be started ahead"),
            }
        });
    }

    /// Sees to it that what a revision needs is compiled. Several that ask for the same wait for one compiler.
    pub(crate) fn compiled(self: &Arc<Self>, revision: &Revision) -> BoxFuture<'static, Result<(), PrepareError>> {
        let artefact = Artefact::of(revision);
        let mut compiling = self.compiling.lock();
        if let Some(known) = compiling.get(&artefact) {
            return known.clone().boxed();
        }
        let (shared, handler) = (Arc::clone(self), revision.handler.clone());
        let task = tokio::spawn(async move {
            let result = shared.compile(artefact, handler).await;
            shared.compiling.lock().remove(&artefact);
            result
        });
        let waiting = async move {
            task.await
                .unwrap_or_else(|error| Err(PrepareError::Failed(format!("compiling broke off: {error}"))))
        };
        let waiting = waiting.boxed().shared();
        compiling.insert(artefact, waiting.clone());
        waiting.boxed()
    }

    async fn compile(&self, artefact: Artefact, handler: String) -> Result<(), PrepareError> {
        let failed = |error: String| PrepareError::Failed(format!("what was compiled could not be kept: {error}"));
        if self.store.has(artefact) {
            return Ok(());
        }
        let _turn = self
            .compilers
            .acquire()
            .await
            .map_err(|error| failed(error.to_string()))?;
        let package = self.packages.join(artefact.package.to_string());
        let compiled = compile(&*self.start, package, handler).await?;
        let store = self.store.clone();
        let written = tokio::task::spawn_blocking(move || store.write(artefact, &compiled));
        let written = written.await.map_err(|error| failed(error.to_string()))?;
        written.map_err(|error| failed(error.to_string()))
    }

    /// Compiles anew what the host could not use.
    pub(crate) async fn renew(self: &Arc<Self>, link: &Link, revision: &Revision) -> Result<(), PrepareError> {
        let artefact = Artefact::of(revision);
        let is_under_way = self.compiling.lock().contains_key(&artefact);
        if !is_under_way {
            let store = self.store.clone();
            let removed = tokio::task::spawn_blocking(move || store.remove(artefact)).await;
            if let Ok(Err(error)) = removed {
                return Err(PrepareError::Failed(format!(
                    "what the host cannot use could not be removed: {error}"
                )));
            }
        }
        self.compiled(revision).await?;
        link.forget(artefact);
        Ok(())
    }
}

impl Prepare for Wasm {
    fn prepare(&self, revision: Arc<Revision>) -> BoxFuture<'static, Result<(), PrepareError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            shared.compiled(&revision).await?;
            let (logs, group) = (Arc::clone(&shared), revision.logging.group.clone());
            // That it went wrong shows when something is to be logged.
            let _made = tokio::task::spawn_blocking(move || logs.logs.foresee(&group)).await;
            // What was just made is likely to be called next.
            shared.foresee(Artefact::of(&revision));
            Ok(())
        })
    }

    fn forget(&self, package: Digest) {
        let Some(artefacts) = self.shared.store.forget(package) else {
            return;
        };
        if let Some(link) = self.shared.alive() {
            artefacts.iter().for_each(|artefact| link.forget(*artefact));
        }
        let store = self.shared.store.clone();
        tokio::task::spawn_blocking(move || {
            for artefact in artefacts {
                if let Err(error) = store.remove(artefact) {
                    tracing::warn!(%error, "what was compiled of a package that is gone stays on disk");
                }
            }
        });
    }
}

impl Launcher for Wasm {
    fn launch(
        &self,
        revision: Arc<Revision>,
        purpose: Purpose,
    ) -> BoxFuture<'static, Result<Box<dyn Environment>, LaunchError>> {
        Box::pin(std::future::ready(Ok(self.environment(revision, purpose))))
    }

    fn at_once(&self, revision: &Arc<Revision>, purpose: Purpose) -> Option<Box<dyn Environment>> {
        Some(self.environment(Arc::clone(revision), purpose))
    }
}
