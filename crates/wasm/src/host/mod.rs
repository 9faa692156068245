//! The process that runs functions: one for many, inside a sandbox. What keeps functions apart from each other is
//! WebAssembly; what keeps this process apart from the machine is the sandbox.

mod call;
mod engine;
mod flow;
mod limits;
mod meter;
mod program;
mod serve;
mod ticker;

pub mod compile;

use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

pub use engine::CALLS;

/// What a host is started with.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// The folder of compiled modules, named by their digests.
    pub artefacts: PathBuf,
    /// Threads that run calls; another set of as many, of low priority, runs those that take long.
    pub threads: usize,
    /// Calls at once.
    pub calls: u32,
    /// The linear memories of all calls together, in bytes.
    pub memory_bytes: u64,
}

impl HostOptions {
    /// A thread for each processor, and [`CALLS`].
    pub fn new(artefacts: PathBuf, memory_bytes: u64) -> Self {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            artefacts,
            threads,
            calls: CALLS,
            memory_bytes,
        }
    }
}

/// Why a host ended.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The engine could not be set up.
    #[error("the engine could not be set up: {0:#}")]
    Engine(wasmtime::Error),
    /// Threads or sockets could not be had.
    #[error("the host could not be set up")]
    Setup(#[source] io::Error),
    /// The server said what it should not.
    #[error("the server broke the protocol: {0}")]
    Breach(String),
}

/// Serves the other end of `socket` until that is closed.
pub fn run(socket: UnixStream, options: &HostOptions) -> Result<(), HostError> {
    serve::run(socket, options)
}
