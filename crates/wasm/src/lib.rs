//! Functions that are WebAssembly.
#![forbid(unsafe_code)]

#[cfg(feature = "host")]
pub mod event;
pub mod frame;
#[cfg(feature = "host")]
pub mod host;
pub mod message;
mod outbox;
mod verdict;
