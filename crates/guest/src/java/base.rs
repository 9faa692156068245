//! What a JVM boots from: the jar of our runtime, and an archive of the classes that a start needs, as the JVM has them
//! in memory. The jar is compiled once on this machine, by whichever JDK has a compiler; the archive is made once by
//! each JVM. Both are made when they are first needed, and kept in the data folder, so that it is done again only after
//! an update of either side. A JVM starts without its archive, only later: nobody waits for that.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ephyra_core::digest::Digest;
use ephyra_sandbox::client::{Blank, CreateError};
use ephyra_sandbox::sandbox::Sandbox;
use ephyra_sandbox::supervisor::StartCommand;
use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, watch};

use super::library::library;
use super::{ARCHIVE as ARCHIVE_PATH, JAR, flags, has_archive, major};
use crate::job::{self, Job, JobError};
use crate::prepared::Prepared;
use crate::runtime::{RuntimeKind, asset_digests, assets};

/// The files of a prepared folder, by the names that the JVM's arguments have for them.
const JAR_NAME: &str = "runtime.jar";
const ARCHIVE_NAME: &str = "classes.jsa";
/// The runtime finds it beside the jar.
const LIBRARY_NAME: &str = "folder.so";
/// Arguments of the JVM that depend on what is in the folder, one a line.
const ARGUMENTS_NAME: &str = "arguments";
/// For which runtime a folder was made.
const OWNER_NAME: &str = "java";
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
    dd if=/tmp/runtime.jar bs=64k status=none >&3";
/// Has the runtime load what a start needs, and archives that; the arguments are the JVM's.
const ARCHIVE: &str = "jar=$1; shift; \
    \"$@\" -XX:DumpLoadedClassList=/tmp/classes.list -jar \"$jar\" rehearse; \
    \"$@\" -Xshare:dump -XX:SharedClassListFile=/tmp/classes.list -XX:SharedArchiveFile=/tmp/classes.jsa -cp \"$jar\"; \
    dd if=/tmp/classes.jsa bs=64k status=none >&3";

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

/// How far what a JVM boots from has come.
#[derive(Clone, Debug)]
enum Stage {
    /// Nobody has needed it yet.
    Unwanted,
    /// Nothing can be started yet.
    Making,
    /// A JVM can be started, perhaps without an archive.
    Ready(Digest),
    /// The last attempt failed; the next who needs it has it tried again.
    Failed(BaseError),
}

/// What the JVMs of this machine boot from, made when it is first needed. Clones share it.
#[derive(Clone)]
pub struct Bases {
    maker: Arc<Maker>,
    stages: Arc<BTreeMap<String, watch::Sender<Stage>>>,
    /// The names of the folders with archives, whether they are there or not.
    archives: Arc<BTreeMap<String, Digest>>,
}

impl Bases {
    /// Makes nothing yet. What was made for JVMs or by programs that are no more is removed: no sandbox may live yet.
    /// Says for which runtimes that was: they may be needed again.
    pub fn open(jvms: Vec<Jvm>, prepared: Prepared, prepare: Prepare) -> io::Result<(Self, BTreeSet<String>)> {
        let stages = jvms
            .iter()
            .map(|jvm| (jvm.runtime.clone(), watch::Sender::new(Stage::Unwanted)))
            .collect();
        let maker = Maker {
            jvms,
            prepared,
            prepare,
            turn: Mutex::new(()),
        };
        let archives = maker.archives();
        let outdated = maker.remove_outdated(&archives)?;
        let bases = Self {
            maker: Arc::new(maker),
            stages: Arc::new(stages),
            archives: Arc::new(archives),
        };
        Ok((bases, outdated))
    }

    /// Says that a JVM of this runtime will be needed: what it boots from begins to be made, in a task of the
    /// asynchronous runtime. Nothing happens for a runtime that is not Java.
    pub fn begin(&self, runtime: &str) {
        let Some(stage) = self.stages.get(runtime) else { return };
        let begins = stage.send_if_modified(|stage| {
            let begins = matches!(stage, Stage::Unwanted | Stage::Failed(_));
            if begins {
                *stage = Stage::Making;
            }
            begins
        });
        if begins {
            tokio::spawn(self.clone().make(runtime.to_owned()));
        }
    }

    /// What the JVM of a runtime boots from, as soon as there is anything that it can boot from; `None` for a runtime
    /// that is not Java.
    pub async fn of(&self, runtime: &str) -> Result<Option<Digest>, BaseError> {
        let Some(stage) = self.stages.get(runtime) else {
            return Ok(None);
        };
        self.begin(runtime);
        let mut stage = stage.subscribe();
        // Its sender is in this. Whoever fails here was there before the next attempt.
        let decided = stage.wait_for(|stage| !matches!(stage, Stage::Unwanted | Stage::Making));
        match decided.await.map(|stage| stage.clone()) {
            Ok(Stage::Ready(digest)) => Ok(Some(digest)),
            Ok(Stage::Failed(error)) => Err(error),
            _ => std::future::pending().await,
        }
    }

    /// What the JVM of a runtime boots from, when that has an archive already.
    pub fn whole(&self, runtime: &str) -> Option<Digest> {
        let archive = self.archives.get(runtime).copied();
        archive.filter(|digest| self.maker.prepared.has(*digest))
    }

    async fn make(self, runtime: String) {
        let (Some(stage), Some(jvm)) = (self.stages.get(&runtime), self.maker.jvm(&runtime)) else {
            return;
        };
        // One after the other: nobody is helped by two compilers at once.
        let _turn = self.maker.turn.lock().await;
        let compiled = match self.maker.compiled().await {
            Ok(compiled) => compiled,
            Err(error) => {
                tell(&runtime, &error, "functions in Java cannot be started");
                stage.send_replace(Stage::Failed(error));
                return;
            }
        };
        if !has_archive(major(&jvm.version)) {
            stage.send_replace(Stage::Ready(compiled));
            return;
        }
        let archive = self.maker.archive_digest(jvm, compiled);
        if let Some(digest) = archive.filter(|digest| self.maker.prepared.has(*digest)) {
            stage.send_replace(Stage::Ready(digest));
            return;
        }
        stage.send_replace(Stage::Ready(compiled));
        match self.maker.archived(jvm, compiled).await {
            Ok(digest) => drop(stage.send_replace(Stage::Ready(digest))),
            // It starts without, only later.
            Err(error) => tell(&runtime, &error, "a JVM has no archive of its classes"),
        }
    }
}

fn tell(runtime: &str, error: &BaseError, consequence: &str) {
    let error: &dyn std::error::Error = error;
    tracing::warn!(runtime, error, "{consequence}");
}

struct Maker {
    jvms: Vec<Jvm>,
    prepared: Prepared,
    prepare: Prepare,
    /// Held by whoever has a job done.
    turn: Mutex<()>,
}

impl Maker {
    fn jvm(&self, runtime: &str) -> Option<&Jvm> {
        self.jvms.iter().find(|jvm| jvm.runtime == runtime)
    }

    /// The JVM that compiles, and its compiler: the oldest, as later ones no longer know what Java 8 takes.
    fn compiler(&self) -> Option<(&Jvm, &String)> {
        let compilers = self.jvms.iter().filter_map(|jvm| Some((jvm, jvm.compiler.as_ref()?)));
        compilers.min_by_key(|(jvm, _)| major(&jvm.version))
    }

    /// The names of the folders with archives, by the runtimes that can have one.
    fn archives(&self) -> BTreeMap<String, Digest> {
        let Some((jvm, compiler)) = self.compiler() else {
            return BTreeMap::new();
        };
        let compiled = jar_digest(jvm, compiler);
        let named = self
            .jvms
            .iter()
            .filter_map(|jvm| Some((jvm.runtime.clone(), self.archive_digest(jvm, compiled)?)));
        named.collect()
    }

    /// Removes what no JVM of this machine boots from any more, and says whose it was.
    fn remove_outdated(&self, archives: &BTreeMap<String, Digest>) -> io::Result<BTreeSet<String>> {
        let mut current: BTreeSet<Digest> = archives.values().copied().collect();
        current.extend(self.compiler().map(|(jvm, compiler)| jar_digest(jvm, compiler)));
        let mut owners = BTreeSet::new();
        for digest in self.prepared.all()? {
            if current.contains(&digest) || !self.prepared.has_file(digest, JAR_NAME) {
                continue;
            }
            let owner = self.prepared.read(digest, OWNER_NAME).unwrap_or_default();
            owners.extend(String::from_utf8(owner).ok().filter(|owner| self.jvm(owner).is_some()));
            self.prepared.remove(digest)?;
        }
        Ok(owners)
    }

    /// The folder with the jar.
    async fn compiled(&self) -> Result<Digest, BaseError> {
        let (jvm, compiler) = self.compiler().ok_or(BaseError::NoCompiler)?;
        let digest = jar_digest(jvm, compiler);
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
        self.write(digest, &[(JAR_NAME, &jar), (ARGUMENTS_NAME, b"")])?;
        Ok(digest)
    }

    /// The name of the folder with the archive, for a JVM that can have one.
    fn archive_digest(&self, jvm: &Jvm, compiled: Digest) -> Option<Digest> {
        let words = ["archive", &jvm.version, &jvm.executable, ARCHIVE];
        has_archive(major(&jvm.version)).then(|| digest_of(words, Some(compiled)))
    }

    /// The folder with the archive, and the same jar.
    async fn archived(&self, jvm: &Jvm, compiled: Digest) -> Result<Digest, BaseError> {
        let Some(digest) = self.archive_digest(jvm, compiled) else {
            return Ok(compiled);
        };
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
        let use_it = format!("-XX:SharedArchiveFile={ARCHIVE_PATH}\n");
        let files: [(&str, &[u8]); 4] = [
            (JAR_NAME, &jar),
            (ARCHIVE_NAME, &archive),
            (ARGUMENTS_NAME, use_it.as_bytes()),
            (OWNER_NAME, jvm.runtime.as_bytes()),
        ];
        self.write(digest, &files)?;
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
            // Without the jar nothing starts, without an archive everything does.
            is_urgent: base.is_none(),
        };
        let result = job::run(sandbox, job).await;
        result.map_err(|error| BaseError::Job {
            what,
            source: Arc::new(error),
        })
    }
}

/// The name of the folder with the jar.
fn jar_digest(jvm: &Jvm, compiler: &str) -> Digest {
    digest_of(["jar", &jvm.version, compiler, COMPILE], None)
}

/// Over all that decides what is made.
fn digest_of(words: [&str; 4], from: Option<Digest>) -> Digest {
    let mut all = words.join("\0").into_bytes();
    match from {
        Some(digest) => all.extend_from_slice(digest.as_bytes()),
        None => {
            all.extend_from_slice(Digest::of(&library().unwrap_or_default()).as_bytes());
            all.extend(asset_digests(RuntimeKind::Java));
        }
    }
    Digest::of(&all)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn jvm(version: &str) -> Jvm {
        Jvm {
            runtime: format!("java{version}"),
            executable: format!("/jdk{version}/bin/java"),
            version: version.to_owned(),
            compiler: Some(format!("/jdk{version}/bin/javac")),
        }
    }

    /// Where no sandbox can be built; counts the attempts.
    fn open(folder: &std::path::Path, jvms: &[&str]) -> (Bases, BTreeSet<String>, Arc<AtomicUsize>) {
        let attempts = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&attempts);
        let prepare: Prepare = Box::new(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            Box::pin(async { Err(CreateError::RuntimeAbsent("all".to_owned())) })
        });
        let jvms = jvms.iter().map(|version| jvm(version)).collect();
        let (bases, outdated) = Bases::open(jvms, Prepared::new(folder.to_owned()), prepare).unwrap();
        (bases, outdated, attempts)
    }

    #[tokio::test]
    async fn nothing_is_made_until_it_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let (bases, _, attempts) = open(folder.path(), &["17"]);
        assert_eq!(bases.of("python3.13").await.unwrap(), None);
        bases.begin("nodejs22.x");
        tokio::task::yield_now().await;
        assert_eq!(attempts.load(Ordering::SeqCst), 0);
        // Each who needs it has it tried again.
        for count in 1..=2 {
            assert!(matches!(bases.of("java17").await, Err(BaseError::Sandbox(_))));
            assert_eq!(attempts.load(Ordering::SeqCst), count);
        }
        let (bases, _, _) = open(folder.path(), &[]);
        assert_eq!(bases.of("java17").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_jvm_need_not_wait_for_its_archive() {
        let folder = tempfile::tempdir().unwrap();
        let (bases, _, attempts) = open(folder.path(), &["17", "21"]);
        let compiled = jar_digest(&jvm("17"), "/jdk17/bin/javac");
        bases.maker.write(compiled, &[(JAR_NAME, b"jar")]).unwrap();
        assert_eq!(bases.of("java21").await.unwrap(), Some(compiled));
        let archive = bases.maker.archive_digest(&jvm("17"), compiled).unwrap();
        bases
            .maker
            .write(archive, &[(JAR_NAME, b"jar"), (ARCHIVE_NAME, b"")])
            .unwrap();
        assert_eq!(bases.of("java17").await.unwrap(), Some(archive));
        // The one for 21 was tried by now, as they take turns, and its failure changes nothing.
        assert_eq!(attempts.load(Ordering::SeqCst), 1);
        assert_eq!(bases.of("java21").await.unwrap(), Some(compiled));
    }

    #[test]
    fn what_nothing_boots_from_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let prepared = Prepared::new(folder.path().to_owned());
        let [before, unmarked, other] = ["before", "unmarked", "other"].map(|word| Digest::of(word.as_bytes()));
        prepared
            .write(before, &[(JAR_NAME, b""), (OWNER_NAME, b"java17")])
            .unwrap();
        prepared.write(unmarked, &[(JAR_NAME, b"")]).unwrap();
        prepared.write(other, &[("snapshot", b"")]).unwrap();
        let current = jar_digest(&jvm("17"), "/jdk17/bin/javac");
        prepared.write(current, &[(JAR_NAME, b"")]).unwrap();
        let (bases, outdated, _) = open(folder.path(), &["17"]);
        assert_eq!(outdated, BTreeSet::from(["java17".to_owned()]));
        assert_eq!(
            BTreeSet::from_iter(prepared.all().unwrap()),
            BTreeSet::from([current, other])
        );
        drop(bases);
        let (_, outdated, _) = open(folder.path(), &["21"]);
        assert_eq!((prepared.all().unwrap(), outdated.len()), (vec![other], 0));
    }
}
