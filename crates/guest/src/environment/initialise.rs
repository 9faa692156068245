//! The INIT phase: extensions start and register, the runtime boots and loads the function, all say that they are
//! ready.
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html>.

use std::time::{Duration, Instant};

use ephyra_core::environment::LaunchError;
use ephyra_sandbox::supervisor::StartCommand;

use super::{GuestEnvironment, Phase, Start};
use crate::api::Fallen;
use crate::extensions::failure_of_exit;
use crate::failure::Failure;
use crate::frame::Document;
use crate::platform::{Event, Status};
use crate::protocol::Broken;
use crate::runtime::{RuntimeKind, wrapper};
use crate::supervisor::Exit;
use crate::watch::{Waited, now_ms};

/// How long somebody who has closed a socket or reported a failure may take to exit before that is taken as it is.
const EXIT_LIMIT: Duration = Duration::from_secs(1);

/// How far loading has come. It goes on from there after a time-out.
pub(super) struct Loading {
    started: Instant,
    /// The runtime's start, until all external extensions have registered.
    command: Option<StartCommand>,
    booted: Option<Instant>,
    /// Whether the runtime has been told which function it is.
    is_told: bool,
    is_loaded: bool,
}

impl Loading {
    /// Nothing is done yet, except that the runtime may have booted ahead.
    pub(super) fn new(is_booted: bool) -> Self {
        let started = Instant::now();
        Self {
            started,
            command: None,
            booted: is_booted.then_some(started),
            is_told: false,
            is_loaded: false,
        }
    }
}

/// Why loading stopped.
enum Stopped {
    Broken(Broken),
    Reported(Document),
    Fallen(Fallen),
    Start(std::io::Error),
}

impl From<Broken> for Stopped {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl GuestEnvironment {
    /// Starts extensions and runtime and has the function loaded. A failure of the function's own leaves an environment
    /// that answers with it; one that takes too long goes on loading within its first invocation.
    pub(crate) async fn initialise(&mut self, start: Start, limit: Duration) -> Result<(), LaunchError> {
        let Phase::Loading(loading) = &mut self.phase else {
            return Ok(());
        };
        let deadline = loading.started + limit;
        match start {
            Start::Running => {}
            Start::Command(command) => loading.command = Some(command),
            Start::NoBootstrap => {
                self.fail_to_load(Failure::NoBootstrap).await;
                return Ok(());
            }
        }
        if let Err(failure) = self.start_extensions()? {
            self.fail_to_load(failure).await;
            return Ok(());
        }
        match self.load(Some(deadline), "init").await {
            Ok(()) => {
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
            Err(Failure::Timeout) if self.restoring.is_some() => {
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

    /// Has the processes of external extensions started.
    fn start_extensions(&self) -> Result<Result<(), Failure>, LaunchError> {
        if self.externals.is_empty() {
            return Ok(Ok(()));
        }
        self.api.expect(self.externals.iter().map(|external| &*external.name));
        if let Some(failure) = crate::extensions::too_many(&self.externals) {
            return Ok(Err(failure));
        }
        for external in &self.externals {
            self.watch
                .supervisor
                .line()
                .start_extension(external.command.clone())
                .map_err(|error| LaunchError::Sandbox(format!("an extension could not be started: {error}")))?;
        }
        Ok(Ok(()))
    }

    /// Waits until the function is loaded and its extensions are ready. At the deadline it goes on loading:
    /// [`Failure::Timeout`].
    pub(super) async fn load(&mut self, deadline: Option<Instant>, phase: &'static str) -> Result<(), Failure> {
        let result = self.load_runtime(deadline).await;
        if !matches!(result, Err(Failure::Timeout)) {
            let status = match &result {
                Ok(()) => Status::Success,
                Err(failure) => Status::Error(failure.error_type()),
            };
            let event = Event::InitRuntimeDone {
                purpose: self.purpose,
                phase,
                status,
            };
            self.watch.journal.platform(event, now_ms());
        }
        let result = match result {
            Ok(()) => self.await_extensions(deadline).await,
            result => result,
        };
        if let Phase::Loading(loading) = &self.phase
            && let Some(cold) = &mut self.cold
        {
            let now = Instant::now();
            let booted = loading.booted.unwrap_or(now);
            cold.boot = booted - loading.started;
            cold.init = now - booted;
        }
        if matches!(result, Err(Failure::Timeout)) {
            return result;
        }
        self.watch.take_output();
        self.log_extensions();
        self.watch.journal.close_hub();
        result?;
        self.phase = Phase::Ready;
        if let Some(controls) = &mut self.controls {
            if let Err(error) = controls.cap_cpu() {
                tracing::warn!(%error, "the CPU of an environment could not be capped");
            }
            self.cpu_seen = controls.cpu_time().unwrap_or_default();
        }
        Ok(())
    }

    /// Waits until external extensions have registered and the runtime has loaded the function. Nobody registers after it.
    async fn load_runtime(&mut self, deadline: Option<Instant>) -> Result<(), Failure> {
        let Phase::Loading(loading) = &mut self.phase else {
            return Ok(());
        };
        if loading.is_loaded {
            return Ok(());
        }
        let line = self.watch.supervisor.line();
        let (protocol, api, configuration) = (&mut self.protocol, &self.api, &self.configuration);
        let work = async {
            if !loading.is_told {
                let registered = api.until(|extensions| extensions.are_registered()).await;
                registered.map_err(Stopped::Fallen)?;
                if let Some(command) = loading.command.take() {
                    line.start(command).map_err(Stopped::Start)?;
                }
            }
            if loading.booted.is_none() {
                protocol.booted().await?;
                loading.booted = Some(Instant::now());
            }
            if !loading.is_told {
                protocol.configure(configuration).await?;
                loading.is_told = true;
            }
            protocol.ready().await?.map_err(Stopped::Reported)?;
            loading.is_loaded = true;
            api.extensions().close();
            Ok(())
        };
        let waited = self.watch.during(deadline, work).await;
        self.loaded(waited).await
    }

    async fn await_extensions(&mut self, deadline: Option<Instant>) -> Result<(), Failure> {
        self.has_extensions = !self.api.extensions().is_empty();
        if !self.has_extensions {
            return Ok(());
        }
        let ready = async {
            let ready = self.api.until(|extensions| extensions.are_ready()).await;
            ready.map_err(Stopped::Fallen)
        };
        let waited = self.watch.during(deadline, ready).await;
        self.loaded(waited).await
    }

    async fn loaded(&mut self, waited: Waited<Result<(), Stopped>>) -> Result<(), Failure> {
        Err(match waited {
            Waited::Done(Ok(())) => return Ok(()),
            Waited::Done(Err(Stopped::Reported(document))) => Failure::Reported(document),
            Waited::Done(Err(Stopped::Broken(broken))) => self.failure_of(broken).await,
            Waited::Done(Err(Stopped::Fallen(fallen))) => self.failure_of_fallen(fallen).await,
            Waited::Done(Err(Stopped::Start(error))) => {
                Failure::Breach(format!("the runtime could not be started: {error}"))
            }
            Waited::Exited(exit) => self.failure_of_exit(exit),
            Waited::Lost(number, exit) => self.failure_of_lost(number, exit),
            Waited::Deadline => Failure::Timeout,
        })
    }

    pub(super) async fn fail_to_load(&mut self, failure: Failure) {
        self.watch.take_output();
        self.log_init_failure("init", Status::Error(failure.error_type()));
        let error = failure.to_error(None, self.revision.timeout_seconds);
        self.phase = Phase::Failed { failure, error };
        // Extensions are told of the end when the failure has been answered.
        if !self.has_extensions {
            self.end_controls().await;
        }
    }

    pub(super) fn log_init_failure(&mut self, phase: &'static str, status: Status<'_>) {
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
    pub(super) fn init_duration(&self) -> Duration {
        self.cold.map_or(Duration::ZERO, |cold| cold.boot + cold.init)
    }

    /// Says how far each extension has come, and who has subscribed to telemetry.
    fn log_extensions(&mut self) {
        if !self.has_extensions {
            return;
        }
        let journal = &mut self.watch.journal;
        let subscriptions = journal.hub().map(|hub| hub.subscriptions()).unwrap_or_default();
        for (name, api, categories) in &subscriptions {
            // The subscribers know already.
            let event = Event::Subscription {
                name,
                api: *api,
                categories,
            };
            journal.log_platform(event, now_ms());
        }
        for extension in self.api.extensions().iter() {
            let event = Event::Extension {
                name: &extension.name,
                state: extension.stage.name(),
                events: &extension.wanted.names(),
                error_type: extension.error_type.as_deref(),
            };
            journal.platform(event, now_ms());
        }
    }

    pub(super) async fn failure_of(&mut self, broken: Broken) -> Failure {
        match broken {
            Broken::Closed => match self.watch.exit(EXIT_LIMIT).await {
                Some(exit) => self.failure_of_exit(exit),
                None => Failure::Breach("it closed its control socket".to_owned()),
            },
            Broken::Breach(how) => Failure::Breach(how),
        }
    }

    pub(super) fn failure_of_exit(&mut self, exit: Exit) -> Failure {
        let kills = self
            .controls
            .as_ref()
            .and_then(|controls| controls.oom_kills().ok())
            .unwrap_or_default();
        Failure::of_exit(exit, kills > self.oom_kills_seen)
    }

    /// The failure of an external extension whose process has ended.
    pub(super) fn failure_of_lost(&self, number: u8, exit: Exit) -> Failure {
        let Some(external) = self.externals.get(usize::from(number)) else {
            return Failure::Breach("an unknown extension has ended".to_owned());
        };
        let mut extensions = self.api.extensions();
        match exit {
            Exit::ExecFailed(errno) => extensions.launch_failed(&external.name, errno),
            _ => extensions.exited(&external.name),
        }
        let error_type = extensions
            .iter()
            .find(|extension| extension.is_external && extension.name == external.name)
            .map_or("Extension.Crash", |extension| extension.stage.failure_type());
        failure_of_exit(&external.name, error_type, exit)
    }

    /// The failure of an extension that has reported one; its exit says more, if it comes at once.
    pub(super) async fn failure_of_fallen(&mut self, fallen: Fallen) -> Failure {
        let position = self.externals.iter().position(|external| external.name == fallen.name);
        let number = position.and_then(|position| u8::try_from(position).ok());
        let Some(number) = number.filter(|_| fallen.is_external) else {
            return Failure::Extension {
                error_type: fallen.error_type,
                reason: format!("{} failed", fallen.name),
            };
        };
        let deadline = Instant::now() + EXIT_LIMIT;
        let has_ended = move |one: &(u8, Exit)| one.0 == number;
        self.watch
            .until(deadline, |supervisor| supervisor.extensions().iter().any(has_ended))
            .await;
        let exit = self.watch.supervisor.extensions().iter().copied().find(has_ended);
        match exit {
            Some((number, exit)) => self.failure_of_lost(number, exit),
            None => Failure::Extension {
                error_type: fallen.error_type,
                reason: format!("{} failed", fallen.name),
            },
        }
    }
}
