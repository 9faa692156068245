//! A host process's behaviour, run in a thread, over a bare socket.
#![cfg(feature = "host")]
#![allow(clippy::unwrap_used, reason = "a test panics by design")]

mod calls;
mod client;
mod compiling;
mod limits;
mod wat;
