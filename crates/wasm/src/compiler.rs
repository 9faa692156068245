//! Has a module compiled, by a process in a sandbox of its own that is there for nothing else.

use std::path::PathBuf;
use std::time::Duration;

use ephyra_core::environment::LaunchError;
use ephyra_core::prepare::PrepareError;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::artefact::find_module;
use crate::message::TEXT_BYTES;
use crate::start::{Role, Start, Started};
use crate::verdict::{MODULE_BYTES, REFUSED, TAKEN};

/// How long compiling may take.
const TIME: Duration = Duration::from_secs(180);
/// The largest compiled form, in bytes.
const ARTEFACT_BYTES: u64 = 512 << 20;

/// The compiled form of the module that `handler` means in the folder `package`.
pub(crate) async fn compile(start: &dyn Start, package: PathBuf, handler: String) -> Result<Vec<u8>, PrepareError> {
    let module = tokio::task::spawn_blocking(move || read(&package, &handler)).await;
    let module = module.map_err(|error| PrepareError::Failed(error.to_string()))??;
    let started = start.start(Role::Compiler).await.map_err(|error| match error {
        absent @ LaunchError::RuntimeAbsent { .. } => PrepareError::Rejected(absent.to_string()),
        other => PrepareError::Failed(other.to_string()),
    })?;
    let Started { socket, process } = started;
    let result = tokio::time::timeout(TIME, converse(socket, module)).await;
    drop(process);
    result.unwrap_or_else(|_| {
        Err(PrepareError::Rejected(format!(
            "The module could not be compiled within {} seconds.",
            TIME.as_secs()
        )))
    })
}

fn read(package: &std::path::Path, handler: &str) -> Result<Vec<u8>, PrepareError> {
    let failed = |error: std::io::Error| PrepareError::Failed(format!("the package could not be read: {error}"));
    let file = find_module(package, handler)
        .map_err(failed)?
        .map_err(PrepareError::Rejected)?;
    if std::fs::metadata(&file).map_err(failed)?.len() > MODULE_BYTES {
        return Err(PrepareError::Rejected(format!(
            "The module is larger than {MODULE_BYTES} bytes."
        )));
    }
    std::fs::read(file).map_err(failed)
}

async fn converse(socket: std::os::unix::net::UnixStream, module: Vec<u8>) -> Result<Vec<u8>, PrepareError> {
    let failed = |error: std::io::Error| PrepareError::Failed(format!("the compiler's socket failed: {error}"));
    socket.set_nonblocking(true).map_err(failed)?;
    let mut socket = UnixStream::from_std(socket).map_err(failed)?;
    let mut said = Vec::new();
    // A compiler that has gone is found out by reading.
    if socket.write_all(&module).await.is_ok() {
        drop(module);
        socket.shutdown().await.map_err(failed)?;
    }
    let read = (&mut socket).take(ARTEFACT_BYTES + 1).read_to_end(&mut said).await;
    match (read, said.split_first()) {
        (Ok(_), Some((&TAKEN, artefact))) if !artefact.is_empty() && (artefact.len() as u64) < ARTEFACT_BYTES => {
            Ok(said.split_off(1))
        }
        (Ok(_), Some((&REFUSED, reason))) => {
            let reason = String::from_utf8_lossy(&reason[..reason.len().min(TEXT_BYTES)]);
            Err(PrepareError::Rejected(format!("The module cannot be run: {reason}")))
        }
        _ => Err(PrepareError::Rejected(
            "The module could not be compiled: the compiler ended without a word, as it does when a module needs too \
             much memory."
                .to_owned(),
        )),
    }
}
