//! Gives the room of WebAssembly what it needs of the warden: processes of this program, each in a sandbox.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use ephyra_core::environment::LaunchError;
use ephyra_core::logs::LogSink;
use ephyra_sandbox::client::{Blank, Warden};
use ephyra_sandbox::runtimes::{Kind, OWN_PROGRAM};
use ephyra_sandbox::sandbox::{Controls, Sandbox};
use ephyra_sandbox::supervisor::{Command, Exit, Notice, StartCommand};
use ephyra_wasm::{RUNTIME, Role, Start, Started, Wasm, WasmOptions, artefact};
use futures_util::future::BoxFuture;
use rustix::net::SendFlags;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::UnixDatagram;
use tokio::net::unix::pipe;

use super::builder::chain;
use crate::wasm_roles::{COMPILE, HOST};

/// What is told of what such a process prints; it has nothing to print unless it fails.
const PRINTED_BYTES: u64 = 16 * 1024;
/// What compiling may take, in MB: some modules need hundreds of megabytes.
const COMPILER_MB: u32 = 3072;
/// Of a host's memory, what is not for its guests' memories: code, tables, stacks, answers. In parts of 8.
const OTHER_EIGHTHS: u32 = 2;

/// The version of what runs WebAssembly, where this program does.
pub(crate) fn version() -> Option<String> {
    cfg!(feature = "wasm").then(|| artefact::WASMTIME_VERSION.to_owned())
}

/// Opens the room, where this program runs WebAssembly. `memory_mb` is what its host process may use.
pub(crate) fn open(
    warden: &Warden,
    data: &Path,
    logs: Arc<dyn LogSink>,
    memory_mb: u32,
) -> anyhow::Result<Option<Wasm>> {
    if !warden.runtimes().iter().any(|runtime| runtime.kind == Kind::Wasm) {
        return Ok(None);
    }
    let start = WardenStart {
        warden: warden.clone(),
        memory_mb,
    };
    let wasm = Wasm::open(data, Arc::new(start), logs, WasmOptions::default())
        .context("the compiled WebAssembly modules cannot be opened")?;
    wasm.warm_up();
    Ok(Some(wasm))
}

struct WardenStart {
    warden: Warden,
    memory_mb: u32,
}

impl WardenStart {
    fn arguments(&self, role: Role) -> Vec<String> {
        let program = OWN_PROGRAM.to_owned();
        match role {
            Role::Host => {
                let guests_mb = self.memory_mb / 8 * (8 - OTHER_EIGHTHS);
                vec![program, HOST.to_owned(), guests_mb.to_string()]
            }
            Role::Compiler => vec![program, COMPILE.to_owned()],
        }
    }
}

impl Start for WardenStart {
    fn start(&self, role: Role) -> BoxFuture<'static, Result<Started, LaunchError>> {
        let warden = self.warden.clone();
        let (base, memory_mb) = match role {
            Role::Host => (Some(artefact::folder()), self.memory_mb),
            Role::Compiler => (None, COMPILER_MB),
        };
        let blank = Blank {
            runtime: RUNTIME.to_owned(),
            memory_mb,
            base,
            zygote: false,
        };
        let command = StartCommand {
            arguments: self.arguments(role),
            variables: Vec::new(),
            directory: "/".to_owned(),
        };
        Box::pin(async move {
            let prepared = warden.prepare(blank).await;
            let sandbox = prepared.map_err(|error| LaunchError::Sandbox(chain(&error)))?;
            begin(sandbox, command).map_err(|error| LaunchError::Sandbox(chain(&error)))
        })
    }
}

/// A process, which ends with its sandbox.
struct Process(#[expect(dead_code, reason = "it is held, not used")] Mutex<Box<dyn Controls>>);

fn begin(sandbox: Sandbox, command: StartCommand) -> io::Result<Started> {
    let Sandbox {
        control,
        supervisor,
        output,
        controls,
        ..
    } = sandbox;
    let packet = Command::Start(command).encode().map_err(io::Error::other)?;
    rustix::net::send(&supervisor, &packet, SendFlags::NOSIGNAL)?;
    rustix::io::ioctl_fionbio(&output, true)?;
    tokio::spawn(tell(pipe::Receiver::from_owned_fd(output)?));
    let supervisor = std::os::unix::net::UnixDatagram::from(supervisor);
    supervisor.set_nonblocking(true)?;
    tokio::spawn(watch(UnixDatagram::from_std(supervisor)?));
    Ok(Started {
        socket: control.into(),
        process: Box::new(Process(Mutex::new(controls))),
    })
}

/// Tells of a process that ends by itself and not well. With its sandbox the socket ends.
async fn watch(supervisor: UnixDatagram) {
    let mut packet = [0; 64];
    while let Ok(length @ 1..) = supervisor.recv(&mut packet).await {
        match Notice::decode(&packet[..length]) {
            Ok(Notice::Ended {
                exit: Exit::Exited(0), ..
            }) => {}
            Ok(notice) => tracing::warn!(?notice, "a process for WebAssembly has ended"),
            Err(error) => tracing::warn!(%error, "a sandbox for WebAssembly says what cannot be read"),
        }
    }
}

/// Tells what a process prints, up to a bound; the rest is read and dropped.
async fn tell(output: pipe::Receiver) {
    let mut lines = BufReader::new(output.take(PRINTED_BYTES)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::warn!(line, "a process for WebAssembly prints");
    }
    let mut rest = lines.into_inner().into_inner().into_inner();
    let mut part = [0; 4096];
    while matches!(rest.read(&mut part).await, Ok(count) if count > 0) {}
}
