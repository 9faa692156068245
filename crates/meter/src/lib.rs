//! Keeps what each invocation used, for bills to be made from.
//!
//! [`UsageLog`] appends one JSON line for each record to a file for each UTC day; [`UsageReader`] reads the records
//! of a span of time back. Read `log`, `keeper` (what goes on in the background), then `reader`.
//!
//! This crate knows no prices and loses nothing on purpose but what is older than it may be. It never delays an
//! invocation: a record costs one write to the operating system.
//!
//! **Invariant:** a record is one line, handed to the operating system whole before `record` returns.
#![forbid(unsafe_code)]

mod day;
mod keeper;
mod log;
mod reader;

pub use log::{UsageError, UsageLog, UsageOptions};
pub use reader::UsageReader;
