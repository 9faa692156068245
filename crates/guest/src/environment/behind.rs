//! What goes on behind an answer: extensions that finish their part of the invocation, or that are told of the end.
//! The environment is not free, and its memory not given back, until that is over.

use std::time::Instant;

use bytes::Bytes;
use ephyra_core::environment::{After, Completion, Environment, Execution};
use ephyra_core::invocation::Measures;

use super::GuestEnvironment;
use super::invoke::Ended;
use super::shutdown::Reason;
use crate::failure::Failure;
use crate::watch::Waited;

/// An invocation that is answered but not over.
pub(super) struct Behind {
    pub(super) ended: Ended,
    pub(super) measures: Measures,
    pub(super) delivered: Instant,
    pub(super) deadline: Instant,
}

impl GuestEnvironment {
    /// Gives the answer and leaves the rest to [`Execution::after`]. When the log's tail is wanted, the answer waits for
    /// the report, which belongs into it.
    pub(super) async fn answer_before(
        mut self: Box<Self>,
        mut behind: Behind,
        result: Result<Bytes, Failure>,
        wants_tail: bool,
    ) -> (Option<Box<dyn Environment>>, Execution) {
        let seconds = self.revision.timeout_seconds;
        let request_id = behind.ended.request_id;
        let mut execution = Execution {
            result: result.map_err(|failure| failure.to_error(Some(request_id), seconds)),
            log_tail: None,
            measures: behind.measures,
            after: None,
        };
        if behind.ended.is_usable && !wants_tail {
            self.watch.journal.flush();
            execution.after = Some(After(Box::pin(self.go_on(behind))));
            return (None, execution);
        }
        let failure = if behind.ended.is_usable {
            self.finish(&mut behind).await
        } else {
            self.report(&behind.ended, &behind.measures, None);
            behind.ended.error.clone()
        };
        execution.log_tail = self.watch.journal.take_tail();
        execution.measures = behind.measures;
        self.cold = None;
        let Some(failure) = failure.filter(|_| !behind.ended.is_usable) else {
            return (Some(self), execution);
        };
        let reason = Reason::of(&failure);
        execution.after = Some(After(Box::pin(async move {
            self.shut_down(reason).await;
            Completion {
                environment: None,
                measures: behind.measures,
                failure: None,
            }
        })));
        (None, execution)
    }

    async fn go_on(mut self: Box<Self>, mut behind: Behind) -> Completion {
        let seconds = self.revision.timeout_seconds;
        let failure = self.finish(&mut behind).await;
        self.cold = None;
        // It is of no use to anybody.
        drop(self.watch.journal.take_tail());
        let (environment, failure) = match failure {
            None => (Some(self as Box<dyn Environment>), None),
            Some(failure) => {
                let error = failure.to_error(Some(behind.ended.request_id), seconds);
                self.shut_down(Reason::of(&failure)).await;
                (None, Some(error))
            }
        };
        Completion {
            environment,
            measures: behind.measures,
            failure,
        }
    }

    /// Waits, under the function's time, until the runtime and all extensions are done, and reports. A failure here
    /// makes the environment unusable.
    async fn finish(&mut self, behind: &mut Behind) -> Option<Failure> {
        let begun = Instant::now();
        let has_answered = behind.ended.error.is_none();
        let (protocol, api) = (&mut self.protocol, &self.api);
        let work = async {
            // One that has told a failure was waited for.
            if has_answered {
                protocol.settled().await;
            }
            api.until(|extensions| extensions.are_idle()).await
        };
        let failure = match self.watch.during(Some(behind.deadline), work).await {
            Waited::Done(Ok(())) => None,
            Waited::Done(Err(fallen)) => Some(self.failure_of_fallen(fallen).await),
            Waited::Exited(exit) => Some(self.failure_of_exit(exit)),
            Waited::Lost(number, exit) => Some(self.failure_of_lost(number, exit)),
            Waited::Deadline => Some(Failure::Timeout),
        };
        self.watch.take_output();
        behind.measures.duration = behind.delivered.elapsed();
        self.measure(&mut behind.measures);
        if failure.is_some() {
            behind.ended.error.clone_from(&failure);
            behind.ended.is_usable = false;
            self.log_failure(&behind.ended);
        }
        self.report(&behind.ended, &behind.measures, Some(begun.elapsed()));
        failure
    }
}
