//! Where functions run, as the scheduler sees it.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::invocation::{FunctionError, Invocation, Measures};
use crate::revision::Revision;

/// Why an environment is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// An invocation waits for it, and pays for its initialisation.
    OnDemand,
    /// It is started ahead of a call that is expected; nobody pays for its initialisation.
    Prewarmed,
    /// It is provisioned: started ahead, its initialisation part of what that costs.
    Provisioned,
    /// It is kept initialised as the template of a version with SnapStart, and restored by its first invocation.
    SnapStart,
}

impl Purpose {
    /// As AWS writes it in `AWS_LAMBDA_INITIALIZATION_TYPE`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OnDemand | Self::Prewarmed => "on-demand",
            Self::Provisioned => "provisioned-concurrency",
            Self::SnapStart => "snap-start",
        }
    }

    /// Whether the first invocation pays for the initialisation.
    pub const fn is_paid_by_first_call(self) -> bool {
        matches!(self, Self::OnDemand)
    }
}

/// Starts environments.
pub trait Launcher: Send + Sync + 'static {
    /// Starts an environment for `revision` and initialises it. An initialisation that failed by the function's own
    /// fault yields an environment that answers its one invocation with that failure ([`Environment::init_error`]).
    fn launch(
        &self,
        revision: Arc<Revision>,
        purpose: Purpose,
    ) -> BoxFuture<'static, Result<Box<dyn Environment>, LaunchError>>;

    /// Starts one here and now, where that takes no waiting: microseconds. `None`: [launch](Launcher::launch) it.
    fn at_once(&self, _revision: &Arc<Revision>, _purpose: Purpose) -> Option<Box<dyn Environment>> {
        None
    }
}

/// A started environment. Dropping it ends it: its processes die and everything it held is given back.
pub trait Environment: Send + 'static {
    /// Runs one invocation to its end, deadline included. The environment comes back when it can be used again; while
    /// something of the invocation goes on behind the answer it comes out of [`Execution::after`] instead.
    fn invoke(self: Box<Self>, invocation: Invocation)
    -> BoxFuture<'static, (Option<Box<dyn Environment>>, Execution)>;

    /// Why initialisation failed, if it did.
    fn init_error(&self) -> Option<&FunctionError>;

    /// Stops all its processes from running; free of effect when frozen.
    fn freeze(&mut self);

    /// Lets them run again. [`Environment::invoke`] does so by itself.
    fn thaw(&mut self);

    /// Resolves when the environment has died by itself (its runtime exited while idle).
    fn died(&mut self) -> BoxFuture<'_, ()>;

    /// Ends it; resolves when nothing of it is left and its memory is free.
    fn end(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// What one invocation left.
#[derive(Debug)]
pub struct Execution {
    /// The answer (empty when it was streamed), or the function's failure.
    pub result: Result<bytes::Bytes, FunctionError>,
    /// The last 4 KB of what was logged, when it was wanted.
    pub log_tail: Option<bytes::Bytes>,
    /// Time and resources, as they are accounted and reported.
    pub measures: Measures,
    /// What goes on behind the answer: extensions that finish, or that are told of the environment's end.
    pub after: Option<After>,
}

/// The rest of an invocation that is already answered, bounded in time. Dropped, it ends the environment.
pub struct After(pub BoxFuture<'static, Completion>);

impl std::fmt::Debug for After {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("After")
    }
}

/// How an invocation ended whose answer was given before.
pub struct Completion {
    /// The environment, when it can be used again.
    pub environment: Option<Box<dyn Environment>>,
    /// The measures of the whole invocation: these are billed.
    pub measures: Measures,
    /// What failed after the answer; the caller never hears of it.
    pub failure: Option<FunctionError>,
}

/// Why an environment could not be started, by no fault of the function.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LaunchError {
    /// The runtime is not on this machine.
    #[error("runtime {runtime} is not on this machine; there are: {present}")]
    RuntimeAbsent {
        /// The runtime asked for.
        runtime: String,
        /// The runtimes that are there, separated by commas.
        present: String,
    },
    /// A step of building the environment failed.
    #[error("{0}")]
    Sandbox(String),
}
