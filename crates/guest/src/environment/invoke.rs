//! The INVOKE phase up to the answer: the event goes to the runtime and to the extensions that want it, under the
//! function's time.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ephyra_core::id::RequestId;
use ephyra_core::invocation::{ColdStart, Invocation, Measures, Origin, billed_ms};

use super::{GuestEnvironment, Phase};
use crate::failure::Failure;
use crate::journal::to_time;
use crate::platform::{Cold, Event, Figures, Status};
use crate::protocol::Delivery;
use crate::watch::{Waited, now_ms};

/// What an empty event is delivered as.
const EMPTY_EVENT: Bytes = Bytes::from_static(b"{}");

fn is_template(cold: &ColdStart) -> bool {
    cold.origin == Origin::Template
}

/// How an invocation ended.
pub(super) struct Ended {
    pub(super) request_id: RequestId,
    pub(super) error: Option<Failure>,
    pub(super) is_usable: bool,
}

impl Ended {
    fn status(&self) -> Status<'_> {
        match &self.error {
            None => Status::Success,
            Some(Failure::Timeout) => Status::Timeout,
            Some(failure) if self.is_usable => Status::Failure(failure.error_type()),
            Some(failure) => Status::Error(failure.error_type()),
        }
    }
}

impl GuestEnvironment {
    /// Loads what is not loaded yet, delivers the event and takes the answer, all until the deadline.
    pub(super) async fn attempt(
        &mut self,
        invocation: &Invocation,
        deadline: Instant,
        sent: &mut u64,
    ) -> Result<Bytes, Failure> {
        let deadline_ms = u64::try_from(now_ms()).unwrap_or_default() + u64::from(self.revision.timeout_seconds) * 1000;
        match &self.phase {
            Phase::Ready => {}
            Phase::Failed { failure, .. } => return Err(failure.clone()),
            Phase::Loading(_) => self.load_late(deadline).await?,
        }
        let delivery = Delivery {
            request_id: invocation.request_id,
            deadline_ms,
            invoked_arn: &invocation.invoked_arn,
            client_context: invocation.client_context.as_deref(),
            trace_id: invocation.trace_id.as_deref(),
            payload: if invocation.payload.is_empty() {
                &EMPTY_EVENT
            } else {
                &invocation.payload
            },
            stream: invocation.stream.as_ref(),
        };
        if self.has_extensions {
            self.api.summon(&delivery);
        }
        let (has_extensions, protocol, api) = (self.has_extensions, &mut self.protocol, &self.api);
        let work = async {
            let answer = protocol.converse(&delivery, sent);
            if !has_extensions {
                return Ok(answer.await);
            }
            tokio::select! {
                biased;
                answered = answer => Ok(answered),
                // Never well: this waits for one that gives up.
                Err(fallen) = api.until(|_| false) => Err(fallen),
            }
        };
        let answered = match self.watch.during(Some(deadline), work).await {
            Waited::Done(Ok(answered)) => answered,
            Waited::Done(Err(fallen)) => return Err(self.failure_of_fallen(fallen).await),
            Waited::Exited(exit) => return Err(self.failure_of_exit(exit)),
            Waited::Lost(number, exit) => return Err(self.failure_of_lost(number, exit)),
            Waited::Deadline => return Err(Failure::Timeout),
        };
        match answered {
            Ok(Err(Failure::Reported(document))) => {
                match self.watch.during(Some(deadline), self.protocol.settled()).await {
                    Waited::Done(()) => Err(Failure::Reported(document)),
                    Waited::Exited(_) | Waited::Lost(..) | Waited::Deadline => Err(Failure::Fatal(document)),
                }
            }
            Ok(answered) => answered,
            Err(broken) => Err(self.failure_of(broken).await),
        }
    }

    /// Goes on loading. The time that an invocation waits for it is its own, as on AWS.
    async fn load_late(&mut self, deadline: Instant) -> Result<(), Failure> {
        let cold = self.cold;
        let loaded = self.load(Some(deadline), "invoke").await;
        if let Err(failure) = &loaded {
            let status = match failure {
                Failure::Timeout => Status::Timeout,
                failure => Status::Error(failure.error_type()),
            };
            self.watch.take_output();
            self.log_init_failure("invoke", status);
        }
        self.cold = cold;
        loaded
    }

    /// Completes what is measured of the time until now.
    pub(super) fn measure(&mut self, measures: &mut Measures) {
        // What is provisioned is paid for by the time it stands ready, its initialisation included.
        let start = match self.cold {
            Some(cold) if is_template(&cold) => cold.restore,
            _ if self.purpose.is_paid_by_first_call() => self.init_duration(),
            _ => Duration::ZERO,
        };
        measures.billed_ms = billed_ms(measures.duration + start);
        if let Some(controls) = &self.controls {
            // What it used since the last invocation's end is this one's: in between it is frozen.
            let cpu = controls.cpu_time().unwrap_or(self.cpu_seen);
            measures.cpu += cpu.saturating_sub(self.cpu_seen);
            self.cpu_seen = cpu;
            measures.peak_memory_bytes = controls.peak_memory_bytes().unwrap_or_default();
        }
    }

    /// The lines at the end of the runtime's part.
    pub(super) fn report_runtime(&mut self, ended: &Ended, measures: &Measures) {
        self.log_failure(ended);
        let done = Event::RuntimeDone {
            request_id: ended.request_id,
            duration: measures.duration,
            bytes: measures.bytes_out,
            status: ended.status(),
        };
        self.watch.journal.platform(done, now_ms());
    }

    pub(super) fn log_failure(&mut self, ended: &Ended) {
        let now = now_ms();
        let seconds = self.revision.timeout_seconds;
        let journal = &mut self.watch.journal;
        if let Some(failure) = &ended.error
            && let Some(line) = failure.to_line(ended.request_id, &to_time(now), seconds)
        {
            journal.platform_text(&line, now);
            if !matches!(failure, Failure::Timeout) {
                journal.platform_text(failure.error_type(), now);
            }
        }
    }

    /// The report at an invocation's end; `extensions` is how long they went on behind the answer.
    pub(super) fn report(&mut self, ended: &Ended, measures: &Measures, extensions: Option<Duration>) {
        let figures = Figures {
            duration: measures.duration,
            billed_ms: measures.billed_ms,
            memory_mb: self.revision.memory_mb,
            peak_memory_mb: measures.peak_memory_bytes.div_ceil(1 << 20),
            init: self
                .cold
                .filter(|cold| !is_template(cold))
                .map(|cold| cold.boot + cold.init),
            restore: self.cold.filter(is_template).map(|cold| cold.restore),
            // What was started ahead is nobody's cold start.
            cold: self
                .cold
                .filter(|cold| is_template(cold) || self.purpose.is_paid_by_first_call())
                .map(|start| Cold {
                    queue: measures.queued.saturating_sub(start.started_in()),
                    start,
                }),
            extensions,
        };
        let event = Event::Report {
            request_id: ended.request_id,
            figures,
            status: ended.status(),
        };
        let journal = &mut self.watch.journal;
        journal.platform(event, now_ms());
        journal.flush();
    }
}
