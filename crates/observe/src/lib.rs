//! What can be seen of the platform: functions' log lines, metrics, and the program's own log.
//!
//! [`logs::LogStore`] keeps the lines of functions in files, bounded in age and size, and hands them to those who
//! follow. [`metrics::Metrics`] gathers what all rooms count and renders it for Prometheus. [`program_log`] sets up
//! the log of the program itself. Read `logs`, then its parts `line`, `writer`, `reader`, `follow` and `sweeper`.
//!
//! This crate never decides what is logged or counted, and never fails an invocation: what cannot be written is
//! counted and dropped.
//!
//! **Invariant:** no name or line of a user reaches a path or a line's structure unescaped.
#![forbid(unsafe_code)]

pub mod logs;
pub mod metrics;
pub mod program_log;
