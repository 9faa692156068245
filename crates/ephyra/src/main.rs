//! The program `ephyra`: a command line for people, and [`serve`], which wires the rooms together.
//!
//! This crate decides nothing that another room could decide: it reads options, connects components, and shows
//! results. Read [`cli`] (what can be said), [`serve`] (how the platform is put together), then [`command`].
//!
//! **Invariant:** `serve` forks the warden before any thread exists; every other command needs no privileges.
#![forbid(unsafe_code)]

mod address;
mod cli;
mod command;
mod endpoint;
mod lines;
mod output;
mod project;
mod serve;
mod template;
#[cfg(feature = "wasm")]
mod wasm;
mod wasm_roles;

use std::process::ExitCode;

use clap::Parser as _;

/// Whether who reads our output has had enough, as `head` has.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

fn main() -> ExitCode {
    #[cfg(feature = "wasm")]
    if let Some(code) = wasm::run_if_told_to() {
        return code;
    }
    let cli = cli::Cli::parse();
    let output = output::Output::new(cli.json);
    let result = match cli.command {
        cli::Command::Serve(options) => serve::run(*options),
        command => command::run(command, &output),
    };
    match result {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            ExitCode::FAILURE
        }
    }
}
