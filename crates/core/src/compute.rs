//! How other rooms run functions: [`Invoke`] waits for the answer, [`Accept`] takes an event durably, [`Steer`]
//! tells the scheduler what the control plane has decided, [`Resolve`] finds what a name means now.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::id::{FunctionName, Qualifier, RequestId, RevisionId};
use crate::invocation::{FunctionError, Invocation, InvokeError, Outcome};
use crate::revision::Revision;

/// Runs one invocation and waits for its end.
pub trait Invoke: Send + Sync + 'static {
    /// Runs `invocation`. A dropped future does not end the invocation: it runs on, is metered and logged, and its
    /// environment is used again.
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Result<Outcome, InvokeError>>;
}

/// Takes events to be run later.
pub trait Accept: Send + Sync + 'static {
    /// Resolves once the event is durable: from then on it runs at least once, whatever dies.
    fn accept(&self, event: AcceptedEvent) -> BoxFuture<'_, Result<(), AcceptError>>;
}

/// An event to be run later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedEvent {
    /// The same on all attempts.
    pub request_id: RequestId,
    /// The function.
    pub function: FunctionName,
    /// The version or alias, when one was named.
    pub qualifier: Option<Qualifier>,
    /// The event.
    pub payload: Bytes,
    /// JSON, no longer in base64.
    pub client_context: Option<String>,
    /// The value of `X-Amzn-Trace-Id`.
    pub trace_id: Option<String>,
}

/// An event was not accepted; a retry is safe.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The platform is going down: 503.
    #[error("the platform is shutting down; send the event again to a running one")]
    Draining,
    /// The state could not be written.
    #[error("the event could not be made durable")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Finds what a name means at this moment.
pub trait Resolve: Send + Sync + 'static {
    /// Resolves a function's name and qualifier; a weighted alias may answer differently each time.
    fn resolve<'a>(
        &'a self,
        function: &'a FunctionName,
        qualifier: Option<&'a Qualifier>,
    ) -> BoxFuture<'a, Result<Resolved, ResolveError>>;

    /// Whether the function's reserved concurrency is 0, so that nothing of it runs and its accepted events are given
    /// up at once instead of being tried again.
    fn is_stopped<'a>(&'a self, function: &'a FunctionName) -> BoxFuture<'a, Result<bool, ResolveError>>;
}

/// What a name means.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// What is to run.
    pub revision: Arc<Revision>,
    /// The ARN with the qualifier that was asked for.
    pub invoked_arn: String,
    /// How accepted events of this qualifier are treated.
    pub events: EventConfig,
}

/// A function's event invoke configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventConfig {
    /// Retries after a function error: 0 to 2.
    pub max_retries: u32,
    /// How long an event may wait, in seconds: 60 to 21,600.
    pub max_age_seconds: u32,
}

/// A name that means nothing that can run.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// No such function, version or alias.
    #[error("{0} does not exist")]
    NotFound(String),
    /// The function is not ready yet, or its last change failed; `retry` says whether waiting helps.
    #[error("{reason}")]
    NotReady {
        /// For people.
        reason: String,
        /// Whether it may become ready by itself.
        retry: bool,
    },
    /// The state could not be read.
    #[error("the state could not be read")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What the control plane tells the scheduler.
pub trait Steer: Send + Sync + 'static {
    /// Reserves `limit` of the account's concurrency for a function, which may then use no more; `None` undoes it.
    fn set_reserved(&self, function: &FunctionName, limit: Option<u32>);

    /// Keeps `count` environments of a revision started; 0 undoes it.
    fn set_provisioned(&self, revision: Arc<Revision>, count: u32);

    /// How far a revision's provisioned environments have come.
    fn provisioned(&self, revision: RevisionId) -> ProvisionedStatus;

    /// Keeps an initialised environment of a published revision as the template of its next cold start, or no longer.
    /// It is made in the background, made anew whenever it was used, and given up when memory is short: the revision
    /// works without.
    fn set_snap_start(&self, revision: Arc<Revision>, is_on: bool);

    /// Makes a revision's first template as urgently as an environment for an invocation, and keeps one from then on
    /// as [`Steer::set_snap_start`] does. Resolves when it stands ready, or could not be made.
    fn first_template(&self, revision: Arc<Revision>) -> BoxFuture<'static, Result<(), SnapStartError>>;

    /// Stops using a revision: idle environments end now, busy ones after their invocation. Resolves when none is left.
    fn retire(&self, revision: RevisionId) -> BoxFuture<'static, ()>;
}

/// Why there is no template of a revision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapStartError {
    /// The function failed to initialise.
    #[error("the function failed to initialise: {}", .0.error_type)]
    Init(FunctionError),
    /// An environment could not be started, by no fault of the function.
    #[error("an environment could not be started: {0}")]
    Launch(String),
    /// The revision was retired, or SnapStart undone, before there was one; or the platform goes down.
    #[error("the template is no longer wanted")]
    Undone,
}

/// How far provisioned environments have come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProvisionedStatus {
    /// Environments that are started (idle or busy).
    pub available: u32,
    /// Environments that are started or being started.
    pub allocated: u32,
    /// Why starting has failed, if it has.
    pub failure: Option<String>,
}
