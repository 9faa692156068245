//! Starts environments: a built sandbox, a started runtime, a loaded function.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ephyra_core::digest::Digest;
use ephyra_core::environment::{Environment, LaunchError, Launcher as Launch, Purpose};
use ephyra_core::invocation::{ColdStart, Origin};
use ephyra_core::limits::INIT_SECONDS;
use ephyra_core::logs::LogSink;
use ephyra_core::revision::Revision;
use ephyra_sandbox::client::{self, Assignment, CreateError};
use ephyra_sandbox::sandbox::Sandbox;
use futures_util::future::BoxFuture;

use crate::blank::Blank;
use crate::cache::Caches;
use crate::environment::{GuestEnvironment, Opening, Start};
use crate::extensions::externals;
use crate::java;
use crate::pool::{Form, Key, Limits, Pool};
use crate::prepared::Prepared;
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

    /// A function of this runtime exists: what the runtime boots from may be made now, by which nobody is kept waiting.
    fn foresee(&self, _runtime: &str) {}

    /// What a runtime boots from, if there is such a thing and all of it was made.
    fn base(&self, _runtime: &str) -> Option<Digest> {
        None
    }

    /// Whether a package is still somebody's.
    fn has_code(&self, _package: Digest) -> bool {
        true
    }

    /// Builds a sandbox that is nobody's yet. The builder adds what the runtime boots from, if there is such a thing.
    fn prepare(&self, blank: client::Blank) -> BoxFuture<'static, Result<Sandbox, CreateError>>;
}

/// Starts environments in sandboxes from a [`Builder`].
#[derive(Clone)]
pub struct Launcher {
    builder: Arc<dyn Builder>,
    logs: Arc<dyn LogSink>,
    pool: Pool,
    caches: Option<Caches>,
    init_limit: Duration,
}

impl Launcher {
    /// A launcher whose environments log to `logs`, and that holds nothing ready.
    pub fn new(builder: Arc<dyn Builder>, logs: Arc<dyn LogSink>) -> Self {
        let init_limit = Duration::from_secs(INIT_SECONDS);
        Self {
            pool: Pool::open(Arc::clone(&builder), Limits::NONE, &[]),
            caches: None,
            builder,
            logs,
            init_limit,
        }
    }

    /// The same with blank environments held ready within `limits`; at first, of each of these runtimes as many as its
    /// number says, for functions of so many MB. To be called inside the asynchronous runtime, on what is not shared yet.
    #[must_use]
    pub fn with_pool(self, limits: Limits, expected: &[(Runtime, u32, usize)]) -> Self {
        let keys: Vec<(Key, usize)> = expected
            .iter()
            .map(|(runtime, memory_mb, count)| (Key::common(runtime, *memory_mb), *count))
            .collect();
        let pool = Pool::open(Arc::clone(&self.builder), limits, &keys);
        Self { pool, ..self }
    }

    /// The same, keeping what loading functions makes in `prepared`. To be called inside the asynchronous runtime, on
    /// what is not shared yet, before any sandbox lives.
    pub fn with_caches(self, prepared: Prepared) -> std::io::Result<Self> {
        let caches = Caches::open(Arc::clone(&self.builder), prepared)?;
        Ok(Self {
            caches: Some(caches),
            ..self
        })
    }

    /// Says that a function of this runtime exists and may be started. Costs nothing when that is known.
    pub fn foresee(&self, runtime: &str) {
        self.builder.foresee(runtime);
    }

    /// How many blank environments are ready.
    pub fn ready(&self) -> usize {
        self.pool.ready()
    }

    /// Ends what is held ready; nothing is any more.
    pub fn close(&self) {
        self.pool.close();
    }

    /// The same with another time for initialisation than Lambda's ten seconds.
    #[must_use]
    pub fn with_init_limit(self, init_limit: Duration) -> Self {
        Self { init_limit, ..self }
    }

    async fn start(self, revision: Arc<Revision>, purpose: Purpose) -> Result<Box<dyn Environment>, LaunchError> {
        let began = Instant::now();
        let _starting = self.pool.starting();
        let runtime = self.builder.runtime(&revision.runtime)?;
        let bootstrap = match runtime.kind {
            RuntimeKind::Provided => self.builder.bootstrap(&revision),
            RuntimeKind::Python | RuntimeKind::Node | RuntimeKind::Java => None,
        };
        let cached = self.caches.as_ref().and_then(|caches| caches.of(&revision, &runtime));
        let (blank, origin) = self.assigned(&revision, &runtime, cached).await?;
        let stream = stream_name(&revision, &blank.id.simple(), now_ms());
        let variables = variables(&revision, &runtime, purpose, &stream, &Credentials::random());
        let externals = match self.builder.extensions(&revision) {
            names if names.is_empty() => Vec::new(),
            names => externals(names, &revision, &variables),
        };
        let (start, configuration) = if blank.form == Form::Bare {
            let mut command = start::own(&revision, &runtime, bootstrap, variables);
            if let Some(command) = command
                .as_mut()
                .filter(|_| cached.is_some() && runtime.kind == RuntimeKind::Java)
            {
                java::use_function_archive(&mut command.arguments);
            }
            (
                command.map_or(Start::NoBootstrap, Start::Command),
                start::no_configuration(),
            )
        } else {
            let configuration = start::configuration(&revision, &variables, &blank.known);
            (Start::Running, configuration)
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
            cold: ColdStart {
                origin,
                environment: began.elapsed(),
                ..ColdStart::default()
            },
        };
        let mut environment = GuestEnvironment::open(blank, opening)?;
        environment.initialise(start, init_limit).await?;
        self.learn(&environment, cached);
        Ok(Box::new(environment))
    }

    /// Remembers how loading a function went, with what was made for it or without.
    fn learn(&self, environment: &GuestEnvironment, cached: Option<Digest>) {
        let Some(caches) = &self.caches else { return };
        match (cached, environment.loading_time()) {
            (None, Some(took)) => caches.loaded(environment.revision(), environment.runtime(), took),
            (Some(name), None) if environment.has_crashed() => caches.distrust(name),
            _ => {}
        }
    }

    /// A sandbox that is the revision's: a blank of the pool, or a new one.
    async fn assigned(
        &self,
        revision: &Revision,
        runtime: &Runtime,
        cached: Option<Digest>,
    ) -> Result<(Blank, Origin), LaunchError> {
        let mut assignment = Assignment {
            memory_mb: revision.memory_mb,
            tmp_mb: revision.ephemeral_storage_mb,
            code: Some(revision.code),
            layers: revision.layers.clone(),
            prepared: cached,
        };
        let mut key = Key::of(revision, runtime);
        if let Some(mut blank) = self.pool.take(&key) {
            match blank.assign(assignment.clone()).await {
                Ok(()) => return Ok((blank, Origin::Pool)),
                // It may have died just now; whatever is wrong with the assignment itself shows again.
                Err(error) => tracing::warn!(%error, "a blank environment could not be assigned; another one is built"),
            }
        }
        // A JVM can map its function's archive only while it starts.
        if cached.is_some() && runtime.kind == RuntimeKind::Java {
            key.form = Form::Bare;
        }
        loop {
            let (mut blank, origin) = self.made(runtime, key.clone()).await?;
            match blank.assign(assignment.clone()).await {
                Ok(()) => return Ok((blank, origin)),
                // It may just have been removed.
                Err(error) if assignment.prepared.take().is_some() => {
                    tracing::warn!(%error, "a sandbox could not be assigned; another one is, without what was made before");
                }
                Err(error) => return Err(sandbox_error(&error)),
            }
        }
    }

    async fn made(&self, runtime: &Runtime, key: Key) -> Result<(Blank, Origin), LaunchError> {
        if key.form == Form::Forked {
            match Blank::make(self.builder.as_ref(), runtime, &key).await {
                Ok(blank) => return Ok((blank, Origin::Zygote)),
                Err(error) => {
                    tracing::warn!(%error, runtime = key.runtime, "the zygote gave no process; one is started")
                }
            }
        }
        let key = Key {
            form: if key.form == Form::Forked {
                Form::Booted
            } else {
                key.form
            },
            ..key
        };
        let blank = Blank::make(self.builder.as_ref(), runtime, &key).await?;
        Ok((blank, Origin::Scratch))
    }
}

/// A sandbox that could not be had, with all causes.
pub(crate) fn sandbox_error(error: &CreateError) -> LaunchError {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    LaunchError::Sandbox(text)
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
            has_zygote: false,
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
