//! HTTP APIs (API Gateway v2).
//!
//! [`live`] answers requests; [`store`] keeps the documents of [`model`].

pub mod live;
pub mod model;
pub mod store;
