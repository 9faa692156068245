//! Which room starts a function's environments, and prepares what it needs: decided by its runtime.

use std::sync::Arc;

use ephyra_core::digest::Digest;
use ephyra_core::environment::{Environment, LaunchError, Launcher, Purpose};
use ephyra_core::prepare::{Prepare, PrepareError};
use ephyra_core::revision::Revision;
use ephyra_wasm::{RUNTIME, Wasm};
use futures_util::future::BoxFuture;

/// The rooms that run functions.
pub(crate) struct Router {
    guests: Arc<ephyra_guest::Launcher>,
    /// Where this program runs WebAssembly.
    wasm: Option<Wasm>,
}

impl Router {
    pub(crate) const fn new(guests: Arc<ephyra_guest::Launcher>, wasm: Option<Wasm>) -> Self {
        Self { guests, wasm }
    }

    fn wasm(&self, revision: &Revision) -> Option<&Wasm> {
        self.wasm.as_ref().filter(|_| revision.runtime == RUNTIME)
    }
}

impl Launcher for Router {
    fn launch(
        &self,
        revision: Arc<Revision>,
        purpose: Purpose,
    ) -> BoxFuture<'static, Result<Box<dyn Environment>, LaunchError>> {
        match self.wasm(&revision) {
            Some(wasm) => wasm.launch(revision, purpose),
            None => self.guests.launch(revision, purpose),
        }
    }

    fn at_once(&self, revision: &Arc<Revision>, purpose: Purpose) -> Option<Box<dyn Environment>> {
        self.wasm(revision)?.at_once(revision, purpose)
    }
}

impl Prepare for Router {
    fn prepare(&self, revision: Arc<Revision>) -> BoxFuture<'static, Result<(), PrepareError>> {
        match self.wasm(&revision) {
            Some(wasm) => wasm.prepare(revision),
            None => {
                // It can run without, only later: nobody waits for that.
                self.guests.foresee(&revision.runtime);
                Box::pin(std::future::ready(Ok(())))
            }
        }
    }

    fn forget(&self, package: Digest) {
        if let Some(wasm) = &self.wasm {
            wasm.forget(package);
        }
    }
}
