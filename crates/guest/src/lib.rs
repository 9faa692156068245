//! The host side of the guest protocols, and what runs inside a guest.
//!
//! This crate decides how an event reaches a runtime and how its answer, its failure or its silence is read: the
//! deadline, the error documents, the log lines, the measures. It never builds a sandbox (a [`launcher::Builder`]
//! does) and never decides when an environment is started, frozen or ended (the engine does).
//!
//! Reading order: `PROTOCOL.md` and [`frame`] (the codec), `channel` and `watch` (descriptors), `pace` (how much
//! of a guest's talk is taken at once), `protocol` (a conversation), `api` (the same over HTTP, and extensions),
//! `extensions` and [`telemetry`], [`environment`] (a lifecycle, by its phases), [`launcher`], `blank` and [`pool`] (what is ready before a function is known), `cache` (what loading a function has made); aside, [`runtime`], [`variables`] and `start` (what a
//! guest is started with and told), `platform`, `lines` and `journal` (logs).
//!
//! **Invariant:** nothing that a guest sends makes the host hold more than one answer of the largest size, or wait
//! beyond the function's deadline.
#![forbid(unsafe_code)]

mod api;
mod blank;
mod cache;
mod channel;
pub mod environment;
mod extensions;
mod failure;
pub mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod java;
pub mod job;
pub mod journal;
pub mod launcher;
pub mod lines;
pub mod pace;
pub mod platform;
pub mod pool;
pub mod prepared;
mod protocol;
pub mod runtime;
pub mod start;
mod supervisor;
pub mod telemetry;
pub mod variables;
mod watch;

pub use environment::GuestEnvironment;
pub use launcher::{Builder, Launcher};
pub use pool::Limits as PoolLimits;
pub use runtime::{Asset, Bootstrap, Runtime, RuntimeKind, assets, command};
pub use variables::{Credentials, variables, variables_without_files};
