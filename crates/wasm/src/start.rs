//! What this room needs of those who build sandboxes.

use std::os::unix::net::UnixStream;

use ephyra_core::environment::LaunchError;
use futures_util::future::BoxFuture;

/// What a process of this program is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Run functions: [`host::run`](crate::host::run).
    Host,
    /// Compile one module: [`host::compile::run`](crate::host::compile::run).
    Compiler,
}

/// A started process.
pub struct Started {
    /// The other end is its descriptor 3.
    pub socket: UnixStream,
    /// Dropped, it ends the process.
    pub process: Box<dyn Send + Sync>,
}

/// Starts processes of this program, each in a sandbox of its own.
pub trait Start: Send + Sync + 'static {
    /// Starts one; a host sees the folder of compiled modules.
    fn start(&self, role: Role) -> BoxFuture<'static, Result<Started, LaunchError>>;
}
