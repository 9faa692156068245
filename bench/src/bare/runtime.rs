//! The platform's own runtime, started without a sandbox, behind the platform's own protocol (crates/guest/PROTOCOL.md):
//! the difference to the bare loop is what the runtime costs, the difference to an Invoke what the server costs.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tempfile::TempDir;

use crate::function::ANSWER;
use crate::language::{Language, Languages};
use crate::process::Process;

const VERSION: u8 = 2;
const EVENT: u8 = 0x01;
const CONFIGURE: u8 = 0x02;
const BOOTED: u8 = 0x81;
const READY: u8 = 0x82;
const RESPONSE: u8 = 0x84;
/// How long it may take to boot, and for one answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// The meta of an event, as long as one that the platform sends.
const META: &[u8] = br#"{"invokedFunctionArn":"arn:aws:lambda:us-east-1:000000000000:function:warm-python-1769","traceId":"Root=1-00000000-000000000000000000000000"}"#;

/// A running runtime. Dropped, it is ended.
pub(crate) struct Runtime {
    socket: UnixStream,
    buffer: Vec<u8>,
    process: Process,
    _folder: TempDir,
}

impl Runtime {
    pub(crate) fn start(languages: &Languages, language: Language) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (file, text, program) = match language {
            Language::Python => (
                "app.py",
                "def handler(event, context):\n    return None\n",
                "python/bootstrap.py",
            ),
            Language::Node => ("index.js", "exports.handler = async () => null;\n", "node/index.js"),
            other => bail!("the runtime of {} speaks no frames", other.name()),
        };
        fs::write(folder.path().join(file), text)?;
        let (socket, other) = UnixStream::pair()?;
        socket.set_read_timeout(Some(ANSWER_TIME))?;
        let variables = json!({
            "LAMBDA_TASK_ROOT": folder.path(),
            "AWS_LAMBDA_FUNCTION_NAME": "bare",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/bare",
            "AWS_LAMBDA_LOG_STREAM_NAME": "bare",
            "_HANDLER": language.handler(),
        });
        let program = folder_of_runtimes().join(program);
        ensure!(program.exists(), "there is no {}", program.display());
        // Descriptor 3, which this program cannot make itself without unsafe code.
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec 3<&0 0</dev/null; exec \"$@\"", "sh"])
            .arg(&languages.need(language)?.executable)
            .args((language == Language::Python).then_some("-S"))
            .arg(program)
            .stdin(Stdio::from(OwnedFd::from(other)))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        for (name, value) in variables.as_object().into_iter().flatten() {
            command.env(name, value.as_str().unwrap_or_default());
        }
        let mut runtime = Self {
            socket,
            buffer: Vec::new(),
            process: Process::start_as_is(command)?,
            _folder: folder,
        };
        ensure!(runtime.receive()?.0 == BOOTED, "the runtime did not boot");
        let configuration = json!({ "variables": variables, "handler": language.handler() });
        runtime.send(CONFIGURE, configuration.to_string().as_bytes())?;
        let (kind, body) = runtime.receive()?;
        ensure!(
            kind == READY,
            "the runtime did not load the function: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(runtime)
    }

    pub(crate) fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Sends an event, waits for its answer, and says how long that took.
    pub(crate) fn call(&mut self, event: &[u8]) -> Result<Duration> {
        const ID: [u8; 16] = [7; 16];
        let meta_length = u32::try_from(META.len())?.to_le_bytes();
        let deadline = u64::MAX / 4;
        let body = [&ID, &deadline.to_le_bytes()[..], &meta_length, &[0; 4], META, event].concat();
        let start = Instant::now();
        self.send(EVENT, &body)?;
        let (kind, body) = self.receive()?;
        let took = start.elapsed();
        ensure!(
            kind == RESPONSE && body.strip_prefix(&ID) == Some(ANSWER),
            "the runtime answered {kind:#x}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(took)
    }

    fn send(&mut self, kind: u8, body: &[u8]) -> Result<()> {
        let length = u32::try_from(body.len())?.to_le_bytes();
        let frame = [&length[..], &[kind, VERSION, 0, 0], body].concat();
        Ok(self.socket.write_all(&frame)?)
    }

    fn receive(&mut self) -> Result<(u8, Vec<u8>)> {
        loop {
            if let Some(head) = self.buffer.first_chunk::<4>() {
                let end = 8 + usize::try_from(u32::from_le_bytes(*head))?;
                if self.buffer.len() >= end {
                    let frame: Vec<u8> = self.buffer.drain(..end).collect();
                    return Ok((frame[4], frame[8..].to_vec()));
                }
            }
            let mut part = [0; 4096];
            let count = self.socket.read(&mut part).context("the runtime said nothing")?;
            ensure!(count > 0, "the runtime has ended");
            self.buffer.extend_from_slice(&part[..count]);
        }
    }
}

/// The runtimes of this repository.
fn folder_of_runtimes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtimes")
}
