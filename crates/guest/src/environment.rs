//! A started environment. Its phases are `initialise`, `invoke`, `behind` (what goes on behind an answer) and
//! `shutdown`.

mod behind;
mod initialise;
mod invoke;
mod restore;
mod shutdown;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ephyra_core::environment::{Environment, Execution, LaunchError, Purpose};
use ephyra_core::invocation::{ColdStart, FunctionError, Invocation, Measures};
use ephyra_core::logs::LogStream;
use ephyra_core::revision::Revision;
use ephyra_sandbox::sandbox::Controls;
use ephyra_sandbox::supervisor::StartCommand;
use futures_util::future::BoxFuture;

use crate::api::Api;
use crate::blank::Blank;
use crate::extensions::External;
use crate::failure::Failure;
use crate::journal::Journal;
use crate::platform::Event;
use crate::protocol::Protocol;
use crate::runtime::{Runtime, RuntimeKind, wrapper};
use crate::telemetry::Hub;
use crate::watch::{Watch, now_ms};
use behind::Behind;
use initialise::Loading;
use invoke::Ended;
use restore::Restoring;
use shutdown::Reason;

/// How long an answer waits for a lost environment to be gone; it is ended in any case.
const END_LIMIT: Duration = Duration::from_secs(2);

/// What an environment is opened with, besides its sandbox.
pub(crate) struct Opening {
    pub(crate) revision: Arc<Revision>,
    pub(crate) runtime: Runtime,
    pub(crate) runtime_version: String,
    pub(crate) runtime_arn: String,
    pub(crate) purpose: Purpose,
    pub(crate) log: Box<dyn LogStream>,
    pub(crate) configuration: Vec<u8>,
    /// The external extensions.
    pub(crate) externals: Vec<External>,
    /// What has passed of its start.
    pub(crate) cold: ColdStart,
}

/// What is to be done that the runtime runs.
pub(crate) enum Start {
    /// It runs, and has booted or is booting.
    Running,
    /// It is to be started.
    Command(StartCommand),
    /// There is nothing to start.
    NoBootstrap,
}

/// One execution environment over its guest protocol.
pub struct GuestEnvironment {
    revision: Arc<Revision>,
    runtime: Runtime,
    purpose: Purpose,
    /// `None` once it is ended.
    controls: Option<Box<dyn Controls>>,
    protocol: Protocol,
    api: Api,
    /// The external extensions, by their numbers.
    externals: Vec<External>,
    /// Whether there are any extensions, once the function is loaded.
    has_extensions: bool,
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
    /// The function is still being loaded.
    Loading(Loading),
    Ready,
    /// Loading failed; serves one invocation with this.
    Failed {
        failure: Failure,
        error: FunctionError,
    },
}

impl GuestEnvironment {
    pub(crate) fn open(blank: Blank, opening: Opening) -> Result<Self, LaunchError> {
        let failed = |error: std::io::Error| LaunchError::Sandbox(format!("the guest's sockets failed: {error}"));
        let Opening {
            revision,
            runtime,
            runtime_version,
            runtime_arn,
            purpose,
            log,
            configuration,
            externals,
            cold,
        } = opening;
        let hub = Arc::new(Hub::new(blank.supervisor.line(), revision.logging.format));
        let mut journal = Journal::new(log, &revision.logging).with_hub(Arc::clone(&hub));
        let start = Event::InitStart {
            runtime: &runtime_version,
            runtime_arn: &runtime_arn,
            function: revision.function.as_str(),
            version: revision.version,
            purpose,
        };
        journal.platform(start, now_ms());
        let can_speak = runtime.kind == RuntimeKind::Provided || wrapper(&revision, &runtime).is_some();
        let (api, runtime_api) = Api::serve(blank.listener, Arc::clone(&revision), hub, can_speak).map_err(failed)?;
        let protocol = match (runtime.kind, runtime_api) {
            (RuntimeKind::Provided, Some(api)) => Protocol::api(api),
            (_, alternative) => Protocol::frames(blank.channel, alternative),
        };
        let extension_output = (!externals.is_empty()).then_some(blank.extension_output);
        Ok(Self {
            watch: Watch::open(blank.supervisor, blank.output, extension_output, journal).map_err(failed)?,
            protocol,
            api,
            has_extensions: !externals.is_empty(),
            externals,
            configuration,
            revision,
            runtime,
            purpose,
            controls: Some(blank.controls),
            phase: Phase::Loading(Loading::new(blank.is_booted)),
            cold: Some(cold),
            cpu_seen: Duration::ZERO,
            oom_kills_seen: 0,
            is_frozen: false,
            restoring: (purpose == Purpose::SnapStart).then_some(Restoring {
                runtime_version,
                runtime_arn,
            }),
        })
    }

    pub(crate) const fn revision(&self) -> &Arc<Revision> {
        &self.revision
    }

    pub(crate) const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// How long loading the function took, since its runtime had booted; `None` when it is not loaded.
    pub(crate) fn loading_time(&self) -> Option<Duration> {
        let cold = self.cold.filter(|_| matches!(self.phase, Phase::Ready));
        cold.map(|cold| cold.init)
    }

    /// Whether the runtime ended by itself while it booted or loaded the function.
    pub(crate) const fn has_crashed(&self) -> bool {
        matches!(
            self.phase,
            Phase::Failed {
                failure: Failure::Exit(_),
                ..
            }
        )
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

        let deadline = delivered + Duration::from_secs(self.revision.timeout_seconds.into());
        let result = match restored {
            Ok(()) => self.attempt(&invocation, deadline, &mut measures.bytes_out).await,
            Err(failure) => Err(failure),
        };
        measures.duration = delivered.elapsed();
        self.watch.take_output();

        let is_usable = match &result {
            Ok(_) => true,
            Err(failure) => failure.leaves_a_usable_environment() && matches!(self.phase, Phase::Ready),
        };
        self.measure(&mut measures);
        let ended = Ended {
            request_id: invocation.request_id,
            error: result.as_ref().err().cloned(),
            is_usable,
        };
        self.report_runtime(&ended, &measures);
        if self.has_extensions && !(is_usable && self.api.extensions().are_idle()) {
            let behind = Behind {
                ended,
                measures,
                delivered,
                deadline,
            };
            return self.answer_before(behind, result, invocation.wants_log_tail).await;
        }
        self.report(&ended, &measures, None);
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
            Phase::Loading(_) | Phase::Ready => None,
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
                Phase::Loading(_) => {
                    self.watch.during(None, std::future::pending::<()>()).await;
                }
                Phase::Ready => {
                    self.watch.during(None, self.protocol.disturbed()).await;
                }
            }
        })
    }

    fn end(self: Box<Self>) -> BoxFuture<'static, ()> {
        let has_died = self.watch.supervisor.has_lost_any();
        Box::pin(self.shut_down(if has_died { Reason::Failure } else { Reason::Spindown }))
    }
}

/// Before the sandbox, which is ended by dropping its controls, its network is let go of: it may be another's next.
impl Drop for GuestEnvironment {
    fn drop(&mut self) {
        self.api.close();
    }
}
