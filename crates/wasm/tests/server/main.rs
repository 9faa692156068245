//! The server's side, against real hosts and compilers in threads, and against hosts that do what they should not.
#![cfg(feature = "host")]
#![allow(clippy::unwrap_used, reason = "a test panics by design")]

mod functions;
mod hostile;
#[path = "../host/wat.rs"]
mod wat;
mod world;
