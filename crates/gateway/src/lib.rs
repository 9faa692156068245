//! The front door: HTTP requests from anybody's browser or program become invocations, and answers become responses.
//!
//! Decides which function URL or HTTP API a request is for, who may call it, what the function sees of it and what its answer means. Never
//! runs a function itself (`core::compute`), and never accepts a connection (`wire::front`).
//!
//! **Invariant:** nothing about the inside (a function's error, a configuration, an address) goes out to a client that the protocol does not ask for.

//! Read [`door`] (which address is whose), [`gateway`] (all of it together), then one way through: [`request`] (what came), [`event`] (what the
//! function sees), [`answer`] (what its answer means), [`cors`]. [`url`] are function URLs, [`api`] HTTP APIs.

#![forbid(unsafe_code)]

pub mod answer;
pub mod api;
pub mod cors;
pub mod door;
pub mod event;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod gateway;
pub mod request;
pub mod url;
