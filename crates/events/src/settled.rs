//! Where an event goes in the end: the seam for destinations and dead letters.

use ephyra_core::compute::AcceptedEvent;
use ephyra_core::invocation::Outcome;
use ephyra_store::StoreError;
use futures_util::future::BoxFuture;

use crate::decide::Reason;

/// Hears what became of each event.
pub trait Settled: Send + Sync + 'static {
    /// Called before an event leaves the log. It does once this resolves to `Ok`; after an error, or a crash in
    /// between, the event is tried again and this is called again. So make durable what must not be lost, and bear
    /// to hear of the same request twice.
    fn settled<'a>(&'a self, settlement: &'a Settlement) -> BoxFuture<'a, Result<(), StoreError>>;
}

/// An event at its end.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The event.
    pub event: AcceptedEvent,
    /// The function's ARN with the qualifier asked for; `None` when the function is gone.
    pub invoked_arn: Option<String>,
    /// When it was accepted, in milliseconds since 1970.
    pub accepted_ms: i64,
    /// How often the function ran on it, as far as is known.
    pub invocations: u32,
    /// What became of it.
    pub verdict: Verdict,
    /// The answer or failure of the last run, when this attempt reached the function.
    pub outcome: Option<Outcome>,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The function answered.
    Succeeded,
    /// It was given up.
    GivenUp(Reason),
}

/// Logs and counts what is given up, and keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted;

impl Settled for Counted {
    fn settled<'a>(&'a self, settlement: &'a Settlement) -> BoxFuture<'a, Result<(), StoreError>> {
        if let Verdict::GivenUp(reason) = settlement.verdict {
            tracing::warn!(
                request_id = %settlement.event.request_id,
                function = %settlement.event.function,
                reason = reason.as_str(),
                invocations = settlement.invocations,
                "an event was given up"
            );
        }
        Box::pin(std::future::ready(Ok(())))
    }
}
