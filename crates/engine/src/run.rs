//! One invocation from admission to its outcome, all of it in the task of its caller.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ephyra_core::environment::{After, Completion, Environment};
use ephyra_core::id::RequestId;
use ephyra_core::invocation::{FunctionError, Invocation, InvokeError, Measures, Outcome, ThrottleReason, billed_ms};
use ephyra_core::revision::Revision;
use ephyra_core::usage::{ColdUsage, UsageOutcome, UsageRecord};
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use crate::engine::{Inner, now};
use crate::lease::Hold;
use crate::meters::waiting;
use crate::rest::Resting;
use crate::scheduler::{Admission, GiveUp, Refusal};

/// How the function error of an invocation that ran out of time is named.
const TIMED_OUT: &str = "Sandbox.Timedout";
/// How long one that would give up, but for which an environment is being started, waits before it asks again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// An environment in the hands of an invocation.
pub(crate) struct Granted {
    pub(crate) environment: Box<dyn Environment>,
    pub(crate) hold: Hold,
    pub(crate) is_cold: bool,
    /// It has waited for its environment.
    pub(crate) has_waited: bool,
}

/// What is known of an invocation besides what its environment measures.
struct Ran {
    request_id: RequestId,
    revision: Arc<Revision>,
    start_ms: i64,
    is_cold: bool,
}

impl Ran {
    /// The environment tells of its start at its first use; whether this invocation paid for it is known here alone.
    fn measures(&self, mut measures: Measures) -> Measures {
        if !self.is_cold && measures.cold.take().is_some() {
            measures.billed_ms = billed_ms(measures.duration);
        }
        measures
    }
}

impl Inner {
    pub(crate) async fn run(self: Arc<Self>, invocation: Invocation) -> Result<Outcome, InvokeError> {
        let revision = Arc::clone(&invocation.revision);
        let request_id = invocation.request_id;
        let granted = self.acquire(&revision).await.inspect_err(|error| {
            if let InvokeError::Throttled(reason) = error {
                self.meters.throttled(*reason);
            }
        })?;
        if granted.has_waited {
            // Others are done with their answers first: events that leave in a row wake another processor once.
            tokio::task::yield_now().await;
        }
        let ran = Ran {
            request_id,
            start_ms: unix_ms(),
            is_cold: granted.is_cold,
            revision,
        };
        let hold = granted.hold;
        let (environment, mut execution) = tokio::select! {
            biased;
            done = granted.environment.invoke(invocation) => done,
            () = self.cut.wait() => return Err(InvokeError::Draining),
        };
        let executed_version = ran.revision.version;
        let measures = ran.measures(execution.measures);
        match execution.after.take() {
            None => {
                hold.give_back(environment, measures.cpu);
                self.account(&ran, &measures, execution.result.as_ref().err());
            }
            Some(After(rest)) => {
                let answered = (measures, execution.result.as_ref().err().cloned());
                self.runtime
                    .spawn(Arc::clone(&self).complete(ran, hold, rest, answered));
            }
        }
        Ok(Outcome {
            executed_version,
            result: execution.result,
            log_tail: execution.log_tail,
            measures,
        })
    }

    /// Waits for what goes on behind an answer. Until then the environment is in use, and nothing is accounted.
    async fn complete(
        self: Arc<Self>,
        ran: Ran,
        hold: Hold,
        rest: BoxFuture<'static, Completion>,
        (measures, error): (Measures, Option<FunctionError>),
    ) {
        let completion = tokio::select! {
            biased;
            completion = rest => completion,
            // What was answered is accounted as far as it came.
            () = self.cut.wait() => return self.account(&ran, &measures, error.as_ref()),
        };
        hold.give_back(completion.environment, completion.measures.cpu);
        let error = error.or(completion.failure);
        self.account(&ran, &ran.measures(completion.measures), error.as_ref());
    }

    /// Writes the usage record and the metrics of an invocation that is over.
    fn account(&self, ran: &Ran, measures: &Measures, error: Option<&FunctionError>) {
        let revision = &ran.revision;
        let outcome = match error {
            None => UsageOutcome::Success,
            Some(error) if error.error_type == TIMED_OUT => UsageOutcome::Timeout,
            Some(_) => UsageOutcome::Error,
        };
        self.usage.record(&UsageRecord {
            request_id: ran.request_id,
            function: revision.function.clone(),
            version: revision.version,
            start_ms: ran.start_ms,
            duration_ms: measures.duration.as_secs_f64() * 1000.0,
            billed_ms: measures.billed_ms,
            memory_mb: revision.memory_mb,
            ephemeral_storage_mb: revision.ephemeral_storage_mb,
            peak_memory_bytes: measures.peak_memory_bytes,
            cpu_us: micros(measures.cpu),
            bytes_in: measures.bytes_in,
            bytes_out: measures.bytes_out,
            cold: measures.cold.map(|cold| ColdUsage {
                queue_us: micros(waiting(measures.queued, cold)),
                environment_us: micros(cold.environment),
                boot_us: micros(cold.boot),
                init_us: micros(cold.init),
                restore_us: micros(cold.restore),
                origin: cold.origin,
            }),
            outcome,
        });
        self.meters.ran(&revision.function, outcome, measures);
    }

    /// An environment that was idle, or the first that is freed or started.
    async fn acquire(self: &Arc<Self>, revision: &Arc<Revision>) -> Result<Granted, InvokeError> {
        let mut waits = None;
        let granted = self.update(|state, effects| {
            match state.scheduler.request(revision, now(), effects).map_err(refused)? {
                Admission::Run(lease) => {
                    let hold = Hold::new(Arc::clone(self), lease.slot);
                    Ok(Some((hold, state.rest.remove(&lease.slot), lease.cold)))
                }
                Admission::Wait(ticket) => {
                    let (sender, receiver) = oneshot::channel();
                    state.waiting.insert(ticket, sender);
                    waits = Some((ticket, receiver));
                    Ok(None)
                }
            }
        })?;
        if let Some((hold, resting, is_cold)) = granted {
            let environment = resting
                .and_then(Resting::take)
                .ok_or_else(|| InvokeError::Launch("the environment was lost".to_owned()))?;
            return Ok(Granted {
                environment,
                hold,
                is_cold,
                has_waited: false,
            });
        }
        let Some((ticket, mut answer)) = waits else {
            return Err(InvokeError::Draining);
        };
        let mut timeout = self.options.queue_timeout;
        loop {
            match tokio::time::timeout(timeout, &mut answer).await {
                Ok(Ok(answer)) => return answer,
                // The runtime goes down.
                Ok(Err(_)) => return Err(InvokeError::Draining),
                Err(_) => {
                    let given_up = self.update(|state, effects| {
                        let given_up = state.scheduler.give_up(ticket, revision.id, now(), effects);
                        if given_up == GiveUp::Gone {
                            state.waiting.remove(&ticket);
                        }
                        given_up
                    });
                    if given_up == GiveUp::Gone {
                        return Err(InvokeError::Throttled(ThrottleReason::CallerRateLimitExceeded));
                    }
                    timeout = ASK_AGAIN;
                }
            }
        }
    }
}

fn refused(refusal: Refusal) -> InvokeError {
    match refusal {
        Refusal::Draining => InvokeError::Draining,
        Refusal::Throttled(reason) => InvokeError::Throttled(reason),
        Refusal::TooLarge { needs_mb, limit_mb } => InvokeError::Launch(format!(
            "the function needs {needs_mb} MB, and this machine gives {limit_mb} MB to all environments together"
        )),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn unix_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
