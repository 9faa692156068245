//! What loading a function has made, kept for its next starts: a JVM's archive of its classes, V8's code of its scripts.
//!
//! It is made after a start in which loading took long, in the background, by a job that loads the function once more in
//! a sandbox of its own: one job at a time, which has its share of the CPU and no more. A start never waits for it, and
//! never depends on it.
//!
//! **Invariant:** what is mounted for a function was made by that function's own code, in that place of its ARN, alone:
//! whatever it has put there, it has put there for itself.

mod recipe;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ephyra_core::digest::Digest;
use ephyra_core::revision::Revision;
use ephyra_sandbox::client::{Assignment, Blank, CreateError};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::job::{self, Job, JobError};
use crate::launcher::Builder;
use crate::prepared::Prepared;
use crate::runtime::{Runtime, RuntimeKind};
use recipe::Recipe;

/// Loading that took less is not worth a job.
const LEAST_LOADING: Duration = Duration::from_millis(40);
/// What may wait to be made. More is forgotten, and remembered at the next start of its function.
const QUEUE: usize = 64;
/// How many failures are remembered, so that they are not tried again before the next start of the platform.
const FAILURES: usize = 4096;
/// The least memory of a job in MB: a JVM copies what it archives.
const LEAST_MEMORY_MB: u32 = 512;
/// How long a job may take, having little of the CPU.
const LIMIT: Duration = Duration::from_secs(120);
/// The file of a folder that says what it was made of.
const OWNER_NAME: &str = "function";

/// The caches of this machine's functions. Clones share them.
#[derive(Clone)]
pub(crate) struct Caches {
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
}

struct Shared {
    builder: Arc<dyn Builder>,
    prepared: Prepared,
    failed: Mutex<BTreeSet<Digest>>,
}

/// What is to be made.
struct Order {
    name: Digest,
    recipe: Recipe,
    revision: Arc<Revision>,
    runtime: Runtime,
}

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
enum CacheError {
    #[error("no sandbox could be had")]
    Sandbox(#[from] CreateError),
    #[error(transparent)]
    Job(JobError),
    /// What it printed is the function's, and nobody's here.
    #[error("loading it ended with {0}")]
    Ended(String),
    #[error("it could not be kept")]
    Keep(#[from] io::Error),
}

impl Caches {
    /// Those in `prepared`. What belongs to packages that are no more is removed. To be called inside the asynchronous
    /// runtime, before any sandbox lives.
    pub(crate) fn open(builder: Arc<dyn Builder>, prepared: Prepared) -> io::Result<Self> {
        let (orders, queue) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            builder,
            prepared,
            failed: Mutex::default(),
        });
        shared.sweep()?;
        tokio::spawn(Arc::clone(&shared).work(queue));
        Ok(Self { shared, orders })
    }

    /// What was made for a function, if that is there.
    pub(crate) fn of(&self, revision: &Revision, runtime: &Runtime) -> Option<Digest> {
        let (name, _) = recipe::of(revision, runtime, self.shared.base(runtime))?;
        self.shared.prepared.has(name).then_some(name)
    }

    /// Remembers how long loading a function took, that had nothing made for it.
    pub(crate) fn loaded(&self, revision: &Arc<Revision>, runtime: &Runtime, took: Duration) {
        if took < LEAST_LOADING {
            return;
        }
        let Some((name, recipe)) = recipe::of(revision, runtime, self.shared.base(runtime)) else {
            return;
        };
        if self.shared.failed.lock().contains(&name) {
            return;
        }
        let order = Order {
            name,
            recipe,
            revision: Arc::clone(revision),
            runtime: runtime.clone(),
        };
        // When there is no room, its next start asks again.
        let _is_queued = self.orders.try_send(order).is_ok();
    }

    /// A function failed to load with what was made for it: it goes without from now on.
    pub(crate) fn distrust(&self, name: Digest) {
        self.shared.remember_failure(name);
        if let Err(error) = self.shared.prepared.remove(name) {
            tracing::warn!(%error, "what was made for a function could not be removed");
        }
    }
}

impl Shared {
    async fn work(self: Arc<Self>, mut queue: mpsc::Receiver<Order>) {
        while let Some(order) = queue.recv().await {
            if self.prepared.has(order.name) || self.failed.lock().contains(&order.name) {
                continue;
            }
            let function = order.revision.function.clone();
            match self.make(&order).await {
                Ok(bytes) => tracing::debug!(%function, bytes, "what loading a function makes is kept"),
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::info!(%function, error, "a function is loaded anew each time");
                    self.remember_failure(order.name);
                }
            }
            if let Err(error) = self.sweep() {
                tracing::warn!(%error, "what was made for functions could not be looked through");
            }
        }
    }

    async fn make(&self, order: &Order) -> Result<usize, CacheError> {
        let Order {
            recipe,
            revision,
            runtime,
            ..
        } = order;
        let memory_mb = revision.memory_mb.max(LEAST_MEMORY_MB);
        let blank = Blank {
            runtime: runtime.identifier.clone(),
            memory_mb,
            base: recipe.base,
            zygote: false,
        };
        let mut sandbox = self.builder.prepare(blank).await?;
        let assignment = Assignment {
            memory_mb,
            tmp_mb: revision.ephemeral_storage_mb,
            code: Some(revision.code),
            layers: revision.layers.clone(),
            prepared: None,
        };
        sandbox.controls.assign(assignment).await?;
        let job = Job {
            command: recipe.command(revision, runtime),
            most_bytes: recipe.most_bytes,
            limit: LIMIT,
            is_urgent: false,
        };
        let made = job::run(sandbox, job).await.map_err(|error| match error {
            JobError::Failed { exit, .. } => CacheError::Ended(exit),
            error => CacheError::Job(error),
        })?;
        let owner = Owner {
            package: revision.code,
            runtime: runtime.identifier.clone(),
            foundation: recipe.foundation,
        };
        let owner = owner.to_string();
        let files: [(&str, &[u8]); 2] = [(recipe.file, &made), (OWNER_NAME, owner.as_bytes())];
        self.prepared.write(order.name, &files)?;
        Ok(made.len())
    }

    fn remember_failure(&self, name: Digest) {
        let mut failed = self.failed.lock();
        if failed.len() < FAILURES {
            failed.insert(name);
        }
    }

    fn base(&self, runtime: &Runtime) -> Option<Digest> {
        match runtime.kind {
            RuntimeKind::Java => self.builder.base(&runtime.identifier),
            RuntimeKind::Node | RuntimeKind::Python | RuntimeKind::Provided => None,
        }
    }

    /// Removes what belongs to packages that are no more, and what no runtime uses any more.
    fn sweep(&self) -> io::Result<()> {
        for name in self.prepared.all()? {
            // What has no owner is no function's.
            if let Ok(owner) = self.prepared.read(name, OWNER_NAME)
                && !Owner::parse(&owner).is_some_and(|owner| self.can_use(&owner))
            {
                self.prepared.remove(name)?;
            }
        }
        Ok(())
    }

    fn can_use(&self, owner: &Owner) -> bool {
        let foundation = self.builder.runtime(&owner.runtime).ok();
        let foundation = foundation.and_then(|runtime| recipe::foundation(&runtime, self.base(&runtime)));
        foundation == Some(owner.foundation) && self.builder.has_code(owner.package)
    }
}

/// Without what a folder is of no use.
struct Owner {
    package: Digest,
    runtime: String,
    foundation: Digest,
}

impl Owner {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(bytes).ok()?.split('\n');
        Some(Self {
            package: words.next()?.parse().ok()?,
            runtime: words.next()?.to_owned(),
            foundation: words.next()?.parse().ok()?,
        })
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}\n{}\n{}", self.package, self.runtime, self.foundation)
    }
}
