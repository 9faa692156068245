//! The custom runtime: `guests/bootstrap.rs`, compiled into a static program.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process;

const SOURCE: &str = include_str!("../../guests/bootstrap.rs");

pub(super) fn compile() -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let (source, program) = (folder.path().join("bootstrap.rs"), folder.path().join("bootstrap"));
    std::fs::write(&source, SOURCE)?;
    let mut command = Command::new("rustc");
    command
        .args(["--edition", "2024", "-O"])
        .args([
            "-C",
            "target-feature=+crt-static",
            "-C",
            "panic=abort",
            "-C",
            "strip=symbols",
        ])
        .arg("-o")
        .arg(&program)
        .arg(&source);
    process::run(command, Duration::from_secs(120)).context("the static program could not be compiled with rustc")?;
    Ok(std::fs::read(&program)?)
}
