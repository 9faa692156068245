//! `ephyra serve`: how the platform is put together.
//!
//! [`run`] is the warden's side: privileged, single-threaded, before any runtime exists. [`platform`] is the server's
//! side: everything else, without privileges.

mod apis;
mod bases;
mod builder;
pub(crate) mod credentials;
mod doorway;
mod listeners;
mod own;
mod plain;
mod platform;
mod router;
mod secret;
mod tap;
mod tls;
mod wasm;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use ephyra_guest::RuntimeKind;
use ephyra_sandbox::isolation::Piece;
use ephyra_sandbox::runtimes::Kind;
use ephyra_sandbox::skeleton::RuntimeFiles;
use ephyra_sandbox::warden;

use crate::cli;

/// What the warden waits beyond the drain time before it kills the server.
const DRAIN_MARGIN: Duration = Duration::from_secs(15);

/// Becomes the warden, whose child is the server; returns when both are done.
pub(crate) fn run(options: cli::Serve) -> anyhow::Result<ExitCode> {
    let sealed = secret::Sealed::from_environment()?;
    ephyra_observe::program_log::install(&options.log_level)?;
    let weaker = options
        .allow_weaker_isolation
        .iter()
        .map(|name| name.parse::<Piece>())
        .collect::<Result<BTreeSet<_>, _>>()
        .context("--allow-weaker-isolation names a piece that `ephyra doctor` does not list")?;
    let listeners = listeners::bind(options.listen, "--listen")?;
    let authorities = apis::read_authorities(options.trust.as_deref())?;
    let tls = tls::Prepared::open(&options.front, &options.data)?;
    let warden_options = warden::Options {
        uid_base: options.uid_base,
        runtime_paths: options.runtime_path.clone(),
        files: runtime_files(),
        zygote: |runtime| ephyra_guest::start::zygote(&builder::runtime_of(runtime)?),
        wasm: wasm::version(),
        zygote_modules: ephyra_guest::start::ZYGOTE_MODULES
            .iter()
            .map(|name| (*name).to_owned())
            .collect(),
        weaker,
        drain: options.drain_timeout + DRAIN_MARGIN,
        ..warden::Options::new(&options.data)
    };
    let status = warden::start(warden_options, move |side| {
        platform::run(options, listeners, tls, authorities, sealed, side)
    })?;
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(1)))
}

pub(crate) use wasm::version as wasm_version;

/// What the runtimes need in `/var/runtime`.
fn runtime_files() -> RuntimeFiles {
    let mut files = RuntimeFiles::new();
    for asset in ephyra_guest::assets() {
        let kind = match asset.kind {
            RuntimeKind::Python => Kind::Python,
            RuntimeKind::Node => Kind::Node,
            RuntimeKind::Java => Kind::Java,
            RuntimeKind::Provided => Kind::Provided,
        };
        let file = (asset.path.to_owned(), asset.bytes.to_vec());
        files.entry(kind).or_default().push(file);
    }
    files
}
