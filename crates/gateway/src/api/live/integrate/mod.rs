//! What a route leads to: a function, or another server.

pub mod function;
pub mod mapping;
pub mod proxy;
