//! AWS's protocols on HTTP: which service a request is for, who signed it, what it carries, how an answer or an
//! error is written.
//!
//! Only this crate knows how bytes on a connection become a [`service::Request`] and a [`service::Response`]
//! becomes bytes again. It does not know what any operation does.
//!
//! Read [`service`] and [`error`] (what front end and services say to each other), [`sigv4`] (who signed), [`front`]
//! (the server); then what services use: [`rest`], [`validation`], [`eventstream`]. [`client`] is the other side.
//!
//! **Invariant:** a [`service::Service`] never sees a request whose signature was not verified.
#![forbid(unsafe_code)]

pub mod client;
pub mod error;
pub mod eventstream;
pub mod front;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod rest;
pub mod service;
pub mod sigv4;
pub mod trust;
pub mod validation;
