//! What has to be made of a revision before it can run.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::digest::Digest;
use crate::revision::Revision;

/// Makes what a revision needs before it becomes active, such as the machine code of a WebAssembly module.
pub trait Prepare: Send + Sync + 'static {
    /// Resolves once the revision can run; at once for runtimes that need nothing. May take minutes. A dropped future
    /// does not end the work. To prepare again what was prepared before is cheap.
    fn prepare(&self, revision: Arc<Revision>) -> BoxFuture<'static, Result<(), PrepareError>>;

    /// No revision has this package any more, and it is gone from disk: what was made of it may go too.
    fn forget(&self, _package: Digest) {}
}

/// Why a revision cannot run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// Its package is at fault: this reason is for whoever has sent it.
    #[error("{0}")]
    Rejected(String),
    /// The platform is: this reason is for whoever runs it.
    #[error("{0}")]
    Failed(String),
}

/// Needs nothing, ever: for tests, and for platforms whose runtimes need nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NothingToPrepare;

impl Prepare for NothingToPrepare {
    fn prepare(&self, _: Arc<Revision>) -> BoxFuture<'static, Result<(), PrepareError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
