//! A server's dealings with one guest.

use std::os::fd::OwnedFd;
use std::time::Duration;

use ephyra_core::digest::Digest;
use ephyra_core::id::EnvironmentId;
use ephyra_sandbox::client::{CreateError, Spec, Warden};
use ephyra_sandbox::sandbox::{Controls, Sandbox};
use ephyra_sandbox::supervisor::{Notice, StartCommand};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::Receiver;
use tokio::net::{UnixDatagram, UnixStream};

/// No test waits longer for anything.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A guest that is running.
pub(crate) struct Guest {
    pub(crate) control: UnixStream,
    pub(crate) supervisor: UnixDatagram,
    pub(crate) output: Receiver,
    pub(crate) listener: Option<OwnedFd>,
    pub(crate) controls: Box<dyn Controls>,
}

/// How a guest ended and what it wrote.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) notice: Option<Notice>,
    pub(crate) output: String,
}

/// The index of a runtime by the beginning of its identifier.
pub(crate) fn runtime(warden: &Warden, identifier: &str) -> u16 {
    let found = warden
        .runtimes()
        .iter()
        .position(|runtime| runtime.identifier.starts_with(identifier));
    found
        .expect("the runtime is on this machine")
        .try_into()
        .expect("few runtimes")
}

/// The oldest python of this machine.
pub(crate) fn any_python(warden: &Warden) -> u16 {
    runtime(warden, "python3.")
}

/// The smallest sandbox.
pub(crate) fn spec(runtime: u16, code: Digest) -> Spec {
    Spec {
        id: EnvironmentId::new(),
        memory_mb: 128,
        tmp_mb: 512,
        code,
        layers: Vec::new(),
        runtime,
        has_listener: false,
    }
}

/// Starts a program in a new sandbox.
pub(crate) async fn start(warden: &Warden, spec: Spec, arguments: &[&str]) -> Result<Guest, CreateError> {
    let sandbox = warden.create(spec).await?;
    Ok(start_in(sandbox, arguments).await)
}

/// Starts a program in a sandbox that stands.
pub(crate) async fn start_in(sandbox: Sandbox, arguments: &[&str]) -> Guest {
    let command = StartCommand {
        arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
        variables: vec![
            ("SECRET".to_owned(), "hunter2".to_owned()),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ],
        directory: "/var/task".to_owned(),
    };
    let supervisor = UnixDatagram::from_std(sandbox.supervisor.into()).expect("a socket");
    supervisor
        .send(&command.encode().expect("a command"))
        .await
        .expect("pid 1 lives");
    Guest {
        control: UnixStream::from_std(sandbox.control.into()).expect("a socket"),
        supervisor,
        output: Receiver::from_owned_fd(sandbox.output).expect("a pipe"),
        listener: sandbox.listener,
        controls: sandbox.controls,
    }
}

/// Starts a script in python, in a new sandbox.
pub(crate) async fn python(warden: &Warden, spec: Spec, script: &str) -> Guest {
    let runtime = &warden.runtimes()[usize::from(spec.runtime)];
    let executable = runtime.executable.to_str().expect("a path that is text").to_owned();
    start(warden, spec, &[&executable, "-I", "-u", "-c", script])
        .await
        .expect("a sandbox")
}

impl Guest {
    /// Sends a line down the control stream.
    pub(crate) async fn say(&mut self, text: &str) {
        self.control.write_all(text.as_bytes()).await.expect("the guest lives");
    }

    /// Waits for `count` bytes of the control stream.
    pub(crate) async fn hear(&mut self, count: usize) -> String {
        let mut bytes = vec![0; count];
        let read = tokio::time::timeout(LIMIT, self.control.read_exact(&mut bytes)).await;
        read.expect("in time").expect("the guest lives");
        String::from_utf8(bytes).expect("text")
    }

    /// Waits until the guest ends by itself; it is not ended otherwise.
    pub(crate) async fn ended(&mut self) -> Ended {
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(LIMIT, self.output.read_to_end(&mut bytes)).await;
        let output = String::from_utf8_lossy(&bytes).into_owned();
        read.unwrap_or_else(|_| panic!("the guest does not end; so far: {output}"))
            .expect("a pipe");
        let mut packet = [0; 64];
        let received = tokio::time::timeout(LIMIT, self.supervisor.recv(&mut packet))
            .await
            .expect("in time");
        let notice = received
            .ok()
            .filter(|&length| length > 0)
            .map(|length| Notice::decode(&packet[..length]));
        Ended {
            notice: notice.map(|notice| notice.expect("a notice")),
            output,
        }
    }

    /// Ends it and waits until nothing is left.
    pub(crate) async fn end(self) {
        tokio::time::timeout(LIMIT, self.controls.end()).await.expect("in time");
    }
}
