//! One attempt at one event, from its lease to its place afterwards.

use std::time::{Duration, Instant};

use ephyra_core::compute::{AcceptedEvent, EventConfig, ResolveError, Resolved};
use ephyra_core::invocation::{Invocation, InvokeError, Outcome, ThrottleReason};
use ephyra_core::limits::{EVENT_AGE_SECONDS, EVENT_RETRIES};
use ephyra_store::{Leased, StoreError};

use crate::decide::{self, Attempt, History, Next};
use crate::envelope::Envelope;
use crate::worker::{Room, TOPIC, Worker};
use crate::{Settlement, Verdict};

/// The wait before an event that cannot be read is looked at again; a newer program may have written it.
const UNREADABLE_RETRY: Duration = Duration::from_secs(3600);

/// An attempt and what is known after it.
struct Trial {
    attempt: Attempt,
    room: Room,
    config: EventConfig,
    invoked_arn: Option<String>,
    outcome: Option<Outcome>,
}

impl Trial {
    /// An attempt that came to no end in a function whose name could not be resolved.
    fn unresolved(attempt: Attempt) -> Self {
        Self {
            attempt,
            room: Room::Unknown,
            config: EventConfig {
                max_retries: EVENT_RETRIES,
                max_age_seconds: *EVENT_AGE_SECONDS.end(),
            },
            invoked_arn: None,
            outcome: None,
        }
    }
}

impl Worker {
    /// Tries an event and puts it where it belongs then. What the store refuses is logged: the event is still
    /// there, and comes again when its lease ends.
    pub(crate) async fn handle(&self, leased: Leased) -> Room {
        let id = leased.id;
        let result = match Envelope::decode(&leased.value) {
            Ok(envelope) => self.try_once(leased, envelope).await,
            Err(error) => {
                tracing::error!(id, %error, cause = ?std::error::Error::source(&error), "an accepted event is unreadable; it is kept");
                let kept = self.log.postpone(TOPIC, id, None, UNREADABLE_RETRY).await;
                kept.map(|()| Room::Unknown)
            }
        };
        result.unwrap_or_else(|error| {
            tracing::error!(id, %error, cause = ?std::error::Error::source(&error), "the state of an event could not be written");
            Room::Unknown
        })
    }

    async fn try_once(&self, leased: Leased, envelope: Envelope) -> Result<Room, StoreError> {
        let waited_ms = self.clock.now_ms().saturating_sub(leased.appended_ms);
        let mut history = History {
            failures: envelope.failures,
            refusals: leased.deliveries.saturating_sub(1).saturating_sub(envelope.failures),
            age: Duration::from_millis(u64::try_from(waited_ms).unwrap_or(0)),
        };
        let Some(trial) = self.run_once(&envelope.event, history.age).await else {
            // The platform stops. The lease stays, and the next start ends it at once.
            return Ok(Room::Unknown);
        };
        let waited_ms = self.clock.now_ms().saturating_sub(leased.appended_ms);
        history.age = Duration::from_millis(u64::try_from(waited_ms).unwrap_or(0));
        let room = trial.room;
        let verdict = match decide::next(trial.attempt, history, trial.config, &self.options) {
            Next::Done => Verdict::Succeeded,
            Next::GiveUp(reason) => Verdict::GivenUp(reason),
            Next::RetryAfter(wait) => {
                metrics::counter!("ephyra_events_retried_total").increment(1);
                self.put_back(leased.id, envelope, trial.attempt, wait).await?;
                return Ok(room);
            }
        };
        let settlement = Settlement {
            invocations: envelope.failures + u32::from(trial.outcome.is_some()),
            event: envelope.event,
            invoked_arn: trial.invoked_arn,
            accepted_ms: leased.appended_ms,
            verdict,
            outcome: trial.outcome,
        };
        self.settle(leased.id, &settlement).await?;
        Ok(room)
    }

    /// Resolves the event's function and runs it; `None` when the platform is going down.
    async fn run_once(&self, event: &AcceptedEvent, age: Duration) -> Option<Trial> {
        let resolved = match self.resolve.resolve(&event.function, event.qualifier.as_ref()).await {
            Ok(resolved) => resolved,
            Err(error) => return Some(Trial::unresolved(without_function(&error, event))),
        };
        let Resolved {
            revision,
            invoked_arn,
            events: config,
        } = resolved;
        let mut trial = Trial {
            attempt: Attempt::TooOld,
            room: Room::Unknown,
            config,
            invoked_arn: Some(invoked_arn.clone()),
            outcome: None,
        };
        if decide::is_expired(age, config) {
            return Some(trial);
        }
        let invocation = Invocation {
            request_id: event.request_id,
            revision,
            invoked_arn,
            payload: event.payload.clone(),
            client_context: event.client_context.clone(),
            trace_id: event.trace_id.clone(),
            wants_log_tail: false,
            stream: None,
            received: Instant::now(),
        };
        match self.invoke.invoke(invocation).await {
            Ok(outcome) => {
                let is_success = outcome.result.is_ok();
                trial.attempt = if is_success {
                    Attempt::Succeeded
                } else {
                    Attempt::Failed
                };
                trial.room = Room::Found;
                trial.outcome = Some(outcome);
            }
            Err(InvokeError::Draining) => return None,
            Err(error) => (trial.attempt, trial.room) = self.refusal(&error, event).await,
        }
        Some(trial)
    }

    /// What a refusal means for the event, and for those beside it.
    async fn refusal(&self, error: &InvokeError, event: &AcceptedEvent) -> (Attempt, Room) {
        tracing::debug!(request_id = %event.request_id, function = %event.function, %error, "an event has to wait");
        match error {
            InvokeError::Throttled(ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded) => {
                // Others are not held up by a limit that is this function's own.
                let is_stopped = self.resolve.is_stopped(&event.function).await.unwrap_or(false);
                (
                    if is_stopped { Attempt::Stopped } else { Attempt::Refused },
                    Room::Unknown,
                )
            }
            InvokeError::Throttled(_) | InvokeError::Launch(_) => (Attempt::Refused, Room::Full),
            InvokeError::Draining | InvokeError::RuntimeAbsent { .. } => (Attempt::Refused, Room::Unknown),
        }
    }

    /// Puts an event back for another attempt. Only a function error changes what is written of it.
    async fn put_back(&self, id: u64, envelope: Envelope, attempt: Attempt, wait: Duration) -> Result<(), StoreError> {
        let mut value = None;
        if attempt == Attempt::Failed {
            let failures = envelope.failures.saturating_add(1);
            let envelope = Envelope { failures, ..envelope };
            value = Some(envelope.encode().map_err(|error| StoreError::Backend {
                operation: "writing an event's header".to_owned(),
                source: error.into(),
            })?);
        }
        self.log.postpone(TOPIC, id, value, wait).await
    }

    /// Tells the hook and then removes the event.
    async fn settle(&self, id: u64, settlement: &Settlement) -> Result<(), StoreError> {
        if let Err(error) = self.settled.settled(settlement).await {
            tracing::error!(
                request_id = %settlement.event.request_id,
                %error,
                cause = ?std::error::Error::source(&error),
                "what became of an event could not be handed on; it is tried again"
            );
            return self.log.postpone(TOPIC, id, None, self.options.backoff_max).await;
        }
        self.log.acknowledge(TOPIC, id).await?;
        match settlement.verdict {
            Verdict::Succeeded => metrics::counter!("ephyra_events_succeeded_total").increment(1),
            Verdict::GivenUp(reason) => {
                metrics::counter!("ephyra_events_dropped_total", "reason" => reason.as_str()).increment(1);
            }
        }
        Ok(())
    }
}

/// What a name that could not be resolved means for the event.
fn without_function(error: &ResolveError, event: &AcceptedEvent) -> Attempt {
    match error {
        ResolveError::NotFound(_) => Attempt::Gone,
        ResolveError::NotReady { retry: true, .. } => Attempt::Refused,
        ResolveError::NotReady { retry: false, .. } => Attempt::Unfit,
        ResolveError::Store(cause) => {
            tracing::error!(function = %event.function, %error, %cause, "an event has to wait");
            Attempt::Refused
        }
    }
}
