//! A built sandbox, as the server holds it: descriptors and controls.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use ephyra_core::id::EnvironmentId;
use futures_util::future::BoxFuture;

use crate::client::{Assignment, CreateError};

/// A sandbox whose pid 1 waits for [`Command`](crate::supervisor::Command)s.
pub struct Sandbox {
    /// Its name.
    pub id: EnvironmentId,
    /// One end of a stream socket pair; the other is descriptor 3 of the runtime process. End of file: the runtime
    /// and all that inherited from it are gone.
    pub control: OwnedFd,
    /// One end of a SOCK_SEQPACKET pair; the other is held by the sandbox's own pid 1.
    pub supervisor: OwnedFd,
    /// The read end of the pipe that is the runtime's standard output and standard error.
    pub output: OwnedFd,
    /// The read end of the pipe that is the extensions' standard output and standard error.
    pub extension_output: OwnedFd,
    /// A TCP listener on 127.0.0.1:9001 inside the sandbox's network namespace.
    pub listener: OwnedFd,
    /// How it is assigned, frozen, measured and ended.
    pub controls: Box<dyn Controls>,
    /// How long building took.
    pub built_in: Duration,
}

/// Controls of one sandbox. Dropping them ends the sandbox.
pub trait Controls: Send {
    /// Makes the sandbox a function's: once. It must not be frozen. When it fails the sandbox is ended. Until it is
    /// done nothing in the sandbox may be told which function it is, as pid 1 is privileged until then.
    fn assign(&mut self, assignment: Assignment) -> BoxFuture<'static, Result<(), CreateError>>;
    /// Stops all its processes from running.
    fn freeze(&mut self) -> io::Result<()>;
    /// Lets them run again.
    fn thaw(&mut self) -> io::Result<()>;
    /// Caps the CPU to the share that comes with its memory. Until then it may use what is free: initialisation is
    /// not to be slower for a small function.
    fn cap_cpu(&mut self) -> io::Result<()>;
    /// CPU time used so far.
    fn cpu_time(&self) -> io::Result<Duration>;
    /// The most memory used so far, in bytes.
    fn peak_memory_bytes(&self) -> io::Result<u64>;
    /// How many of its processes the kernel has ended for want of memory.
    fn oom_kills(&self) -> io::Result<u64>;
    /// Kills all its processes and resolves when nothing of it is left.
    fn end(self: Box<Self>) -> BoxFuture<'static, ()>;
}
