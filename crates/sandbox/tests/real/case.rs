//! Running cases and counting them.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// What has passed and failed.
pub(crate) struct Tally {
    wanted: String,
    passed: u32,
    failed: Vec<String>,
}

impl Tally {
    /// Counts the cases whose names contain `wanted`.
    pub(crate) fn new(wanted: String) -> Self {
        Self {
            wanted,
            passed: 0,
            failed: Vec::new(),
        }
    }

    /// The part of a name that is asked for.
    pub(crate) fn wanted(&self) -> &str {
        &self.wanted
    }

    /// Runs a case here.
    pub(crate) fn case(&mut self, name: &str, body: impl FnOnce()) {
        if name.contains(&self.wanted) {
            let is_ok = catch_unwind(AssertUnwindSafe(body)).is_ok();
            self.count(name, is_ok);
        }
    }

    /// Takes the results of cases that run in another process, until it ends.
    pub(crate) fn take(&mut self, results: OwnedFd) {
        for line in BufReader::new(std::fs::File::from(results)).lines() {
            let line = line.expect("results are text");
            match line.split_once(' ') {
                Some(("ok", name)) => self.count(name, true),
                Some(("failed", name)) => self.count(name, false),
                _ => self.count(&line, false),
            }
        }
    }

    fn count(&mut self, name: &str, is_ok: bool) {
        println!("test {name} ... {}", if is_ok { "ok" } else { "FAILED" });
        if is_ok {
            self.passed += 1;
        } else {
            self.failed.push(name.to_owned());
        }
    }

    /// Says how it went.
    pub(crate) fn finish(self) -> ExitCode {
        for name in &self.failed {
            println!("failed: {name}");
        }
        println!("\n{} passed, {} failed", self.passed, self.failed.len());
        if self.failed.is_empty() && self.passed > 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// Reports the result of a case to [`Tally::take`] in another process.
pub(crate) fn report(results: &OwnedFd, name: &str, is_ok: bool) {
    let mut file = std::fs::File::from(results.try_clone().expect("a descriptor is free"));
    writeln!(file, "{} {name}", if is_ok { "ok" } else { "failed" }).expect("the other process reads");
}
