//! A started environment: its initialisation, its invocations, its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ephyra_core::environment::{Environment, Execution, LaunchError, Purpose};
use ephyra_core::id::RequestId;
use ephyra_core::invocation::{ColdStart, FunctionError, Invocation, Measures, Origin, billed_ms};
use ephyra_core::logs::LogStream;
use ephyra_core::revision::Revision;
use ephyra_sandbox::sandbox::{Controls, Sandbox};
use ephyra_sandbox::supervisor::StartCommand;
use futures_util::future::BoxFuture;

use crate::api::Api;
use crate::channel::Channel;
use crate::failure::Failure;
use crate::journal::{Journal, to_time};
use crate::platform::{Cold, Event, Figures, Status};
use crate::protocol::{Broken, Delivery, Protocol};
use crate::runtime::{Runtime, RuntimeKind, wrapper};
use crate::supervisor::Exit;
use crate::watch::{Waited, Watch, now_ms};

mod restore;

use restore::Restoring;

/// How long a runtime that has closed its socket may take to exit before it is taken for a broken one.
const EXIT_LIMIT: Duration = Duration::from_secs(1);
/// How long an answer waits for a lost environment to be gone; it is ended in any case.
const END_LIMIT: Duration = Duration::from_secs(2);
/// What an empty event is delivered as.
const EMPTY_EVENT: Bytes = Bytes::from_static(b"{}");

fn is_template(cold: &ColdStart) -> bool {
    cold.origin == Origin::Template
}

/// What an environment is opened with, besides its sandbox.
pub(crate) struct Opening {
    pub(crate) revision: Arc<Revision>,
    pub(crate) runtime: Runtime,
    pub(crate) runtime_version: String,
    pub(crate) runtime_arn: String,
    pub(crate) purpose: Purpose,
    pub(crate) log: Box<dyn LogStream>,
    pub(crate) configuration: Vec<u8>,
}

/// One execution environment over its guest protocol.
pub struct GuestEnvironment {
    revision: Arc<Revision>,
    runtime: Runtime,
    purpose: Purpose,
    /// `None` once it is ended.
    controls: Option<Box<dyn Controls>>,
    protocol: Protocol,
    /// What the runtime is told when it has booted: a whole frame.
    configuration: Vec<u8>,
    watch: Watch,
    phase: Phase,
    /// The phases of the start, until the first invocation takes them.
    cold: Option<ColdStart>,
    cpu_seen: Duration,
    oom_kills_seen: u64,
    is_frozen: bool,
    /// What a template is restored with at its first invocation.
    restoring: Option<Restoring>,
}

enum Phase {
    /// The function is still being loaded, since `booted` when that is known.
    Loading {
        started: Instant,
        booted: Option<Instant>,
    },
    Ready,
    /// Loading failed; serves one invocation with this.
    Failed {
        failure: Failure,
        error: FunctionError,
    },
}

impl GuestEnvironment {
    pub(crate) fn open(sandbox: Sandbox, opening: Opening) -> Result<Self, LaunchError> {
        let failed = |error: std::io::Error| LaunchError::Sandbox(format!("the guest's sockets failed: {error}"));
        let Opening {
            revision,
            runtime,
            runtime_version,
            runtime_arn,
            purpose,
            log,
            configuration,
        } = opening;
        let mut journal = Journal::new(log, &revision.logging);
        let start = Event::InitStart {
            runtime: &runtime_version,
            runtime_arn: &runtime_arn,
            function: revision.function.as_str(),
            version: revision.version,
            purpose,
        };
        journal.platform(start, now_ms());
        let protocol = match runtime.kind {
            RuntimeKind::Python | RuntimeKind::Node | RuntimeKind::Java => {
                Protocol::Frames(Box::new(Channel::open(sandbox.control).map_err(failed)?))
            }
            RuntimeKind::Provided => Protocol::Api(Box::new(Api::serve(sandbox.listener).map_err(failed)?)),
        };
        Ok(Self {
            watch: Watch::open(sandbox.supervisor, sandbox.output, journal).map_err(failed)?,
            protocol,
            configuration,
            revision,
            runtime,
            purpose,
            controls: Some(sandbox.controls),
            phase: Phase::Loading {
                started: Instant::now(),
                booted: None,
            },
            cold: Some(ColdStart {
                environment: sandbox.built_in,
                ..ColdStart::default()
            }),
            cpu_seen: Duration::ZERO,
            oom_kills_seen: 0,
            is_frozen: false,
            restoring: (purpose == Purpose::SnapStart).then_some(Restoring {
                runtime_version,
                runtime_arn,
            }),
        })
    }

    /// Starts the runtime and has it load the function. A failure of the function's own leaves an environment that
    /// answers with it; one that takes too long goes on loading within its first invocation.
    pub(crate) async fn initialise(
        &mut self,
        command: Option<StartCommand>,
        limit: Duration,
    ) -> Result<(), LaunchError> {
        let started = Instant::now();
        self.phase = Phase::Loading { started, booted: None };
        let Some(command) = command else {
            self.fail_to_load(Failure::NoBootstrap).await;
            return Ok(());
        };
        self.watch
            .supervisor
            .start(&command)
            .map_err(|error| LaunchError::Sandbox(format!("the runtime could not be started: {error}")))?;
        match self.load(Some(started + limit)).await {
            Ok(()) => {
                if self.restoring.is_some() {
                    // It belongs before what the restoring will log.
                    self.watch.take_output();
                }
                self.watch.journal.platform(
                    Event::InitDone {
                        purpose: self.purpose,
                        duration: self.init_duration(),
                    },
                    now_ms(),
                );
                self.watch.journal.flush();
                Ok(())
            }
            // A template is either loaded or none.
            Err(Failure::Timeout) if self.purpose == Purpose::SnapStart => {
                self.fail_to_load(Failure::Timeout).await;
                Ok(())
            }
            Err(Failure::Timeout) => {
                self.log_init_failure("init", Status::Timeout);
                Ok(())
            }
            Err(Failure::Exit(Exit::ExecFailed(errno))) if wrapper(&self.revision, &self.runtime).is_none() => {
                if self.runtime.kind != RuntimeKind::Provided {
                    let cause = std::io::Error::from_raw_os_error(errno);
                    let program = &self.runtime.executable;
                    return Err(LaunchError::Sandbox(format!(
                        "{program} could not be executed: {cause}"
                    )));
                }
                self.fail_to_load(Failure::NoBootstrap).await;
                Ok(())
            }
            Err(failure) => {
                self.fail_to_load(failure).await;
                Ok(())
            }
        }
    }

    /// Waits until the function is loaded. At the deadline it goes on loading: [`Failure::Timeout`].
    async fn load(&mut self, deadline: Option<Instant>) -> Result<(), Failure> {
        let Phase::Loading { started, mut booted } = self.phase else {
            return Ok(());
        };
        let (protocol, configuration) = (&mut self.protocol, &self.configuration);
        let loading = async {
            if booted.is_none() {
                protocol.booted().await?;
                protocol.configure(configuration)?;
                booted = Some(Instant::now());
            }
            protocol.ready().await
        };
        let waited = self.watch.during(deadline, loading).await;
        let now = Instant::now();
        self.phase = Phase::Loading { started, booted };
        if let Some(cold) = &mut self.cold {
            let booted = booted.unwrap_or(now);
            cold.boot = booted - started;
            cold.init = now - booted;
        }
        match waited {
            Waited::Done(Ok(Ok(()))) => {
                self.phase = Phase::Ready;
                if let Some(controls) = &mut self.controls {
                    if let Err(error) = controls.cap_cpu() {
                        tracing::warn!(%error, "the CPU of an environment could not be capped");
                    }
                    self.cpu_seen = controls.cpu_time().unwrap_or_default();
                }
                Ok(())
            }
            Waited::Done(Ok(Err(document))) => Err(Failure::Reported(document)),
            Waited::Done(Err(broken)) => Err(self.failure_of(broken).await),
            Waited::Exited(exit) => Err(self.failure_of_exit(exit)),
            Waited::Deadline => Err(Failure::Timeout),
        }
    }

    async fn fail_to_load(&mut self, failure: Failure) {
        self.watch.take_output();
        self.log_init_failure("init", Status::Error(failure.error_type()));
        let error = failure.to_error(None, self.revision.timeout_seconds);
        self.phase = Phase::Failed { failure, error };
        self.end_controls().await;
    }

    fn log_init_failure(&mut self, phase: &'static str, status: Status<'_>) {
        let event = Event::InitFailed {
            purpose: self.purpose,
            duration: self.init_duration(),
            phase,
            status,
        };
        self.watch.journal.platform(event, now_ms());
        self.watch.journal.flush();
    }

    /// What AWS calls init: booting the runtime and loading the function.
    fn init_duration(&self) -> Duration {
        self.cold.map_or(Duration::ZERO, |cold| cold.boot + cold.init)
    }

    async fn failure_of(&mut self, broken: Broken) -> Failure {
        match broken {
            Broken::Closed => match self.watch.exit(EXIT_LIMIT).await {
                Some(exit) => self.failure_of_exit(exit),
                None => Failure::Breach("it closed its control socket".to_owned()),
            },
            Broken::Breach(how) => Failure::Breach(how),
        }
    }

    fn failure_of_exit(&mut self, exit: Exit) -> Failure {
        let kills = self
            .controls
            .as_ref()
            .and_then(|controls| controls.oom_kills().ok())
            .unwrap_or_default();
        Failure::of_exit(exit, kills > self.oom_kills_seen)
    }

    async fn end_controls(&mut self) {
        if let Some(controls) = self.controls.take() {
            // The end goes on by itself when it takes longer.
            let ending = tokio::spawn(controls.end());
            if tokio::time::timeout(END_LIMIT, ending).await.is_err() {
                tracing::warn!(function = %self.revision.function, "an environment takes long to end");
            }
        }
    }

    async fn run(mut self: Box<Self>, invocation: Invocation) -> (Option<Box<dyn Environment>>, Execution) {
        let arrived = Instant::now();
        let restored = self.restore_once().await;
        let delivered = Instant::now();
        let mut measures = Measures {
            queued: arrived.saturating_duration_since(invocation.received),
            cold: self.cold,
            bytes_in: invocation.payload.len() as u64,
            ..Measures::default()
        };
        self.thaw();
        self.watch.renew();
        let has_failed = matches!(self.phase, Phase::Failed { .. });
        self.watch.journal.begin_tail(invocation.wants_log_tail, has_failed);
        let start = Event::Start {
            request_id: invocation.request_id,
            version: self.revision.version,
            trace_id: invocation.trace_id.as_deref(),
        };
        self.watch.journal.platform(start, now_ms());

        let result = match restored {
            Ok(()) => self.attempt(&invocation, delivered, &mut measures.bytes_out).await,
            Err(failure) => Err(failure),
        };
        measures.duration = delivered.elapsed();
        self.watch.take_output();

        let is_usable = match &result {
            Ok(_) => true,
            Err(failure) => failure.leaves_a_usable_environment() && matches!(self.phase, Phase::Ready),
        };
        self.measure(&mut measures);
        self.report(invocation.request_id, &result, is_usable, &measures);
        let execution = Execution {
            result: result
                .map_err(|failure| failure.to_error(Some(invocation.request_id), self.revision.timeout_seconds)),
            log_tail: self.watch.journal.take_tail(),
            measures,
            after: None,
        };
        self.cold = None;
        if is_usable {
            return (Some(self), execution);
        }
        self.end_controls().await;
        (None, execution)
    }

    /// Loads what is not loaded yet, delivers the event and takes the answer, all under the function's time.
    async fn attempt(&mut self, invocation: &Invocation, delivered: Instant, sent: &mut u64) -> Result<Bytes, Failure> {
        let timeout = Duration::from_secs(self.revision.timeout_seconds.into());
        let deadline = delivered + timeout;
        let deadline_ms = u64::try_from(now_ms()).unwrap_or_default() + u64::from(self.revision.timeout_seconds) * 1000;
        match &self.phase {
            Phase::Ready => {}
            Phase::Failed { failure, .. } => return Err(failure.clone()),
            Phase::Loading { .. } => {
                // The time that an invocation waits for loading is its own, as on AWS.
                let cold = self.cold;
                let loaded = self.load(Some(deadline)).await;
                if let Err(failure) = &loaded {
                    let status = match failure {
                        Failure::Timeout => Status::Timeout,
                        failure => Status::Error(failure.error_type()),
                    };
                    self.watch.take_output();
                    self.log_init_failure("invoke", status);
                }
                self.cold = cold;
                loaded?;
            }
        }
        let delivery = Delivery {
            request_id: invocation.request_id,
            deadline_ms,
            invoked_arn: &invocation.invoked_arn,
            client_context: invocation.client_context.as_deref(),
            trace_id: invocation.trace_id.as_deref(),
            payload: if invocation.payload.is_empty() {
                &EMPTY_EVENT
            } else {
                &invocation.payload
            },
            stream: invocation.stream.as_ref(),
        };
        match self
            .watch
            .during(Some(deadline), self.protocol.converse(&delivery, sent))
            .await
        {
            Waited::Done(Ok(Err(Failure::Reported(document)))) => {
                match self.watch.during(Some(deadline), self.protocol.settled()).await {
                    Waited::Done(()) => Err(Failure::Reported(document)),
                    Waited::Exited(_) | Waited::Deadline => Err(Failure::Fatal(document)),
                }
            }
            Waited::Done(Ok(answered)) => answered,
            Waited::Done(Err(broken)) => Err(self.failure_of(broken).await),
            Waited::Exited(exit) => Err(self.failure_of_exit(exit)),
            Waited::Deadline => Err(Failure::Timeout),
        }
    }

    fn measure(&mut self, measures: &mut Measures) {
        // What is provisioned is paid for by the time it stands ready, its initialisation included.
        let start = match self.cold {
            Some(cold) if cold.origin == Origin::Template => cold.restore,
            _ if self.purpose.is_paid_by_first_call() => self.init_duration(),
            _ => Duration::ZERO,
        };
        measures.billed_ms = billed_ms(measures.duration + start);
        if let Some(controls) = &self.controls {
            // What it used since the last invocation's end is this one's: in between it is frozen.
            let cpu = controls.cpu_time().unwrap_or(self.cpu_seen);
            measures.cpu = cpu.saturating_sub(self.cpu_seen);
            self.cpu_seen = cpu;
            measures.peak_memory_bytes = controls.peak_memory_bytes().unwrap_or_default();
        }
    }

    /// The lines at an invocation's end.
    fn report(&mut self, request_id: RequestId, result: &Result<Bytes, Failure>, is_usable: bool, measures: &Measures) {
        let now = now_ms();
        let seconds = self.revision.timeout_seconds;
        let status = match result {
            Ok(_) => Status::Success,
            Err(Failure::Timeout) => Status::Timeout,
            Err(failure) if is_usable => Status::Failure(failure.error_type()),
            Err(failure) => Status::Error(failure.error_type()),
        };
        let journal = &mut self.watch.journal;
        if let Err(failure) = result
            && let Some(line) = failure.to_line(request_id, &to_time(now), seconds)
        {
            journal.platform_text(&line, now);
            if !matches!(failure, Failure::Timeout) {
                journal.platform_text(failure.error_type(), now);
            }
        }
        let done = Event::RuntimeDone {
            request_id,
            duration: measures.duration,
            bytes: measures.bytes_out,
            status,
        };
        journal.platform(done, now);
        let figures = Figures {
            duration: measures.duration,
            billed_ms: measures.billed_ms,
            memory_mb: self.revision.memory_mb,
            peak_memory_mb: measures.peak_memory_bytes.div_ceil(1 << 20),
            init: self
                .cold
                .filter(|cold| !is_template(cold))
                .map(|cold| cold.boot + cold.init),
            restore: self.cold.filter(is_template).map(|cold| cold.restore),
            // What was started ahead is nobody's cold start.
            cold: self
                .cold
                .filter(|cold| is_template(cold) || self.purpose.is_paid_by_first_call())
                .map(|start| Cold {
                    queue: measures.queued.saturating_sub(start.started_in()),
                    start,
                }),
            extensions: None,
        };
        journal.platform(
            Event::Report {
                request_id,
                figures,
                status,
            },
            now,
        );
        journal.flush();
    }
}

impl Environment for GuestEnvironment {
    fn invoke(
        self: Box<Self>,
        invocation: Invocation,
    ) -> BoxFuture<'static, (Option<Box<dyn Environment>>, Execution)> {
        Box::pin(self.run(invocation))
    }

    fn init_error(&self) -> Option<&FunctionError> {
        match &self.phase {
            Phase::Failed { error, .. } => Some(error),
            Phase::Loading { .. } | Phase::Ready => None,
        }
    }

    fn freeze(&mut self) {
        if self.is_frozen {
            return;
        }
        if let Some(controls) = &mut self.controls {
            match controls.freeze() {
                Ok(()) => self.is_frozen = true,
                Err(error) => tracing::warn!(%error, "an environment could not be frozen"),
            }
        }
    }

    fn thaw(&mut self) {
        if !std::mem::take(&mut self.is_frozen) {
            return;
        }
        if let Some(controls) = &mut self.controls
            && let Err(error) = controls.thaw()
        {
            tracing::warn!(%error, "an environment could not be thawed");
        }
    }

    fn died(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            match &self.phase {
                // Its failure is still to be told.
                Phase::Failed { .. } => std::future::pending().await,
                // What it says while it loads is for its first invocation to hear.
                Phase::Loading { .. } => {
                    self.watch.during(None, std::future::pending::<()>()).await;
                }
                Phase::Ready => {
                    self.watch.during(None, self.protocol.disturbed()).await;
                }
            }
        })
    }

    fn end(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.watch.take_output();
            self.watch.journal.flush();
            if let Some(controls) = self.controls.take() {
                controls.end().await;
            }
        })
    }
}
