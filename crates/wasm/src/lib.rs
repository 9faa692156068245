//! Functions that are WebAssembly.
#![forbid(unsafe_code)]
