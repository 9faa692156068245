//! The data plane of HTTP APIs: what becomes of a request for an API.
//!
//! Read [`route`] (which route takes it).

pub mod route;
