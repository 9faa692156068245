//! Starts environments: a built sandbox, a started runtime, a loaded function.

use std::sync::Arc;
use std::time::Duration;

use ephyra_core::digest::Digest;
use ephyra_core::environment::{Environment, LaunchError, Launcher as Launch, Purpose};
use ephyra_core::limits::INIT_SECONDS;
use ephyra_core::logs::LogSink;
use ephyra_core::revision::Revision;
use ephyra_sandbox::sandbox::Sandbox;
use futures_util::future::BoxFuture;

use crate::environment::{GuestEnvironment, Opening};
use crate::extensions::externals;
use crate::runtime::{Bootstrap, Runtime, RuntimeKind};
use crate::start;
use crate::variables::{Credentials, variables};
use crate::watch::now_ms;

/// How long a function may initialise that nobody waits for, unless its own time-out is longer.
const AHEAD_LIMIT: Duration = Duration::from_secs(130);

/// Builds sandboxes and knows what is on the machine.
pub trait Builder: Send + Sync + 'static {
    /// The runtime of this identifier, or [`LaunchError::RuntimeAbsent`].
    fn runtime(&self, identifier: &str) -> Result<Runtime, LaunchError>;

    /// Where the revision's `bootstrap` is, for a provided runtime. It need not be a file that runs: that shows.
    fn bootstrap(&self, revision: &Revision) -> Option<Bootstrap>;

    /// The names of the revision's external extensions: the files in `extensions` of its layers, in order.
    fn extensions(&self, revision: &Revision) -> Vec<String>;

    /// Builds a sandbox for a revision, assigned to it, whose pid 1 then waits for its command.
    fn build(&self, revision: &Revision, runtime: &Runtime) -> BoxFuture<'static, Result<Sandbox, LaunchError>>;
}

/// Starts environments in sandboxes from a [`Builder`].
#[derive(Clone)]
pub struct Launcher {
    builder: Arc<dyn Builder>,
    logs: Arc<dyn LogSink>,
    init_limit: Duration,
}

impl Launcher {
    /// A launcher whose environments log to `logs`.
    pub fn new(builder: Arc<dyn Builder>, logs: Arc<dyn LogSink>) -> Self {
        let init_limit = Duration::from_secs(INIT_SECONDS);
        Self {
            builder,
            logs,
            init_limit,
        }
    }

    /// The same with another time for initialisation than Lambda's ten seconds.
    #[must_use]
    pub fn with_init_limit(self, init_limit: Duration) -> Self {
        Self { init_limit, ..self }
    }

    async fn start(self, revision: Arc<Revision>, purpose: Purpose) -> Result<Box<dyn Environment>, LaunchError> {
        let runtime = self.builder.runtime(&revision.runtime)?;
        let bootstrap = match runtime.kind {
            RuntimeKind::Provided => self.builder.bootstrap(&revision),
            RuntimeKind::Python | RuntimeKind::Node | RuntimeKind::Java => None,
        };
        let sandbox = self.builder.build(&revision, &runtime).await?;
        let stream = stream_name(&revision, &sandbox.id.simple(), now_ms());
        let variables = variables(&revision, &runtime, purpose, &stream, &Credentials::random());
        let externals = match self.builder.extensions(&revision) {
            names if names.is_empty() => Vec::new(),
            names => externals(names, &revision, &variables),
        };
        let (command, configuration) = if start::is_shared(&revision, &runtime) {
            let command = start::shared(&revision, &runtime);
            let known = command.as_ref().map_or(&[][..], |command| &command.variables);
            let configuration = start::configuration(&revision, &variables, known);
            (command, configuration)
        } else {
            let command = start::own(&revision, &runtime, bootstrap, variables);
            (command, start::no_configuration())
        };
        let configuration = configuration
            .ok_or_else(|| LaunchError::Sandbox("the function has more variables than can be told".to_owned()))?;
        let init_limit = match purpose {
            Purpose::OnDemand | Purpose::Prewarmed => self.init_limit,
            // Nobody waits: as long as a function may run, and longer than most may.
            Purpose::Provisioned | Purpose::SnapStart => self
                .init_limit
                .max(AHEAD_LIMIT)
                .max(Duration::from_secs(revision.timeout_seconds.into())),
        };
        let opening = Opening {
            log: self.logs.open(&revision.logging.group, &stream),
            runtime_version: version_of(&runtime),
            runtime_arn: arn_of(&revision, &runtime),
            runtime,
            revision,
            purpose,
            configuration,
            externals,
        };
        let mut environment = GuestEnvironment::open(sandbox, opening)?;
        environment.initialise(command, init_limit).await?;
        Ok(Box::new(environment))
    }
}

impl Launch for Launcher {
    fn launch(
        &self,
        revision: Arc<Revision>,
        purpose: Purpose,
    ) -> BoxFuture<'static, Result<Box<dyn Environment>, LaunchError>> {
        Box::pin(self.clone().start(revision, purpose))
    }
}

/// `YYYY/MM/DD/[VERSION]` and the environment's 32 hexadecimal digits.
pub fn stream_name(revision: &Revision, environment: &str, now_ms: i64) -> String {
    let day = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
    format!("{}/[{}]{environment}", day.strftime("%Y/%m/%d"), revision.version)
}

/// As in INIT_START, such as `python:3.13.1`.
fn version_of(runtime: &Runtime) -> String {
    match runtime.kind {
        RuntimeKind::Python => format!("python:{}", runtime.version),
        RuntimeKind::Node => format!("nodejs:{}", runtime.version),
        RuntimeKind::Java => format!("java:{}", runtime.version),
        RuntimeKind::Provided => runtime.identifier.replacen('.', ":", 1),
    }
}

/// A name for exactly this runtime, of the form that AWS gives one.
fn arn_of(revision: &Revision, runtime: &Runtime) -> String {
    let region = revision.function_arn.split(':').nth(3).unwrap_or_default();
    format!(
        "arn:aws:lambda:{region}::runtime:{}",
        Digest::of(version_of(runtime).as_bytes())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_have_versions_and_names() {
        let runtime = |identifier: &str, kind, version: &str| Runtime {
            identifier: identifier.to_owned(),
            kind,
            executable: String::new(),
            version: version.to_owned(),
        };
        assert_eq!(
            version_of(&runtime("python3.13", RuntimeKind::Python, "3.13.1")),
            "python:3.13.1"
        );
        assert_eq!(
            version_of(&runtime("provided.al2023", RuntimeKind::Provided, "")),
            "provided:al2023"
        );
    }
}
