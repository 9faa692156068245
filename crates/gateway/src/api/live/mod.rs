//! The data plane of HTTP APIs: what becomes of a request for an API.
//!
//! Read [`route`] (which route takes it), [`throttle`] (how many it takes), [`jwt`] (whose tokens are good).

pub mod cache;
pub mod fetch;
pub mod jwt;
pub mod moment;
pub mod route;
pub mod throttle;
