//! Templates of versions with SnapStart: loaded long before, and made ready for their first invocation when it comes.
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks.html>.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ephyra_core::invocation::{ColdStart, Origin};

use super::{GuestEnvironment, Phase};
use crate::failure::Failure;
use crate::frame::Document;
use crate::platform::{Event, Status};
use crate::runtime::RuntimeKind;
use crate::watch::{Waited, now_ms};

/// How long the hooks that a function has registered for this may run.
const LIMIT: Duration = Duration::from_secs(10);
/// As AWS names what goes beyond.
const TIMEOUT: &str = "SnapStartTimeoutException";

/// What is logged about a restoring.
pub(super) struct Restoring {
    pub(super) runtime_version: String,
    pub(super) runtime_arn: String,
}

impl GuestEnvironment {
    /// Makes a template ready for its first invocation; does nothing for others, and at later ones. After a failure
    /// the environment is not to be used.
    pub(super) async fn restore_once(&mut self) -> Result<(), Failure> {
        let Some(restoring) = self.restoring.take() else {
            return Ok(());
        };
        if !matches!(self.phase, Phase::Ready) {
            return Ok(());
        }
        let began = Instant::now();
        super::Environment::thaw(self);
        self.watch.renew();
        let start = Event::RestoreStart {
            runtime: &restoring.runtime_version,
            runtime_arn: &restoring.runtime_arn,
            function: self.revision.function.as_str(),
            version: self.revision.version,
        };
        self.watch.journal.platform(start, now_ms());
        let restored = self.restore(began + LIMIT).await;
        let duration = began.elapsed();
        self.cold = Some(ColdStart {
            origin: Origin::Template,
            restore: duration,
            ..ColdStart::default()
        });
        self.watch.take_output();
        let status = match &restored {
            Ok(()) => Status::Success,
            Err(failure) if failure.error_type() == TIMEOUT => Status::Timeout,
            Err(failure) => Status::Error(failure.error_type()),
        };
        self.watch
            .journal
            .platform(Event::RestoreDone { duration, status }, now_ms());
        restored
    }

    async fn restore(&mut self, deadline: Instant) -> Result<(), Failure> {
        if self.runtime.kind == RuntimeKind::Node {
            // Node has no hooks, on AWS neither: letting it run again is all.
            return Ok(());
        }
        match self.watch.during(Some(deadline), self.protocol.restore()).await {
            Waited::Done(Ok(Ok(()))) => Ok(()),
            Waited::Done(Ok(Err(document))) => Err(Failure::Fatal(document)),
            Waited::Done(Err(broken)) => Err(self.failure_of(broken).await),
            Waited::Exited(exit) => Err(self.failure_of_exit(exit)),
            Waited::Lost(number, exit) => Err(self.failure_of_lost(number, exit)),
            Waited::Deadline => Err(Failure::Fatal(Document {
                error_type: TIMEOUT.to_owned(),
                json: Bytes::from_static(
                    br#"{"errorType":"SnapStartTimeoutException","errorMessage":"The afterRestore() runtime hook timed out"}"#,
                ),
            })),
        }
    }
}
