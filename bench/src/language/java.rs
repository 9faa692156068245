//! The Java handler: a plain method, without any library.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Runtime;
use crate::process;

const SOURCE: &str = "package app; public class Handler { public Object handle(Object event) { return null; } }\n";

/// The class, compiled by the compiler that belongs to the runtime's `java`.
pub(super) fn compile(runtime: &Runtime) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("Handler.java");
    std::fs::write(&source, SOURCE)?;
    let compiler = Path::new(&runtime.executable).with_file_name("javac");
    let compiler = if compiler.exists() { compiler } else { "javac".into() };
    let mut command = Command::new(compiler);
    command.arg("-d").arg(folder.path()).arg(&source);
    process::run(command, Duration::from_secs(60)).context("the Java handler could not be compiled")?;
    Ok(std::fs::read(folder.path().join("app/Handler.class"))?)
}
