//! Sandboxes on the real kernel: what is in them, what they can and cannot do, and that nothing of them stays.
//!
//! This program is its own harness: the warden must be forked from a process with a single thread, which the usual one
//! is not. It needs root. Cases that a server runs are run in a server, which reports over a pipe.

#![allow(clippy::unwrap_used, reason = "a test panics by design")]

mod case;
mod churn;
mod guest;
mod inside;
mod outside;
mod waiting;
mod world;

use case::Tally;

fn main() -> std::process::ExitCode {
    if !rustix::process::geteuid().is_root() {
        eprintln!("these tests build real sandboxes and must be run as root: sudo -E cargo test -p ephyra-sandbox");
        return std::process::ExitCode::FAILURE;
    }
    world::uid_base();
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
        .unwrap_or_default();
    let mut tally = Tally::new(wanted);
    let before = world::mounts();
    inside::run(&mut tally);
    waiting::run(&mut tally);
    churn::run(&mut tally);
    outside::run(&mut tally, &before);
    tally.finish()
}
