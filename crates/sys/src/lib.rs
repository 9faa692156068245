//! The system calls that neither the standard library nor rustix offers in safe form.
//!
//! This crate decides nothing: each function is one call, or the few that only make sense together, with a safe
//! signature. What can be said with rustix is said with rustix, elsewhere. Read [`clone`] first: the rest is used by
//! what runs in its children.
//!
//! **Invariant:** a process is only ever copied while it has a single thread, so that its copy may go on as ordinary
//! Rust.

pub mod clone;
pub mod descriptor;
pub mod exec;
pub mod loopback;
pub mod mount;
pub mod namespace;
pub mod network;
pub mod signal;
#[cfg(feature = "wasm")]
pub mod wasm;

/// Turns the return value of a C function that answers -1 on failure into a result.
fn check(value: impl Into<i64>) -> std::io::Result<i64> {
    match value.into() {
        -1 => Err(std::io::Error::last_os_error()),
        value => Ok(value),
    }
}
