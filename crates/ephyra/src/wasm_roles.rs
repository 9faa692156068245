//! How the server tells this program, as it starts it in a sandbox, what to be.

/// The host of functions.
pub(crate) const HOST: &str = "wasm-host";
/// The compiler of one module.
pub(crate) const COMPILE: &str = "wasm-compile";
