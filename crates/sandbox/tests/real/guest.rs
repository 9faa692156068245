//! A server's dealings with one guest.

use std::os::fd::OwnedFd;
use std::time::Duration;

use ephyra_core::digest::Digest;
use ephyra_sandbox::client::{Assignment, Blank, CreateError, Warden};
use ephyra_sandbox::sandbox::{Controls, Sandbox};
use ephyra_sandbox::supervisor::{Command, Exit, Notice, Process, StartCommand};
use tokio::io::AsyncReadExt;
use tokio::net::UnixDatagram;
use tokio::net::unix::pipe::Receiver;

/// No test waits longer for anything.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A guest that is running.
pub(crate) struct Guest {
    pub(crate) control: UnixDatagram,
    /// What the guest said that nobody has listened to.
    pub(crate) unheard: Vec<u8>,
    pub(crate) supervisor: UnixDatagram,
    pub(crate) output: Receiver,
    pub(crate) extension_output: Receiver,
    pub(crate) listener: OwnedFd,
    pub(crate) controls: Box<dyn Controls>,
}

/// How a guest ended and what it wrote.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Of the runtime.
    pub(crate) exit: Option<Exit>,
    pub(crate) output: String,
}

/// The first runtime whose identifier begins so.
pub(crate) fn runtime(warden: &Warden, identifier: &str) -> String {
    let mut found = warden
        .runtimes()
        .iter()
        .filter(|runtime| runtime.identifier.starts_with(identifier));
    found.next().expect("the runtime is on this machine").identifier.clone()
}

/// A sandbox that is assigned as soon as it stands.
#[derive(Clone)]
pub(crate) struct Spec {
    pub(crate) memory_mb: u32,
    pub(crate) tmp_mb: u32,
    pub(crate) code: Digest,
    pub(crate) layers: Vec<Digest>,
    pub(crate) runtime: String,
}

impl Spec {
    /// Its first half.
    pub(crate) fn blank(&self) -> Blank {
        Blank {
            runtime: self.runtime.clone(),
            memory_mb: 128,
            base: None,
            zygote: false,
        }
    }

    /// Its second half.
    pub(crate) fn assignment(&self) -> Assignment {
        Assignment {
            memory_mb: self.memory_mb,
            tmp_mb: self.tmp_mb,
            code: Some(self.code),
            layers: self.layers.clone(),
            prepared: None,
        }
    }
}

/// The smallest sandbox.
pub(crate) fn spec(runtime: String, code: Digest) -> Spec {
    Spec {
        memory_mb: 128,
        tmp_mb: 512,
        code,
        layers: Vec::new(),
        runtime,
    }
}

/// Builds a sandbox and assigns it.
pub(crate) async fn create(warden: &Warden, spec: Spec) -> Result<Sandbox, CreateError> {
    let mut sandbox = warden.prepare(spec.blank()).await?;
    sandbox.controls.assign(spec.assignment()).await?;
    Ok(sandbox)
}

/// Starts a program in a new sandbox.
pub(crate) async fn start(warden: &Warden, spec: Spec, arguments: &[&str]) -> Result<Guest, CreateError> {
    let sandbox = create(warden, spec).await?;
    Ok(start_in(sandbox, arguments).await)
}

/// Starts a program in a sandbox that stands.
pub(crate) async fn start_in(sandbox: Sandbox, arguments: &[&str]) -> Guest {
    let mut guest = enter(sandbox);
    guest.command(&Command::Start(program(arguments))).await;
    guest
}

/// What starts a program.
pub(crate) fn program(arguments: &[&str]) -> StartCommand {
    StartCommand {
        arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
        variables: vec![
            ("SECRET".to_owned(), "hunter2".to_owned()),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ],
        directory: "/var/task".to_owned(),
    }
}

/// A sandbox in which nothing was started yet.
pub(crate) fn enter(sandbox: Sandbox) -> Guest {
    Guest {
        control: UnixDatagram::from_std(sandbox.control.into()).expect("a socket"),
        unheard: Vec::new(),
        supervisor: UnixDatagram::from_std(sandbox.supervisor.into()).expect("a socket"),
        output: Receiver::from_owned_fd(sandbox.output).expect("a pipe"),
        extension_output: Receiver::from_owned_fd(sandbox.extension_output).expect("a pipe"),
        listener: sandbox.listener,
        controls: sandbox.controls,
    }
}

/// Starts a script in the runtime's python, in a new sandbox.
pub(crate) async fn python(warden: &Warden, spec: Spec, script: &str) -> Guest {
    let runtime = warden
        .runtimes()
        .iter()
        .find(|runtime| runtime.identifier == spec.runtime);
    let executable = runtime
        .expect("a runtime")
        .executable
        .to_str()
        .expect("a path that is text")
        .to_owned();
    start(warden, spec, &[&executable, "-I", "-u", "-c", script])
        .await
        .expect("a sandbox")
}

/// Runs a script in a fork of the runtime's zygote, in a new sandbox.
pub(crate) async fn forked(warden: &Warden, spec: Spec, script: &str) -> Result<Guest, CreateError> {
    let blank = Blank {
        zygote: true,
        ..spec.blank()
    };
    let mut sandbox = warden.prepare(blank).await?;
    sandbox.controls.assign(spec.assignment()).await?;
    let mut guest = enter(sandbox);
    guest.say(&format!("{script}\0")).await;
    Ok(guest)
}

impl Guest {
    /// Sends text over the control socket.
    pub(crate) async fn say(&mut self, text: &str) {
        self.control.send(text.as_bytes()).await.expect("the guest lives");
    }

    /// Waits for a line from the control socket.
    pub(crate) async fn hear(&mut self) -> String {
        loop {
            if let Some(end) = self.unheard.iter().position(|byte| *byte == b'\n') {
                let line = self.unheard.drain(..=end).take(end).collect();
                return String::from_utf8(line).expect("text");
            }
            let mut packet = [0; 4096];
            let count = tokio::time::timeout(LIMIT, self.control.recv(&mut packet)).await;
            let count @ 1.. = count.expect("in time").expect("the guest lives") else {
                panic!("the guest lives");
            };
            self.unheard.extend_from_slice(&packet[..count]);
        }
    }

    /// Waits until the guest ends by itself; it is not ended otherwise.
    pub(crate) async fn ended(&mut self) -> Ended {
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(LIMIT, self.output.read_to_end(&mut bytes)).await;
        let output = String::from_utf8_lossy(&bytes).into_owned();
        read.unwrap_or_else(|_| panic!("the guest does not end; so far: {output}"))
            .expect("a pipe");
        let exit = match self.notice().await {
            None => None,
            Some(Notice::Ended {
                process: Process::Runtime,
                exit,
            }) => Some(exit),
            Some(other) => panic!("{other:?}"),
        };
        Ended { exit, output }
    }

    /// Has pid 1 do something.
    pub(crate) async fn command(&mut self, command: &Command) {
        let packet = command.encode().expect("a command");
        self.supervisor.send(&packet).await.expect("pid 1 lives");
    }

    /// Waits for pid 1 to say who has ended; `None` when pid 1 itself has.
    pub(crate) async fn notice(&mut self) -> Option<Notice> {
        let mut packet = [0; 64];
        let received = tokio::time::timeout(LIMIT, self.supervisor.recv(&mut packet))
            .await
            .expect("in time");
        let length = received.ok().filter(|&length| length > 0)?;
        Some(Notice::decode(&packet[..length]).expect("a notice"))
    }

    /// Asks pid 1 for a socket.
    pub(crate) async fn socket(&mut self) -> OwnedFd {
        use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
        self.command(&Command::Socket).await;
        tokio::time::timeout(LIMIT, self.supervisor.readable())
            .await
            .expect("in time")
            .expect("pid 1 lives");
        let mut packet = [0; 64];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let parts = &mut [std::io::IoSliceMut::new(&mut packet)];
        let received = recvmsg(&self.supervisor, parts, &mut control, RecvFlags::CMSG_CLOEXEC).expect("a packet");
        assert_eq!(Notice::decode(&packet[..received.bytes]), Ok(Notice::Socket));
        let mut descriptors = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        descriptors.next().and_then(|mut all| all.next()).expect("a socket")
    }

    /// Ends it and waits until nothing is left.
    pub(crate) async fn end(self) {
        tokio::time::timeout(LIMIT, self.controls.end()).await.expect("in time");
    }
}
