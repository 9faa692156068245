//! Decides who runs, where, and in which environment: admission, pools of environments, the machine's memory.
//!
//! It never builds an environment and never speaks to one beyond [`ephyra_core::environment`]; it knows no protocol and
//! keeps nothing on disk. `scheduler` is the pure core: no clock, no tasks, no I/O. [`Engine`] is the thin shell around
//! it: a lock, the environments that are at rest, and a task for each start and each end. A warm invocation takes its
//! environment and gives it back within its caller's own task. Read [`Options`], `scheduler`, `engine`, `run`, `rest`.
//!
//! **Invariant:** one environment serves one invocation at a time, and no invocation waits for something that nobody
//! is going to do.
#![forbid(unsafe_code)]

mod detach;
mod drain;
mod engine;
mod lease;
mod meters;
mod options;
mod rest;
mod run;
mod scheduler;

pub use engine::Engine;
pub use options::Options;
pub use scheduler::{FunctionSnapshot, Snapshot};
