//! `ephyra serve`: how the platform is put together.
//!
//! [`run`] is the warden's side: privileged, single-threaded, before any runtime exists. [`platform`] is the server's
//! side: everything else, without privileges.

mod builder;
pub(crate) mod credentials;
mod listeners;
mod own;
mod platform;

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::Context as _;
use ephyra_sandbox::isolation::Piece;
use ephyra_sandbox::warden;

use crate::cli;

/// What the warden waits beyond the drain time before it kills the server.
const DRAIN_MARGIN: std::time::Duration = std::time::Duration::from_secs(15);

/// Becomes the warden, whose child is the server; returns when both are done.
pub(crate) fn run(options: cli::Serve) -> anyhow::Result<ExitCode> {
    ephyra_observe::program_log::install(&options.log_level)?;
    let weaker = options
        .allow_weaker_isolation
        .iter()
        .map(|name| name.parse::<Piece>())
        .collect::<Result<BTreeSet<_>, _>>()
        .context("--allow-weaker-isolation names a piece that `ephyra doctor` does not list")?;
    credentials::Root::from_environment()?;
    let listeners = listeners::bind(options.listen)?;
    let warden_options = warden::Options {
        data: options.data.clone(),
        uid_base: options.uid_base,
        runtime_path: options.runtime_path.clone(),
        assets: assets(),
        weaker,
        drain: options.drain_timeout + DRAIN_MARGIN,
    };
    let status = warden::start(warden_options, move |side| platform::run(options, listeners, side))?;
    Ok(ExitCode::from(status))
}

/// What the runtimes need in `/var/runtime`.
fn assets() -> Vec<warden::Asset> {
    todo_map()
}
