//! Functions that are WebAssembly: compiled when they are deployed, and run by one host process for all of them, with
//! an instance for each call.
//!
//! This crate decides how a module is compiled and kept, what a guest gets of the world (an event, variables, clocks,
//! randomness, a log), how much of memory, time and processors, and what its end means. It never builds a sandbox (a
//! [`Start`] does), and never decides when a function runs (the engine does).
//!
//! Two halves meet at a socket. The server's: [`platform`], `link` (a host), `environment` (a function), `compiler`,
//! [`artefact`]. The sandbox's, with the feature `host`: `host` and what is below it. Between them [`frame`] and
//! [`message`]. Read those two first, then `host/serve.rs` and `host/call.rs`, then `platform`.
//!
//! **Invariant:** no byte of a module is looked at outside a sandbox, and nothing that a host says makes the server
//! hold more than a call's credit and one answer, or wait beyond a function's time.
#![forbid(unsafe_code)]

pub mod artefact;
mod compiler;
mod environment;
#[cfg(feature = "host")]
pub mod event;
mod failure;
mod foreseen;
pub mod frame;
#[cfg(feature = "host")]
pub mod host;
mod link;
pub mod message;
mod outbox;
pub mod platform;
pub mod start;
mod verdict;

pub use platform::{RUNTIME, Wasm, WasmOptions};
pub use start::{Role, Start, Started};
