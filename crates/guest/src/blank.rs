//! A guest that is nobody's yet: a sandbox, perhaps with a runtime in it that has booted and waits to be told which
//! function it is.

use std::os::fd::OwnedFd;
use std::time::Duration;

use ephyra_core::environment::LaunchError;
use ephyra_core::id::EnvironmentId;
use ephyra_sandbox::client::{Assignment, CreateError};
use ephyra_sandbox::sandbox::{Controls, Sandbox};
use ephyra_sandbox::supervisor::StartCommand;

use crate::channel::{Channel, ChannelError};
use crate::frame::Frame;
use crate::launcher::{Builder, sandbox_error};
use crate::pool::{Form, Key};
use crate::runtime::Runtime;
use crate::start;
use crate::supervisor::Supervisor;
use crate::variables::foundation;

/// How long a runtime may take to boot on a busy machine before it is taken for one that never will.
const BOOT_LIMIT: Duration = Duration::from_secs(30);

/// A sandbox that is no function's yet. Dropping it ends it.
pub(crate) struct Blank {
    pub(crate) id: EnvironmentId,
    pub(crate) controls: Box<dyn Controls>,
    pub(crate) supervisor: Supervisor,
    pub(crate) channel: Channel,
    pub(crate) output: OwnedFd,
    pub(crate) extension_output: OwnedFd,
    pub(crate) listener: OwnedFd,
    /// What of its runtime is there.
    pub(crate) form: Form,
    /// Whether its runtime waits to be told which function it is.
    pub(crate) is_booted: bool,
    /// What its runtime was started with.
    pub(crate) known: Vec<(String, String)>,
    is_frozen: bool,
}

impl Blank {
    /// Builds one, and has its runtime started unless it is to be bare. It may still be booting.
    pub(crate) async fn make(builder: &dyn Builder, runtime: &Runtime, key: &Key) -> Result<Self, LaunchError> {
        let sandbox = builder
            .prepare(key.to_blank())
            .await
            .map_err(|error| sandbox_error(&error))?;
        let mut blank = Self::of(sandbox, key.form)?;
        match key.form {
            Form::Bare => {}
            // The zygote was started with the same.
            Form::Forked => blank.known = foundation(runtime),
            Form::Booted => {
                let command = start::shared(runtime, key.memory_mb);
                blank.start(&command)?;
                blank.known = command.variables;
            }
        }
        Ok(blank)
    }

    fn of(sandbox: Sandbox, form: Form) -> Result<Self, LaunchError> {
        let failed = |error: std::io::Error| LaunchError::Sandbox(format!("the guest's sockets failed: {error}"));
        Ok(Self {
            id: sandbox.id,
            supervisor: Supervisor::open(sandbox.supervisor).map_err(failed)?,
            channel: Channel::open(sandbox.control).map_err(failed)?,
            output: sandbox.output,
            extension_output: sandbox.extension_output,
            listener: sandbox.listener,
            controls: sandbox.controls,
            form,
            is_booted: false,
            known: Vec::new(),
            is_frozen: false,
        })
    }

    fn start(&mut self, command: &StartCommand) -> Result<(), LaunchError> {
        let started = self.supervisor.line().start(command.clone());
        started.map_err(|error| LaunchError::Sandbox(format!("the runtime could not be started: {error}")))
    }

    /// Waits until its runtime has booted, if it has one.
    pub(crate) async fn boot(&mut self) -> Result<(), LaunchError> {
        if self.form == Form::Bare || self.is_booted {
            return Ok(());
        }
        let failed = |why: String| Err(LaunchError::Sandbox(format!("a runtime did not boot: {why}")));
        match tokio::time::timeout(BOOT_LIMIT, self.channel.receive()).await {
            Ok(Ok(Frame::Booted)) => {
                self.is_booted = true;
                Ok(())
            }
            Ok(Ok(frame)) => failed(format!("it said {frame:?}")),
            Ok(Err(ChannelError::Closed)) => match self.supervisor.exit_now() {
                Some(exit) => failed(format!("{exit:?}")),
                None => failed("it closed its control socket".to_owned()),
            },
            Ok(Err(error)) => failed(error.to_string()),
            Err(_) => failed(format!("it has said nothing for {BOOT_LIMIT:?}")),
        }
    }

    /// Makes it a function's sandbox. An error has ended it.
    pub(crate) async fn assign(&mut self, assignment: Assignment) -> Result<(), CreateError> {
        self.thaw();
        self.controls.assign(assignment).await
    }

    /// Whether something in it has ended, or it is gone altogether.
    pub(crate) fn is_dead(&mut self) -> bool {
        self.supervisor.exit_now().is_some() || self.channel.has_spoken()
    }

    /// Stops what is in it from running, where that might do something by itself: what is bare or forked only waits.
    pub(crate) fn freeze(&mut self) {
        if self.form == Form::Booted && !self.is_frozen {
            match self.controls.freeze() {
                Ok(()) => self.is_frozen = true,
                Err(error) => tracing::warn!(%error, "a blank could not be frozen"),
            }
        }
    }

    fn thaw(&mut self) {
        if std::mem::take(&mut self.is_frozen)
            && let Err(error) = self.controls.thaw()
        {
            tracing::warn!(%error, "a blank could not be thawed");
        }
    }
}
