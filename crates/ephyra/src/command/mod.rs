//! One command a file.

mod api;
mod credentials;
mod delete;
mod deploy;
mod deployment;
mod dev;
mod doctor;
mod entrance;
mod invoke;
mod list;
mod logs;
mod new;
mod open;
mod runtime;
mod tls;
mod url;

use std::future::Future;
use std::process::ExitCode;

use crate::cli::{Command, Runtime};
use crate::output::Output;

/// Runs any command but `serve`.
pub(crate) fn run(command: Command, output: &Output) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(_) => unreachable!("serve starts before anything else does"),
        Command::Credentials(options) => credentials::run(&options, output),
        Command::Doctor(options) => doctor::run(&options, output),
        Command::New(options) => new::run(&options, output),
        Command::Deploy(options) => block_on(deploy::run(&options, output)),
        Command::Dev(options) => block_on(dev::run(&options, output)),
        Command::Open(options) => block_on(open::run(&options, output)),
        Command::Invoke(options) => block_on(invoke::run(&options, output)),
        Command::Logs(options) => block_on(logs::run(&options, output)),
        Command::List(options) => block_on(list::run(&options, output)),
        Command::Delete(options) => block_on(delete::run(&options, output)),
        Command::Runtime(Runtime::List { runtime_path }) => runtime::run(&runtime_path, output),
        Command::Tls(command) => tls::run(command, output),
    }
}

fn block_on(future: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(future)
}
