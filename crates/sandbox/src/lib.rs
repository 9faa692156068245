//! The warden, the one process with privileges, and the building of execution environments.
#![forbid(unsafe_code)]

pub mod sandbox;
pub mod supervisor;
