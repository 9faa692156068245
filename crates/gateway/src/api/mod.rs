//! HTTP APIs (API Gateway v2).
//!
//! [`live`] answers requests; [`store`] keeps the documents of [`model`], which [`service`] changes.

mod check;
mod error;
pub mod live;
pub mod model;
pub(crate) mod openapi;
mod operation;
pub mod service;
pub mod store;
