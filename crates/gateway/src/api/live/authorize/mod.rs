//! Who may call a route.

pub mod policy;
