//! Runs accepted events later: durable before they are acknowledged, tried again, at last done or given up.
//!
//! [`decide::next`] is the whole policy and pure. [`Events`] takes events into a log and runs a loop that leases
//! those that are due, runs them, and does what the policy says. What becomes of an event in the end goes to a
//! [`Settled`] hook, where destinations and dead letters attach. Read [`decide`], `worker`, `attempt`, then `envelope`.
//!
//! This crate never looks into a payload, and knows neither the functions nor how they run: it asks
//! [`Resolve`](ephyra_core::compute::Resolve) and [`Invoke`](ephyra_core::compute::Invoke).
//!
//! **Invariant:** an event leaves the log only after it was run to an end or given up, and the hook has heard of it.
#![forbid(unsafe_code)]

mod attempt;
pub mod decide;
mod envelope;
mod options;
mod service;
mod settled;
mod window;
mod worker;

pub use options::EventsOptions;
pub use service::Events;
pub use settled::{Counted, Settled, Settlement, Verdict};
