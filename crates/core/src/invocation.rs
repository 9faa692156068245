//! One call of a function, and what came of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::id::{RequestId, Version};
use crate::revision::Revision;

/// One call of one revision.
#[derive(Debug)]
pub struct Invocation {
    /// Its identifier, the same on all attempts of an accepted event.
    pub request_id: RequestId,
    /// What is called.
    pub revision: Arc<Revision>,
    /// The ARN that the caller named, qualifier included when one was given.
    pub invoked_arn: String,
    /// The event, handed over unread.
    pub payload: Bytes,
    /// The client context: JSON, no longer in base64.
    pub client_context: Option<String>,
    /// The value of `X-Amzn-Trace-Id`.
    pub trace_id: Option<String>,
    /// Whether [`Outcome::log_tail`] is wanted.
    pub wants_log_tail: bool,
    /// Where a streamed answer goes, part by part. `None`: the answer is buffered whole in the outcome.
    /// The channel is bounded and slows the function down; a closed one makes the parts be dropped, and the function ends as usual.
    pub stream: Option<mpsc::Sender<StreamPart>>,
    /// When the platform had the whole request: the start of the queue phase.
    pub received: Instant,
}

/// A part of a streamed answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamPart {
    /// Comes first and once: the content type that the function gave.
    Head {
        /// Such as `application/vnd.awslambda.http-integration-response`.
        content_type: String,
    },
    /// Bytes as the function wrote them.
    Chunk(Bytes),
}

/// What came of an invocation that reached an environment.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The version that ran.
    pub executed_version: Version,
    /// The answer (empty when it was streamed), or the function's failure.
    pub result: Result<Bytes, FunctionError>,
    /// The last 4 KB of what was logged, when it was wanted.
    pub log_tail: Option<Bytes>,
    /// The time and resources it took.
    pub measures: Measures,
}

/// A failure that is the function's own: status 200 with `X-Amz-Function-Error: Unhandled`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionError {
    /// Such as `Runtime.ExitError`, `Sandbox.Timedout`, or the class of the exception.
    pub error_type: String,
    /// The error document, JSON with at least `errorType` and `errorMessage`.
    pub payload: Bytes,
}

/// The time and resources of one invocation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measures {
    /// From the event's delivery to the end of the answer.
    pub duration: Duration,
    /// Duration and initialisation together, rounded up to a millisecond.
    pub billed_ms: u64,
    /// The phases of the start that this invocation waited for or was the first to use; `None` when warm.
    pub cold: Option<ColdStart>,
    /// From [`Invocation::received`] until an environment was at hand.
    pub queued: Duration,
    /// The most memory that the environment has used so far, in bytes.
    pub peak_memory_bytes: u64,
    /// CPU time used between delivery and the answer's end.
    pub cpu: Duration,
    /// Bytes of the event.
    pub bytes_in: u64,
    /// Bytes of the answer.
    pub bytes_out: u64,
}

/// What is billed for a time: whole milliseconds, rounded up.
pub fn billed_ms(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// The phases of starting an environment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ColdStart {
    /// Where the environment came from.
    pub origin: Origin,
    /// Building the sandbox, or assigning one that was built ahead.
    pub environment: Duration,
    /// From the runtime's start until it is about to load the function; 0 when it was booted ahead.
    pub boot: Duration,
    /// Loading the function: what AWS calls init, boot included, is `boot + init`.
    pub init: Duration,
    /// Making a template of SnapStart ready for its first invocation, after-restore hooks included; then the others
    /// are 0, for they were over when the version became usable.
    pub restore: Duration,
}

impl ColdStart {
    /// How long the start took. A template was started long before it is restored.
    pub fn started_in(self) -> Duration {
        self.environment + self.boot + self.init
    }
}

/// Where an environment came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Built and booted when it was wanted.
    #[default]
    Scratch,
    /// From the pool of environments that are built, and perhaps booted, ahead.
    Pool,
    /// Forked from a runtime's zygote.
    Zygote,
    /// A version's template: initialised ahead.
    Template,
}

impl Origin {
    /// As it is logged and counted.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scratch => "scratch",
            Self::Pool => "pool",
            Self::Zygote => "zygote",
            Self::Template => "template",
        }
    }
}

/// Why an invocation did not reach an environment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// A limit is used up: 429 `TooManyRequestsException` with this reason.
    #[error("Rate Exceeded.")]
    Throttled(ThrottleReason),
    /// The platform is going down: 503.
    #[error("the platform is shutting down; send the request again to a running one")]
    Draining,
    /// The runtime is not on this machine: 502 `InvalidRuntimeException`.
    #[error("runtime {runtime} is not on this machine; there are: {present}")]
    RuntimeAbsent {
        /// The runtime asked for.
        runtime: String,
        /// The runtimes that are there, separated by commas.
        present: String,
    },
    /// An environment could not be started, by no fault of the function: 500 `ServiceException`.
    #[error("the execution environment could not be started: {0}")]
    Launch(String),
}

/// `Reason` of a `TooManyRequestsException`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThrottleReason {
    /// The account's concurrency, less what is reserved, is used up.
    ConcurrentInvocationLimitExceeded,
    /// The function's reserved concurrency is used up.
    ReservedFunctionConcurrentInvocationLimitExceeded,
    /// No environment came free within the time that a request may wait: the machine is full.
    CallerRateLimitExceeded,
}

impl ThrottleReason {
    /// As AWS writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConcurrentInvocationLimitExceeded => "ConcurrentInvocationLimitExceeded",
            Self::ReservedFunctionConcurrentInvocationLimitExceeded => {
                "ReservedFunctionConcurrentInvocationLimitExceeded"
            }
            Self::CallerRateLimitExceeded => "CallerRateLimitExceeded",
        }
    }
}
