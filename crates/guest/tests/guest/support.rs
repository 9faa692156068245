//! A sandbox without isolation: the real interpreters, started by a thread that plays the sandbox's pid 1.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ephyra_core::digest::Digest;
use ephyra_core::environment::{Environment, Execution, LaunchError, Launcher as _, Purpose};
use ephyra_core::id::{EnvironmentId, RequestId, RevisionId, Version};
use ephyra_core::invocation::{Invocation, StreamPart};
use ephyra_core::logs::{LogSink, LogStream};
use ephyra_core::revision::{LogFormat, LogLevel, Logging, Revision};
use ephyra_guest::{Bootstrap, Builder, Launcher, Runtime, RuntimeKind};
use ephyra_sandbox::client::{Assignment, Blank, CreateError};
use ephyra_sandbox::sandbox::{Controls, Sandbox};
use ephyra_sandbox::supervisor::{self, Exit, Notice};
use futures_util::future::BoxFuture;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use tokio::sync::mpsc;

/// Log lines in memory.
#[derive(Clone, Default)]
pub(crate) struct Lines(pub(crate) Arc<Mutex<Vec<String>>>);

impl LogSink for Lines {
    fn open(&self, _group: &str, _stream: &str) -> Box<dyn LogStream> {
        Box::new(self.clone())
    }
}

impl LogStream for Lines {
    fn append(&mut self, _timestamp_ms: i64, message: &[u8]) {
        self.0
            .lock()
            .unwrap()
            .push(String::from_utf8(message.to_vec()).unwrap());
    }
    fn flush(&mut self) {}
}

/// What the test sees and steers of a sandbox.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) group: AtomicI32,
    pub(crate) oom_kills: AtomicU64,
    pub(crate) freezes: AtomicU64,
    pub(crate) thaws: AtomicU64,
    pub(crate) caps: AtomicU64,
    pub(crate) prepared: AtomicU64,
    pub(crate) ended: AtomicU64,
    /// Runtimes that have ended.
    pub(crate) exits: Arc<AtomicU64>,
    /// How many assignments are to fail.
    pub(crate) refuse: AtomicU64,
}

struct FakeControls(Arc<Shared>, Arc<AtomicI32>);

impl FakeControls {
    fn signal(&self, signal: Signal) {
        if let Some(group) = Pid::from_raw(self.1.load(Ordering::SeqCst)) {
            let _gone_already = rustix::process::kill_process_group(group, signal);
        }
    }
}

impl Drop for FakeControls {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

impl Controls for FakeControls {
    fn assign(&mut self, _assignment: Assignment) -> BoxFuture<'static, Result<(), CreateError>> {
        let refuse = &self.0.refuse;
        let is_refused = refuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        Box::pin(std::future::ready(match is_refused {
            Ok(_) => Err(CreateError::Assigned),
            Err(_) => Ok(()),
        }))
    }
    fn freeze(&mut self) -> io::Result<()> {
        self.0.freezes.fetch_add(1, Ordering::SeqCst);
        self.signal(Signal::STOP);
        Ok(())
    }
    fn thaw(&mut self) -> io::Result<()> {
        self.0.thaws.fetch_add(1, Ordering::SeqCst);
        self.signal(Signal::CONT);
        Ok(())
    }
    fn cap_cpu(&mut self) -> io::Result<()> {
        self.0.caps.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    fn cpu_time(&self) -> io::Result<Duration> {
        Ok(Duration::from_millis(5))
    }
    fn peak_memory_bytes(&self) -> io::Result<u64> {
        Ok(36 << 20)
    }
    fn oom_kills(&self) -> io::Result<u64> {
        Ok(self.0.oom_kills.load(Ordering::SeqCst))
    }
    fn end(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move { drop(self) })
    }
}

struct FakeBuilder {
    task: PathBuf,
    runtime: Runtime,
    shared: Arc<Shared>,
    native: Option<fn(OwnedFd)>,
}

impl Builder for FakeBuilder {
    fn runtime(&self, _identifier: &str) -> Result<Runtime, LaunchError> {
        Ok(self.runtime.clone())
    }

    fn bootstrap(&self, _revision: &Revision) -> Option<Bootstrap> {
        self.task.join("bootstrap").exists().then_some(Bootstrap::Task)
    }

    fn extensions(&self, _revision: &Revision) -> Vec<String> {
        let entries = std::fs::read_dir(self.task.join("extensions")).into_iter().flatten();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        names
    }

    fn prepare(&self, _blank: Blank) -> BoxFuture<'static, Result<Sandbox, CreateError>> {
        self.shared.prepared.fetch_add(1, Ordering::SeqCst);
        let pair = |kind| socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
        let (control, inner_control) = pair(SocketType::SEQPACKET);
        let (supervisor, inner_supervisor) = pair(SocketType::SEQPACKET);
        let (output, inner_output) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (extension_output, inner_extension_output) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let native = self.native;
        let group = Arc::new(AtomicI32::new(0));
        let first_process = FirstProcess {
            task: self.task.clone(),
            api: address,
            shared: self.shared.clone(),
            group: Arc::clone(&group),
            control: Some(inner_control),
            supervisor: inner_supervisor,
            output: inner_output,
            extension_output: inner_extension_output,
            extensions: Vec::new(),
        };
        std::thread::spawn(move || match native {
            Some(guest) => guest(first_process.control.unwrap()),
            None => first_process.run(),
        });
        let sandbox = Sandbox {
            id: EnvironmentId::new(),
            control,
            supervisor,
            output,
            extension_output,
            listener: listener.into(),
            controls: Box::new(FakeControls(self.shared.clone(), group)),
            built_in: Duration::from_millis(1),
        };
        Box::pin(async move { Ok(sandbox) })
    }
}

/// What stands for `/var/lang/base`, for runtimes that need it.
pub(crate) static BASE: OnceLock<PathBuf> = OnceLock::new();

/// What plays a sandbox's pid 1.
struct FirstProcess {
    task: PathBuf,
    api: String,
    shared: Arc<Shared>,
    /// The runtime's process group.
    group: Arc<AtomicI32>,
    control: Option<OwnedFd>,
    supervisor: OwnedFd,
    output: OwnedFd,
    extension_output: OwnedFd,
    /// The process groups of extensions.
    extensions: Vec<i32>,
}

impl FirstProcess {
    /// Until the host has gone.
    fn run(mut self) {
        let mut packet = vec![0; 65536];
        while let Ok((_, length @ 1..)) = rustix::net::recv(&self.supervisor, &mut packet[..], RecvFlags::empty()) {
            match supervisor::Command::decode(&packet[..length]).unwrap() {
                supervisor::Command::Start(command) => {
                    let control = self.control.take().expect("the runtime is started once");
                    let output = self.output.as_fd().try_clone_to_owned().unwrap();
                    let group = self.start(&command, supervisor::Process::Runtime, control, output);
                    self.group.store(group, Ordering::SeqCst);
                    self.shared.group.store(group, Ordering::SeqCst);
                }
                supervisor::Command::Extension(command) => {
                    let null = std::fs::File::open("/dev/null").unwrap().into();
                    let output = self.extension_output.as_fd().try_clone_to_owned().unwrap();
                    let number = self.extensions.len().try_into().unwrap();
                    let group = self.start(&command, supervisor::Process::Extension(number), null, output);
                    self.extensions.push(group);
                }
                supervisor::Command::Terminate => kill(self.group.load(Ordering::SeqCst), Signal::TERM),
                supervisor::Command::Kill => kill(self.group.load(Ordering::SeqCst), Signal::KILL),
                supervisor::Command::Socket => {
                    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
                    let packet = Notice::Socket.encode().unwrap();
                    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                    let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
                    let sockets = [socket.as_fd()];
                    assert!(control.push(rustix::net::SendAncillaryMessage::ScmRights(&sockets)));
                    let parts = [io::IoSlice::new(&packet)];
                    rustix::net::sendmsg(&self.supervisor, &parts, &mut control, SendFlags::NOSIGNAL).unwrap();
                }
            }
        }
        for group in self.extensions {
            kill(group, Signal::KILL);
        }
    }

    /// Starts a program, tells of its end, and returns its process group.
    fn start(
        &self,
        command: &supervisor::StartCommand,
        process: supervisor::Process,
        input: OwnedFd,
        output: OwnedFd,
    ) -> i32 {
        let supervisor = self.supervisor.as_fd().try_clone_to_owned().unwrap();
        let tell = move |exit| {
            let notice = Notice::Ended { process, exit };
            let _host_has_gone = rustix::net::send(&supervisor, &notice.encode().unwrap(), SendFlags::NOSIGNAL);
        };
        let arguments: Vec<String> = command.arguments.iter().map(|argument| self.place(argument)).collect();
        if !Path::new(&arguments[0]).exists() {
            tell(Exit::ExecFailed(2));
            return 0;
        }
        let error_output = output.as_fd().try_clone_to_owned().unwrap();
        let mut child = Command::new("/bin/sh")
            .args(["-c", "exec 3<&0 0</dev/null; exec \"$@\"", "sh"])
            .args(&arguments)
            .env_clear()
            .envs(command.variables.iter().map(|(name, value)| (name, self.place(value))))
            .env("LD_LIBRARY_PATH", "")
            .current_dir(&self.task)
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(output))
            .stderr(Stdio::from(error_output))
            .process_group(0)
            .spawn()
            .unwrap();
        let group = child.id().try_into().unwrap();
        let exits = Arc::clone(&self.shared.exits);
        std::thread::spawn(move || {
            let status = child.wait().unwrap();
            tell(match status.signal() {
                Some(signal) => Exit::Signalled(signal.try_into().unwrap()),
                None => Exit::Exited(status.code().unwrap().try_into().unwrap()),
            });
            exits.fetch_add(1, Ordering::SeqCst);
        });
        group
    }

    fn place(&self, text: &str) -> String {
        let runtimes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runtimes");
        let task = self.task.to_str().unwrap();
        let bootstrap = runtimes.join("python/bootstrap.py");
        let index = runtimes.join("node/index.js");
        let base = BASE.get().map_or("/var/lang/base", |base| base.to_str().unwrap());
        text.replace("/var/task", task)
            .replace("/var/lang/base", base)
            .replace("/opt/extensions", &format!("{task}/extensions"))
            .replace("/var/runtime/bootstrap.py", bootstrap.to_str().unwrap())
            .replace("/var/runtime/index.js", index.to_str().unwrap())
            .replace("127.0.0.1:9001", &self.api)
    }
}

fn kill(group: i32, signal: Signal) {
    if let Some(group) = Pid::from_raw(group) {
        let _gone_already = rustix::process::kill_process_group(group, signal);
    }
}

/// A function and the means to run it.
pub(crate) struct Rig {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) revision: Revision,
    pub(crate) lines: Lines,
    pub(crate) shared: Arc<Shared>,
    pub(crate) runtime: Runtime,
    pub(crate) init_limit: Duration,
    pub(crate) purpose: Purpose,
    /// Plays the guest on a thread instead of a process.
    pub(crate) native: Option<fn(OwnedFd)>,
}

impl Rig {
    pub(crate) fn new(runtime: Runtime, handler: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let revision = Revision {
            id: RevisionId::new(),
            function: "work".parse().unwrap(),
            version: Version::Latest,
            function_arn: "arn:aws:lambda:eu-west-1:000000000000:function:work".to_owned(),
            runtime: runtime.identifier.clone(),
            handler: handler.to_owned(),
            code: Digest::of(b""),
            layers: Vec::new(),
            memory_mb: 128,
            ephemeral_storage_mb: 512,
            timeout_seconds: 20,
            variables: Vec::new(),
            logging: Logging {
                format: LogFormat::Text,
                application_level: LogLevel::Info,
                system_level: LogLevel::Info,
                group: "/aws/lambda/work".to_owned(),
            },
        };
        Self {
            folder,
            revision,
            lines: Lines::default(),
            shared: Arc::default(),
            runtime,
            init_limit: Duration::from_secs(10),
            purpose: Purpose::OnDemand,
            native: None,
        }
    }

    pub(crate) fn python(handler: &str, source: &str) -> Self {
        Self::new(python(), handler, &[("app.py", source)])
    }

    pub(crate) fn node(handler: &str, files: &[(&str, &str)]) -> Self {
        Self::new(node(), handler, files)
    }

    /// A guest of a managed runtime that says on descriptor 3 what a script has it say.
    pub(crate) fn scripted(source: &str) -> Self {
        let preamble = "#!/usr/bin/env python3\nimport os, sys, time\n\
            def send(kind, body=b'', version=2): os.write(3, len(body).to_bytes(4, 'little') + bytes((kind, version, 0, 0)) + body)\n\
            def boot(): send(0x81); os.read(3, 1 << 17); send(0x82)\n\
            def event(): return os.read(3, 1 << 16)[8:24]\n";
        let mut rig = Self::new(python(), "app.handler", &[]);
        rig.runtime.executable = rig.script("guest", &format!("{preamble}{source}"));
        rig
    }

    pub(crate) fn script(&self, name: &str, source: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.folder.path().join(name);
        std::fs::write(&path, source).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn provided(source: &str) -> Self {
        let runtime = Runtime {
            identifier: "provided.al2023".to_owned(),
            kind: RuntimeKind::Provided,
            executable: String::new(),
            version: String::new(),
            has_zygote: false,
        };
        let rig = Self::new(runtime, "app.handler", &[]);
        let preamble = "#!/usr/bin/env python3\nimport http.client, json, os, socket, sys\n\
            api = os.environ['AWS_LAMBDA_RUNTIME_API']\n\
            connection = http.client.HTTPConnection(api)\n\
            def call(method, path, body=None, headers={}, at=connection):\n\
            \x20   at.request(method, '/2018-06-01/' + path, body, headers)\n\
            \x20   reply = at.getresponse()\n\
            \x20   return reply.status, dict((k.lower(), v) for k, v in reply.getheaders()), reply.read()\n\
            def next():\n\
            \x20   # 403: the platform has not seen the end of the last answer yet.\n\
            \x20   while (reply := call('GET', 'runtime/invocation/next'))[0] == 403: pass\n\
            \x20   return reply[1]['lambda-runtime-aws-request-id'], reply[1], reply[2]\n";
        if !source.is_empty() {
            rig.script("bootstrap", &format!("{preamble}{source}"));
        }
        rig
    }

    pub(crate) fn timeout(mut self, seconds: u32) -> Self {
        self.revision.timeout_seconds = seconds;
        self
    }

    pub(crate) fn json(mut self, application_level: LogLevel, system_level: LogLevel) -> Self {
        self.revision.logging = Logging {
            format: LogFormat::Json,
            application_level,
            system_level,
            group: "/g".to_owned(),
        };
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.revision.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn launcher(&self) -> Launcher {
        let builder = self.builder();
        Launcher::new(Arc::new(builder), Arc::new(self.lines.clone())).with_init_limit(self.init_limit)
    }

    fn builder(&self) -> FakeBuilder {
        FakeBuilder {
            task: self.folder.path().to_owned(),
            runtime: self.runtime.clone(),
            shared: self.shared.clone(),
            native: self.native,
        }
    }

    /// A sandbox in which nothing runs yet.
    pub(crate) async fn sandbox(&self) -> Sandbox {
        let blank = Blank {
            runtime: self.runtime.identifier.clone(),
            memory_mb: 128,
            base: None,
            zygote: false,
        };
        self.builder().prepare(blank).await.unwrap()
    }

    pub(crate) async fn try_launch(&self) -> Result<Box<dyn Environment>, LaunchError> {
        self.launcher()
            .launch(Arc::new(self.revision.clone()), self.purpose)
            .await
    }

    pub(crate) async fn launch(&self) -> Box<dyn Environment> {
        self.try_launch().await.unwrap()
    }

    pub(crate) fn invocation(&self, payload: &str) -> Invocation {
        Invocation {
            request_id: RequestId::new(),
            revision: Arc::new(self.revision.clone()),
            invoked_arn: format!("{}:live", self.revision.function_arn),
            payload: Bytes::from(payload.to_owned()),
            client_context: None,
            trace_id: None,
            wants_log_tail: false,
            stream: None,
            received: Instant::now(),
        }
    }

    /// Launches, invokes once, and gives back what is left.
    pub(crate) async fn once(&self, payload: &str) -> (Option<Box<dyn Environment>>, Execution) {
        self.launch().await.invoke(self.invocation(payload)).await
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.0.lock().unwrap().clone()
    }

    /// Whether a line was logged that holds `text`.
    #[track_caller]
    pub(crate) fn has_logged(&self, text: &str) {
        let lines = self.lines();
        assert!(
            lines.iter().any(|line| line.contains(text)),
            "{text:?} is not in {lines:#?}"
        );
    }
}

/// An interpreter's path: what the variable says, or the first of that name on the usual paths.
fn find(variable: &str, name: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        let paths = format!("/usr/bin:/usr/local/bin:{}", std::env::var("PATH").unwrap_or_default());
        let found = paths
            .split(':')
            .map(|folder| format!("{folder}/{name}"))
            .find(|path| Path::new(path).exists());
        found.unwrap_or_else(|| panic!("{name} is needed for these tests"))
    })
}

pub(crate) fn python() -> Runtime {
    let executable = find("EPHYRA_TEST_PYTHON", "python3");
    Runtime {
        identifier: "python3.11".to_owned(),
        kind: RuntimeKind::Python,
        executable,
        version: "3.11".to_owned(),
        has_zygote: false,
    }
}

pub(crate) fn node() -> Runtime {
    let executable = find("EPHYRA_TEST_NODE", "node");
    Runtime {
        identifier: "nodejs20.x".to_owned(),
        kind: RuntimeKind::Node,
        executable,
        version: "20".to_owned(),
        has_zygote: false,
    }
}

/// The answer as JSON.
#[track_caller]
pub(crate) fn answer(execution: &Execution) -> Value {
    match &execution.result {
        Ok(bytes) => serde_json::from_slice(bytes).unwrap(),
        Err(error) => panic!(
            "it failed: {} {}",
            error.error_type,
            String::from_utf8_lossy(&error.payload)
        ),
    }
}

/// The failure's type and document.
#[track_caller]
pub(crate) fn failure(execution: &Execution) -> (String, Value) {
    let error = execution.result.as_ref().unwrap_err();
    (
        error.error_type.clone(),
        serde_json::from_slice(&error.payload).unwrap(),
    )
}

/// Invokes with a stream and gathers it: the environment, the execution, the content types and the bytes.
pub(crate) async fn stream(
    rig: &Rig,
    environment: Box<dyn Environment>,
    payload: &str,
) -> (Option<Box<dyn Environment>>, Execution, Vec<StreamPart>) {
    let (sender, mut receiver) = mpsc::channel(4);
    let mut invocation = rig.invocation(payload);
    invocation.stream = Some(sender);
    let gather = async {
        let mut parts = Vec::new();
        while let Some(part) = receiver.recv().await {
            parts.push(part);
        }
        parts
    };
    let ((environment, execution), parts) = tokio::join!(environment.invoke(invocation), gather);
    (environment, execution, parts)
}
