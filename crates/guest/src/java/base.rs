//! What a JVM boots from: the jar of our runtime, and an archive of the classes that a start needs, as the JVM has them
//! in memory. The jar is compiled once on this machine, by whichever JDK has a compiler; the archive is made once by
//! each JVM. Both are kept in the data folder, so it is done again only after an update of either side.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ephyra_core::digest::Digest;
use ephyra_sandbox::client::{Blank, CreateError};
use ephyra_sandbox::sandbox::Sandbox;
use ephyra_sandbox::supervisor::StartCommand;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::library::library;
use super::{JAR, flags, has_archive, major};
use crate::job::{self, Job, JobError};
use crate::prepared::Prepared;
use crate::runtime::{RuntimeKind, assets};

/// The files of a prepared folder, by the names that the JVM's arguments have for them.
const JAR_NAME: &str = "runtime.jar";
const ARCHIVE_NAME: &str = "classes.jsa";
/// The runtime finds it beside the jar.
const LIBRARY_NAME: &str = "folder.so";
/// What jobs may take, in MB: javac is large.
const MEMORY_MB: u32 = 1024;
/// How long each may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);
/// The most that the jar may be in bytes.
const JAR_BYTES: usize = 8 << 20;
/// The most that an archive may be in bytes.
const ARCHIVE_BYTES: usize = 128 << 20;

/// Compiles all sources of `/var/runtime`; the arguments are the compiler's, after the compiler and the archiver.
const COMPILE: &str = "javac=$1 jar=$2; shift 2; mkdir /tmp/classes; \
    \"$javac\" \"$@\"; \"$jar\" cfm /tmp/runtime.jar /var/runtime/manifest -C /tmp/classes .; \
    cat /tmp/runtime.jar >&3";
/// Has the runtime load what a start needs, and archives that; the arguments are the JVM's.
const ARCHIVE: &str = "jar=$1; shift; \
    \"$@\" -XX:DumpLoadedClassList=/tmp/classes.list -jar \"$jar\" rehearse; \
    \"$@\" -Xshare:dump -XX:SharedClassListFile=/tmp/classes.list -XX:SharedArchiveFile=/tmp/classes.jsa -cp \"$jar\"; \
    cat /tmp/classes.jsa >&3";

/// A JVM of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jvm {
    /// The identifier of the runtime, such as `java17`.
    pub runtime: String,
    /// The absolute path of `java`.
    pub executable: String,
    /// Such as `17.0.15`.
    pub version: String,
    /// The absolute path of its `javac`, when it has one.
    pub compiler: Option<String>,
}

/// Why a JVM has nothing to boot from.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BaseError {
    /// Nothing on the machine can compile Java.
    #[error("no JDK on this machine has a compiler: install one, such as Debian's openjdk-17-jdk-headless")]
    NoCompiler,
    /// A sandbox for it could not be built.
    #[error("no sandbox could be built for it")]
    Sandbox(#[source] Arc<CreateError>),
    /// The job failed.
    #[error("{what} failed")]
    Job {
        /// What was to be made.
        what: &'static str,
        /// Why.
        #[source]
        source: Arc<JobError>,
    },
    /// The result could not be kept.
    #[error("what was made could not be written")]
    Write(#[source] Arc<std::io::Error>),
}

/// How blank sandboxes are built.
pub type Prepare = Box<dyn Fn(Blank) -> BoxFuture<'static, Result<Sandbox, CreateError>> + Send + Sync>;

type Outcome = Option<Result<Digest, BaseError>>;

/// What the JVMs of this machine boot from, or will as soon as it is made.
#[derive(Clone, Debug, Default)]
pub struct Bases {
    outcomes: HashMap<String, watch::Receiver<Outcome>>,
}

impl Bases {
    /// Begins to make what is not there yet, one after the other, in a task of the asynchronous runtime.
    pub fn begin(jvms: Vec<Jvm>, prepared: Prepared, prepare: Prepare) -> Self {
        let mut outcomes = HashMap::new();
        let mut work = Vec::new();
        for jvm in &jvms {
            let (sender, receiver) = watch::channel(None);
            outcomes.insert(jvm.runtime.clone(), receiver);
            work.push((jvm.clone(), sender));
        }
        let maker = Maker {
            jvms,
            prepared,
            prepare,
        };
        tokio::spawn(async move {
            for (jvm, sender) in work {
                let result = maker.base(&jvm).await;
                if let Err(error) = &result {
                    let error: &dyn std::error::Error = error;
                    tracing::warn!(runtime = jvm.runtime, error, "functions in Java cannot be started");
                }
                sender.send_replace(Some(result));
            }
        });
        Self { outcomes }
    }

    /// What the JVM of a runtime boots from, when it is made; `None` for a runtime that is not Java.
    pub async fn of(&self, runtime: &str) -> Result<Option<Digest>, BaseError> {
        let Some(outcome) = self.outcomes.get(runtime) else {
            return Ok(None);
        };
        let mut outcome = outcome.clone();
        // The task that makes it sends before it ends, unless it is ended with everything else.
        let made = outcome.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
        match made {
            Ok(Some(result)) => result.map(Some),
            _ => std::future::pending().await,
        }
    }
}

struct Maker {
    jvms: Vec<Jvm>,
    prepared: Prepared,
    prepare: Prepare,
}

impl Maker {
    async fn base(&self, jvm: &Jvm) -> Result<Digest, BaseError> {
        let compiled = self.compiled().await?;
        if !has_archive(major(&jvm.version)) {
            return Ok(compiled);
        }
        match self.archived(jvm, compiled).await {
            // It starts without, only later.
            Err(error @ BaseError::Job { .. }) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(runtime = jvm.runtime, error, "a JVM has no archive of its classes");
                Ok(compiled)
            }
            result => result,
        }
    }

    /// The folder with the jar.
    async fn compiled(&self) -> Result<Digest, BaseError> {
        // The oldest: later ones no longer know what Java 8 takes.
        let compilers = self.jvms.iter().filter_map(|jvm| Some((jvm, jvm.compiler.as_ref()?)));
        let Some((jvm, compiler)) = compilers.min_by_key(|(jvm, _)| major(&jvm.version)) else {
            return Err(BaseError::NoCompiler);
        };
        let digest = digest_of(["jar", &jvm.version, compiler, COMPILE], None);
        if self.prepared.has(digest) {
            return Ok(digest);
        }
        let target: &[&str] = if major(&jvm.version) < 9 {
            &["-source", "8", "-target", "8"]
        } else {
            &["--release", "8"]
        };
        let archiver = format!("{}jar", compiler.strip_suffix("javac").unwrap_or(compiler));
        let mut arguments = vec![compiler.clone(), archiver];
        let options = ["-nowarn", "-proc:none", "-encoding", "UTF-8", "-d", "/tmp/classes"];
        arguments.extend(target.iter().copied().chain(options).map(str::to_owned));
        let sources = assets().iter().filter(|asset| asset.kind == RuntimeKind::Java);
        let sources = sources.map(|asset| format!("/var/runtime/{}", asset.path));
        arguments.extend(sources.filter(|path| std::path::Path::new(path).extension().is_some_and(|it| it == "java")));
        let jar = self
            .job("compiling the Java runtime", jvm, None, COMPILE, arguments, JAR_BYTES)
            .await?;
        self.write(digest, &[(JAR_NAME, &jar)])?;
        Ok(digest)
    }

    /// The folder with the archive, and the same jar.
    async fn archived(&self, jvm: &Jvm, compiled: Digest) -> Result<Digest, BaseError> {
        let digest = digest_of(["archive", &jvm.version, &jvm.executable, ARCHIVE], Some(compiled));
        if self.prepared.has(digest) {
            return Ok(digest);
        }
        let mut arguments = vec![JAR.to_owned(), jvm.executable.clone(), "-Xmx256m".to_owned()];
        arguments.extend(flags(major(&jvm.version)));
        // Of all collectors this one can archive objects too, for those that can load them.
        arguments.push("-XX:+UseG1GC".to_owned());
        let what = "archiving a JVM's classes";
        let archive = self
            .job(what, jvm, Some(compiled), ARCHIVE, arguments, ARCHIVE_BYTES)
            .await?;
        let jar = self.prepared.read(compiled, JAR_NAME);
        let jar = jar.map_err(|error| BaseError::Write(Arc::new(error)))?;
        self.write(digest, &[(JAR_NAME, &jar), (ARCHIVE_NAME, &archive)])?;
        Ok(digest)
    }

    /// Writes a folder, with the library beside what is given.
    fn write(&self, digest: Digest, files: &[(&str, &[u8])]) -> Result<(), BaseError> {
        let library = library();
        let mut all = files.to_vec();
        all.extend(library.as_deref().map(|library| (LIBRARY_NAME, library)));
        let written = self.prepared.write(digest, &all);
        written.map_err(|error| BaseError::Write(Arc::new(error)))
    }

    async fn job(
        &self,
        what: &'static str,
        jvm: &Jvm,
        base: Option<Digest>,
        script: &str,
        arguments: Vec<String>,
        most_bytes: usize,
    ) -> Result<Vec<u8>, BaseError> {
        let blank = Blank {
            runtime: jvm.runtime.clone(),
            memory_mb: MEMORY_MB,
            base,
            zygote: false,
        };
        let sandbox = (self.prepare)(blank).await;
        let sandbox = sandbox.map_err(|error| BaseError::Sandbox(Arc::new(error)))?;
        let mut command = ["/bin/sh", "-ec", script, "sh"].map(str::to_owned).to_vec();
        command.extend(arguments);
        let job = Job {
            command: StartCommand {
                arguments: command,
                variables: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
                directory: "/tmp".to_owned(),
            },
            most_bytes,
            limit: LIMIT,
        };
        let result = job::run(sandbox, job).await;
        result.map_err(|error| BaseError::Job {
            what,
            source: Arc::new(error),
        })
    }
}

/// Over all that decides what is made.
fn digest_of(words: [&str; 4], from: Option<Digest>) -> Digest {
    let mut all = words.join("\0").into_bytes();
    match from {
        Some(digest) => all.extend_from_slice(digest.as_bytes()),
        None => {
            all.extend_from_slice(Digest::of(&library().unwrap_or_default()).as_bytes());
            for asset in assets().iter().filter(|asset| asset.kind == RuntimeKind::Java) {
                all.extend_from_slice(Digest::of(asset.path.as_bytes()).as_bytes());
                all.extend_from_slice(Digest::of(asset.bytes).as_bytes());
            }
        }
    }
    Digest::of(&all)
}
