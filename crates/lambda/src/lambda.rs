//! The service: what it is given, how a request reaches its operation, and what operations share.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ephyra_core::arn::Place;
use ephyra_core::compute::{Accept, Invoke, Steer};
use ephyra_core::digest::Digest;
use ephyra_core::id::{FunctionName, Qualifier, RevisionId, Version};
use ephyra_core::limits;
use ephyra_core::prepare::{Prepare, PrepareError};
use ephyra_core::revision::Revision;
use ephyra_core::url::Origin;
use ephyra_store::clock::Clock;
use ephyra_store::{Blobs, StoreError, Table};
use ephyra_wire::error::ApiError;
use ephyra_wire::rest::Router;
use ephyra_wire::service::{Body, BodyLimit, Request, Response, Service};
use futures_util::future::BoxFuture;
use http::Method;

use crate::cache::Cache;
use crate::error;
use crate::ledger::{Ledger, Stored};
use crate::operation;
use crate::package::Depot;
use crate::record::{AliasRecord, FunctionRecord, Package, VersionRecord};
use crate::recover::RecoverError;
use crate::route::{self, CODE_PATH, Operation};
use crate::totals::Totals;

/// Functions are changed one at a time within a shard.
const SHARDS: usize = 64;
/// How long a download link works.
const LINK_LIFE: Duration = Duration::from_secs(600);

/// What an operator decides, and what was found on the machine.
#[derive(Clone, Debug)]
pub struct Options {
    /// The region and account whose functions these are.
    pub place: Place,
    /// The data folder: packages are unpacked under `code/`, by way of `tmp/`.
    pub data: PathBuf,
    /// The runtime identifiers that this machine can run, such as `python3.13`.
    pub runtimes: Vec<String>,
    /// The machine's architecture, `x86_64` or `arm64`.
    pub architecture: String,
    /// Invocations at once in the account.
    pub concurrency: u32,
    /// Where clients reach function URLs.
    pub origin: Origin,
}

/// Makes a link out of a path and how long the link is to work.
pub type Presign = dyn Fn(&str, Duration) -> String + Send + Sync;

/// What the service works with.
pub struct Dependencies {
    /// Where the records are. Keys that begin with `function/`, `version/`, `alias/`, `url/`, `layer/` and
    /// `layer-number/` are this service's.
    pub table: Arc<dyn Table>,
    /// Where the zips are; for this service alone, which deletes what it does not know.
    pub blobs: Arc<dyn Blobs>,
    /// Runs functions.
    pub invoke: Arc<dyn Invoke>,
    /// Takes events.
    pub accept: Arc<dyn Accept>,
    /// Is told what was decided.
    pub steer: Arc<dyn Steer>,
    /// Makes what a revision needs before it can run.
    pub prepare: Arc<dyn Prepare>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes a URL that serves a GET of this path, percent-encoded and without host, for so long without further
    /// credentials.
    pub presign: Arc<Presign>,
    /// A number that is uniform in [0, 1): which version a weighted alias chooses.
    pub dice: Arc<dyn Fn() -> f64 + Send + Sync>,
}

/// The Lambda service. A cheap handle: clones are the same service.
#[derive(Clone)]
pub struct Lambda {
    pub(crate) inner: Arc<Inner>,
}

/// What all handles share.
pub(crate) struct Inner {
    pub(crate) options: Options,
    pub(crate) deps: Dependencies,
    pub(crate) ledger: Ledger,
    pub(crate) depot: Depot,
    pub(crate) cache: Cache,
    pub(crate) totals: Totals,
    router: Router<Operation>,
    shards: Vec<tokio::sync::Mutex<()>>,
    /// Held for writing by who deletes a layer version, for reading by who begins to use one.
    pub(crate) layers: tokio::sync::RwLock<()>,
    hasher: RandomState,
}

/// A request at its operation.
pub(crate) struct Call {
    pub(crate) lambda: Lambda,
    pub(crate) request: Request,
    pub(crate) labels: ephyra_wire::rest::Labels,
}

impl Lambda {
    /// Opens the service: repairs what an interrupted run has left, counts what is there and tells the scheduler what
    /// was decided before.
    pub async fn open(options: Options, deps: Dependencies) -> Result<Self, RecoverError> {
        let depot = Depot::open(&options.data, Arc::clone(&deps.blobs)).map_err(RecoverError::from)?;
        let lambda = Self {
            inner: Arc::new(Inner {
                ledger: Ledger::new(Arc::clone(&deps.table)),
                depot,
                cache: Cache::default(),
                totals: Totals::default(),
                router: route::router(),
                shards: (0..SHARDS).map(|_| tokio::sync::Mutex::default()).collect(),
                layers: tokio::sync::RwLock::default(),
                hasher: RandomState::new(),
                options,
                deps,
            }),
        };
        lambda.recover().await?;
        Ok(lambda)
    }

    async fn answer(&self, request: Request) -> Result<Response, ApiError> {
        let found = self.inner.router.find(&request.method, &request.path)?;
        let operation = found.operation.refine(|name| request.query(name));
        let call = Call {
            lambda: self.clone(),
            request,
            labels: found.labels,
        };
        match operation {
            // A client that goes away ends its wait; the invocation runs on by the contract of `Invoke`.
            Operation::Invoke => operation::invoke(call).await,
            Operation::InvokeWithResponseStream => operation::invoke_with_response_stream(call).await,
            _ => {
                // A change runs to its end, whether or not the client waits for it.
                tokio::spawn(Box::pin(operation::dispatch(operation, call)))
                    .await
                    .unwrap_or_else(|failure| {
                        tracing::error!(?operation, %failure, "an operation broke off");
                        Err(error::service("The operation broke off. Please try again."))
                    })
            }
        }
    }
}

impl Service for Lambda {
    fn signing_name(&self) -> &'static str {
        "lambda"
    }

    fn body_limit(&self, method: &Method, path: &str) -> BodyLimit {
        let operation = self.inner.router.find(method, path).map(|found| found.operation);
        let (bytes, error): (usize, fn(usize) -> ApiError) = match operation {
            Ok(Operation::CreateFunction) => (limits::ZIP_REQUEST_BYTES, |limit| {
                error::too_large(limit, "CreateFunction")
            }),
            Ok(Operation::UpdateFunctionCode) => (limits::ZIP_REQUEST_BYTES, |limit| {
                error::too_large(limit, "UpdateFunctionCode")
            }),
            Ok(Operation::PublishLayerVersion) => (limits::ZIP_REQUEST_BYTES, |limit| {
                error::too_large(limit, "PublishLayerVersion")
            }),
            Ok(Operation::Invoke | Operation::InvokeAsync | Operation::InvokeWithResponseStream) => {
                (limits::SYNC_REQUEST_BYTES, |limit| {
                    error::too_large(limit, "InvokeFunction")
                })
            }
            // Far above what any other operation needs.
            _ => (1_048_576, |limit| error::too_large(limit, "requested")),
        };
        BodyLimit { bytes, error }
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Response> {
        Box::pin(async move {
            match self.answer(request).await {
                Ok(response) => response,
                Err(error) => respond(error),
            }
        })
    }
}

/// Writes an error.
fn respond(error: ApiError) -> Response {
    let is_silent = error::is_silent(&error);
    let mut response = error.into_response();
    if is_silent {
        response.body = Body::Full(bytes::Bytes::from_static(br#"{"Message":null}"#));
    }
    response
}

impl Inner {
    /// Waits until no other change of this function, or of this layer, is under way.
    pub(crate) async fn turn(&self, name: &str) -> tokio::sync::MutexGuard<'_, ()> {
        let shard = self.hasher.hash_one(name) % SHARDS as u64;
        let shard = usize::try_from(shard).unwrap_or_default();
        self.shards[shard].lock().await
    }

    /// Milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> i64 {
        self.deps.clock.now_ms()
    }

    pub(crate) const fn place(&self) -> &Place {
        &self.options.place
    }

    /// A link to a package's zip.
    pub(crate) fn link(&self, digest: Digest) -> String {
        (self.deps.presign)(&format!("{CODE_PATH}{digest}"), LINK_LIFE)
    }

    /// Reads a function's record.
    pub(crate) async fn function(
        &self,
        name: Option<FunctionName>,
    ) -> Result<Option<Stored<FunctionRecord>>, ApiError> {
        match name {
            None => Ok(None),
            Some(name) => self.ledger.function(&name).await.map_err(error::store),
        }
    }

    /// Reads a published version's record.
    pub(crate) async fn version(
        &self,
        name: &FunctionName,
        number: u64,
    ) -> Result<Option<Stored<VersionRecord>>, ApiError> {
        self.ledger.version(name, number).await.map_err(error::store)
    }

    /// Reads an alias's record.
    pub(crate) async fn alias(
        &self,
        name: &FunctionName,
        alias: &ephyra_core::id::AliasName,
    ) -> Result<Option<Stored<AliasRecord>>, ApiError> {
        self.ledger.alias(name, alias).await.map_err(error::store)
    }

    /// Reads the version that a qualifier of a function means: `$LATEST` without one.
    pub(crate) async fn qualified(
        &self,
        function: &FunctionRecord,
        qualifier: Option<&Qualifier>,
    ) -> Result<Option<VersionRecord>, StoreError> {
        let version = match qualifier {
            None => Version::Latest,
            Some(Qualifier::Version(version)) => *version,
            Some(Qualifier::Alias(alias)) => match self.ledger.alias(&function.name, alias).await? {
                None => return Ok(None),
                Some(alias) => alias.record.version,
            },
        };
        match version {
            Version::Latest => Ok(Some(function.latest.clone())),
            Version::Number(number) => Ok(self
                .ledger
                .version(&function.name, number)
                .await?
                .map(|stored| stored.record)),
        }
    }

    /// Counts a version's packages for one more user.
    pub(crate) fn share(&self, version: &VersionRecord) {
        for package in version.packages() {
            self.depot.share(package);
        }
    }

    /// Counts the users of packages down.
    pub(crate) async fn release(&self, digests: impl IntoIterator<Item = Digest>) {
        for digest in digests {
            if self.depot.release(digest).await {
                self.deps.prepare.forget(digest);
            }
        }
    }
}

/// Packages counted for a record that is not written yet; counted down again when it never is.
pub(crate) struct Kept {
    lambda: Lambda,
    digests: Vec<Digest>,
}

impl Kept {
    pub(crate) const fn none(lambda: Lambda) -> Self {
        let digests = Vec::new();
        Self { lambda, digests }
    }

    /// Notes a package that was counted for one more user.
    pub(crate) fn add(&mut self, package: Package) {
        self.digests.push(package.digest);
    }

    /// The record is written: it is the user now.
    pub(crate) fn hand_over(mut self) {
        self.digests.clear();
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if !self.digests.is_empty() {
            let inner = Arc::clone(&self.lambda.inner);
            let digests = std::mem::take(&mut self.digests);
            tokio::spawn(async move { inner.release(digests).await });
        }
    }
}

impl Lambda {
    /// Stops using a version that was replaced or deleted: its environments end, then its packages go if nothing else
    /// uses them. Returns at once.
    pub(crate) fn retire(&self, version: &VersionRecord) {
        let digests: Vec<Digest> = version.packages().map(|package| package.digest).collect();
        self.retire_revision(version.revision, digests);
    }

    fn retire_revision(&self, revision: RevisionId, digests: Vec<Digest>) {
        let inner = Arc::clone(&self.inner);
        let retired = inner.deps.steer.retire(revision);
        tokio::spawn(async move {
            retired.await;
            inner.release(digests).await;
        });
    }

    /// Makes a change durable on disk and its versions usable, in the background.
    pub(crate) fn settle_later(&self, name: &FunctionName) {
        let lambda = self.clone();
        let name = name.clone();
        tokio::spawn(async move {
            if let Err(failure) = lambda.settle(&name).await {
                // The record says that the change is under way; the next start takes it up again.
                tracing::error!(function = %name, error = &failure as &dyn std::error::Error, "a change could not be ended");
            }
        });
    }

    /// Ends what is under way for a function and its versions, once its code is durable.
    pub(crate) async fn settle(&self, name: &FunctionName) -> Result<(), StoreError> {
        let inner = &self.inner;
        let Some(seen) = inner.ledger.function(name).await? else {
            return Ok(());
        };
        let seen = seen.record.latest;
        let made = self.make_usable(name, &seen).await;
        let _turn = inner.turn(name.as_str()).await;
        let Some(mut function) = inner.ledger.function(name).await? else {
            return Ok(());
        };
        if function.record.latest.revision != seen.revision {
            // Deleted and made again meanwhile: not what was synced, and settled by another.
            return Ok(());
        }
        let end = |version: &mut VersionRecord| match &made {
            Ok(()) => version.settle(),
            Err((code, reason)) => version.fail(code, reason),
        };
        // The only version that can be under way with the change is the last.
        if let Some(number) = Some(function.record.last_version).filter(|number| *number > 0)
            && let Some(mut version) = inner.ledger.version(name, number).await?
            && version.record.is_unsettled()
        {
            if version.record.awaits_template() && made.is_ok() {
                self.make_template_later(name, version.record.version);
            } else {
                end(&mut version.record);
                inner.ledger.update_version(name, number, &version).await?;
            }
        }
        if function.record.latest.is_unsettled() {
            end(&mut function.record.latest);
            inner.ledger.update_function(&function).await?;
        }
        inner.cache.forget(name.as_str());
        // Its first call need not read what it means. Why that cannot run, if so, is told to who calls it.
        let _missed = inner.meaning(name.as_str(), None).await;
        Ok(())
    }

    /// Makes a version's code durable, and of it what its runtime needs. An error is AWS's code and the reason.
    async fn make_usable(&self, name: &FunctionName, version: &VersionRecord) -> Result<(), (&'static str, String)> {
        let inner = &self.inner;
        if let Err(failure) = inner.depot.sync(version.code.digest).await {
            tracing::error!(function = %name, error = &failure as &dyn std::error::Error, "a package is not durable");
            return Err(("InternalError", "The package could not be written to disk.".to_owned()));
        }
        let revision = Arc::new(version.to_revision(name, inner.place()));
        match inner.deps.prepare.prepare(revision).await {
            Ok(()) => Ok(()),
            Err(PrepareError::Rejected(reason)) => Err(("InvalidZipFileException", reason)),
            Err(PrepareError::Failed(reason)) => {
                tracing::error!(function = %name, reason, "a function could not be prepared");
                Err(("InternalError", reason))
            }
        }
    }

    /// Tells the scheduler how many environments of a version are to be kept started.
    pub(crate) fn provision(&self, name: &FunctionName, version: &VersionRecord, count: u32) {
        let revision: Revision = version.to_revision(name, self.inner.place());
        self.inner.deps.steer.set_provisioned(Arc::new(revision), count);
    }
}
