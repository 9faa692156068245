//! A data folder, and processes that are threads.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ephyra_core::digest::Digest;
use ephyra_core::environment::{Environment, Execution, LaunchError, Launcher as _, Purpose};
use ephyra_core::id::{RequestId, RevisionId, Version};
use ephyra_core::invocation::{Invocation, StreamPart};
use ephyra_core::logs::{LogSink, LogStream};
use ephyra_core::revision::{LogFormat, LogLevel, Logging, Revision};
use ephyra_wasm::host::{self, HostOptions};
use ephyra_wasm::{Role, Start, Started, Wasm, WasmOptions, artefact};
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

/// Calls at once.
const CALLS: u32 = 32;

/// What stands in for the host, where it is not a real one.
pub(crate) type Stand = fn(UnixStream);

/// Starts threads.
pub(crate) struct Threads {
    artefacts: PathBuf,
    pub(crate) hosts: AtomicUsize,
    pub(crate) compilers: AtomicUsize,
    stand: Option<Stand>,
    /// The other ends of what was started last, to end it as a kill would.
    last: Mutex<Option<UnixStream>>,
}

/// Ends a thread as the end of a sandbox ends a process: its socket closes.
struct Process(UnixStream);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.shutdown(Shutdown::Both).unwrap_or_default();
    }
}

impl Threads {
    /// Ends the host that runs.
    pub(crate) fn kill(&self) {
        self.last
            .lock()
            .unwrap()
            .as_ref()
            .unwrap()
            .shutdown(Shutdown::Both)
            .unwrap();
    }
}

impl Start for Threads {
    fn start(&self, role: Role) -> BoxFuture<'static, Result<Started, LaunchError>> {
        let (socket, theirs) = UnixStream::pair().unwrap();
        match role {
            Role::Host => {
                self.hosts.fetch_add(1, Ordering::SeqCst);
                *self.last.lock().unwrap() = Some(theirs.try_clone().unwrap());
                let options = HostOptions {
                    artefacts: self.artefacts.clone(),
                    threads: 2,
                    calls: CALLS,
                    memory_bytes: 4 << 30,
                };
                let stand = self.stand;
                std::thread::spawn(move || match stand {
                    Some(stand) => stand(theirs),
                    None => drop(host::run(theirs, &options)),
                });
            }
            Role::Compiler => {
                self.compilers.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || drop(host::compile::run(theirs)));
            }
        }
        let process = Box::new(Process(socket.try_clone().unwrap()));
        Box::pin(std::future::ready(Ok(Started { socket, process })))
    }
}

/// Keeps all lines.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<String>>>);

impl LogSink for Lines {
    fn open(&self, _: &str, _: &str) -> Box<dyn LogStream> {
        Box::new(self.clone())
    }
}

impl LogStream for Lines {
    fn append(&mut self, _: i64, message: &[u8]) {
        self.0
            .lock()
            .unwrap()
            .push(String::from_utf8_lossy(message).into_owned());
    }

    fn flush(&mut self) {}
}

impl Lines {
    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}

pub(crate) struct World {
    pub(crate) data: tempfile::TempDir,
    pub(crate) threads: Arc<Threads>,
    pub(crate) lines: Lines,
    pub(crate) wasm: Wasm,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(None, Duration::from_secs(20))
    }

    pub(crate) fn with_host(stand: Stand) -> Self {
        Self::with(Some(stand), Duration::from_millis(500))
    }

    fn with(stand: Option<Stand>, patience: Duration) -> Self {
        let options = WasmOptions { calls: CALLS, patience };
        let data = tempfile::tempdir().unwrap();
        let artefacts = data.path().join("prepared").join(artefact::folder().to_string());
        let threads = Arc::new(Threads {
            artefacts,
            hosts: AtomicUsize::new(0),
            compilers: AtomicUsize::new(0),
            stand,
            last: Mutex::new(None),
        });
        let lines = Lines::default();
        let wasm = Wasm::open(data.path(), threads.clone(), Arc::new(lines.clone()), options).unwrap();
        Self {
            data,
            threads,
            lines,
            wasm,
        }
    }

    /// A function whose package is this one module.
    pub(crate) fn function(&self, module: &[u8]) -> Arc<Revision> {
        let code = Digest::of(module);
        let package = self.data.path().join("code").join(code.to_string());
        std::fs::create_dir_all(&package).unwrap();
        std::fs::write(package.join("app.wasm"), module).unwrap();
        Arc::new(Revision {
            id: RevisionId::new(),
            function: "work".parse().unwrap(),
            version: Version::Latest,
            function_arn: "arn:aws:lambda:eu-west-1:000000000000:function:work".to_owned(),
            runtime: "wasm".to_owned(),
            handler: "app".to_owned(),
            code,
            layers: Vec::new(),
            memory_mb: 128,
            ephemeral_storage_mb: 512,
            timeout_seconds: 3,
            variables: vec![("MINE".to_owned(), "1".to_owned())],
            logging: Logging {
                format: LogFormat::Text,
                application_level: LogLevel::Info,
                system_level: LogLevel::Info,
                group: "/aws/lambda/work".to_owned(),
            },
        })
    }

    pub(crate) async fn environment(&self, revision: &Arc<Revision>) -> Box<dyn Environment> {
        self.wasm.launch(Arc::clone(revision), Purpose::OnDemand).await.unwrap()
    }

    /// Calls a function in an environment of its own.
    pub(crate) async fn call(&self, revision: &Arc<Revision>, event: &'static str) -> Execution {
        let environment = self.environment(revision).await;
        let (environment, execution) = environment.invoke(invocation(revision, event, None)).await;
        assert!(environment.is_some());
        execution
    }
}

pub(crate) fn invocation(
    revision: &Arc<Revision>,
    event: &'static str,
    stream: Option<mpsc::Sender<StreamPart>>,
) -> Invocation {
    Invocation {
        request_id: RequestId::from_bytes([7; 16]),
        revision: Arc::clone(revision),
        invoked_arn: revision.function_arn.clone(),
        payload: Bytes::from_static(event.as_bytes()),
        client_context: None,
        trace_id: None,
        wants_log_tail: true,
        stream,
        received: Instant::now(),
    }
}
