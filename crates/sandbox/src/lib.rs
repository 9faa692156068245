//! The warden, the one process with privileges, and the building of sandboxes, in which functions run.
//!
//! This crate decides what a sandbox is made of, what it may see and do, and that it ends. It never decides when one
//! is started or for whom, and it knows nothing of what runs in it. Read [`sandbox`] (what the server gets), [`client`]
//! (how it asks), `protocol` (what is said), [`warden`] (who does it) and `build` (how); then [`isolation`],
//! [`runtimes`], `skeleton`, `cgroup` and `seccomp`, each about one part of it.
//!
//! Guests' `/tmp` is on disk where loop devices and mkfs.ext4 are there, see `warden/scratch.rs`; else in memory.
//!
//! **Invariant:** nothing is mounted in the host's mount namespace, and no process of a sandbox outlives its pid 1,
//! nor that the warden.
#![forbid(unsafe_code)]

mod build;
mod cgroup;
pub mod client;
mod controls;
pub mod isolation;
mod mount;
mod packet;
mod protocol;
pub mod runtimes;
pub mod sandbox;
mod seccomp;
pub mod skeleton;
pub mod supervisor;
pub mod warden;
mod zygote;

pub use protocol::Step;
