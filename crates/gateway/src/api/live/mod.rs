//! The data plane of HTTP APIs: what becomes of a request for an API.
//!
//! Read [`way`] (the way of a request), then what it goes through: [`find`] and [`stage`] (the API compiled), [`route`]
//! (which route takes it), [`throttle`], [`guard`] with [`jwt`] and [`authorize`] (who may call), [`back`] with [`integrate`]
//! (functions and other servers), [`log`].
//!
//! **Invariant:** what a client is told when something is amiss is one of [`reply::Failure`]; why, is in the access log alone.

pub mod authorize;
pub mod back;
pub mod cache;
pub mod event;
pub mod expression;
pub mod fetch;
pub mod find;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod guard;
pub mod integrate;
pub mod jwt;
pub mod log;
pub mod moment;
pub mod record;
pub mod reply;
pub mod route;
pub mod stage;
#[cfg(test)]
mod tests;
pub mod throttle;
pub mod way;
