//! The words that Ephyra's rooms share: identifiers, limits, an invocation and its outcome, and the traits
//! through which one room calls another.
//!
//! This crate does no I/O and decides nothing. It holds what at least two rooms must agree on; anything with a
//! single owner lives with that owner. Read [`revision`] (what is run), [`invocation`] (one call of it), then the
//! traits: [`compute`] (run it, accept it, steer it), [`environment`] (where it runs), [`url`] (where it is
//! called over HTTP), [`logs`] and [`usage`] (what it leaves behind).
//!
//! **Invariant:** a [`revision::Revision`] never changes; every change of code or configuration makes another.
#![forbid(unsafe_code)]

pub mod arn;
pub mod compute;
pub mod digest;
pub mod environment;
pub mod id;
pub mod invocation;
pub mod limits;
pub mod logs;
pub mod prepare;
pub mod revision;
pub mod trace;
pub mod url;
pub mod usage;
