//! The data plane of HTTP APIs: what becomes of a request for an API.
//!
//! Read [`route`] (which route takes it), [`throttle`] (how many it takes), [`jwt`] (whose tokens are good).

pub mod authorize;
pub mod cache;
pub mod expression;
pub mod fetch;
pub mod integrate;
pub mod jwt;
pub mod log;
pub mod moment;
pub mod record;
pub mod route;
pub mod throttle;
