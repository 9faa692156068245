//! This program as it is in a sandbox: the host of WebAssembly functions, or the compiler of one module.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use ephyra_sys::descriptor::inherited;
use ephyra_wasm::host::{self, HostOptions, compile};

use crate::wasm_roles::{COMPILE, HOST};

/// Where the socket to the server is.
const SOCKET: i32 = 3;
/// Where compiled modules are in a host's sandbox.
const ARTEFACTS: &str = "/var/lang/base";

/// Does what the server has started this process for; `None` when it has not.
pub(crate) fn run_if_told_to() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let role = arguments.next().filter(|role| role == HOST || role == COMPILE)?;
    Some(match run(&role, arguments.next().as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    })
}

fn run(role: &str, memory_mb: Option<&str>) -> anyhow::Result<()> {
    let socket = UnixStream::from(inherited(SOCKET)?);
    if role == COMPILE {
        return Ok(compile::run(socket)?);
    }
    let memory_mb: u64 = memory_mb.unwrap_or_default().parse()?;
    let options = HostOptions::new(PathBuf::from(ARTEFACTS), memory_mb << 20);
    Ok(host::run(socket, &options)?)
}
