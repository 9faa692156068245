//! HTTP APIs (API Gateway v2).
//!
//! [`live`] answers requests.

pub mod live;
