//! Who may call a route, besides those whom a token lets in ([`super::jwt`]).

pub mod iam;
pub mod lambda;
pub mod policy;
