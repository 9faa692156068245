//! The Lambda API: functions, versions, aliases, layers, permissions, concurrency, and the entry of every invocation.
//!
//! This crate decides what a name means, what may be changed and how AWS would have answered. It never runs a
//! function (that is behind [`Invoke`](ephyra_core::compute::Invoke)), never delivers an accepted event (behind
//! [`Accept`](ephyra_core::compute::Accept)) and knows nothing of HTTP but what `ephyra-wire` hands it.
//!
//! Read [`Lambda`] and its [`Dependencies`], then `route` (which operation), `operation` (one file each), `record`
//! (what is kept) and `package` (zips from anybody).
//!
//! **Invariant:** a record names only packages that are stored and unpacked; so what resolves can start.
#![forbid(unsafe_code)]

#[cfg(test)]
mod api_tests;
mod cache;
mod error;
mod lambda;
mod ledger;
mod marker;
mod name;
mod operation;
mod package;
mod pairs;
mod record;
mod recover;
mod resolve;
mod route;
mod runtime;
mod settings;
mod snap_start;
mod time;
mod totals;
mod urls;

#[cfg(test)]
mod harness;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod invoke_tests;
#[cfg(test)]
mod lifecycle_tests;
#[cfg(test)]
mod url_tests;

pub use lambda::{Dependencies, Lambda, Options, Presign};
pub use recover::RecoverError;
