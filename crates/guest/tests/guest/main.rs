//! The real interpreters, driven through environments without isolation.
#![allow(clippy::unwrap_used, reason = "a test panics by design")]

mod api;
mod extensions;
mod java;
mod job;
mod lifecycle;
mod node;
mod pool;
mod python;
mod restore;
mod support;
