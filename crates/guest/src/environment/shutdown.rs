//! The SHUTDOWN phase: the runtime gets SIGTERM and some time, then external extensions get their event and the rest.
//! Without extensions there is no such phase: everything is killed at once.
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html#runtimes-lifecycle-shutdown>.

use std::time::{Duration, Instant};

use ephyra_core::environment::Environment;

use super::{END_LIMIT, GuestEnvironment};
use crate::api::extensions::Stage;
use crate::failure::Failure;
use crate::watch::now_ms;

/// All of the phase with internal extensions alone, and with external ones.
const WITH_INTERNAL: Duration = Duration::from_millis(500);
const WITH_EXTERNAL: Duration = Duration::from_millis(2000);
/// The runtime's share of it, unless it has internal extensions.
const OF_RUNTIME: Duration = Duration::from_millis(300);

/// Why an environment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Spindown,
    Timeout,
    Failure,
}

impl Reason {
    pub(super) const fn of(failure: &Failure) -> Self {
        match failure {
            Failure::Timeout => Self::Timeout,
            _ => Self::Failure,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Spindown => "SPINDOWN",
            Self::Timeout => "TIMEOUT",
            Self::Failure => "FAILURE",
        }
    }
}

/// How long each part may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    runtime: Duration,
    all: Duration,
}

impl Times {
    /// `None`: everything ends at once.
    const fn of(has_external: bool, has_internal: bool) -> Option<Self> {
        match (has_external, has_internal) {
            (false, false) => None,
            (false, true) => Some(Self {
                runtime: WITH_INTERNAL,
                all: WITH_INTERNAL,
            }),
            (true, false) => Some(Self {
                runtime: OF_RUNTIME,
                all: WITH_EXTERNAL,
            }),
            (true, true) => Some(Self {
                runtime: WITH_INTERNAL,
                all: WITH_EXTERNAL,
            }),
        }
    }
}

impl GuestEnvironment {
    /// Ends the environment; resolves when nothing of it is left.
    pub(super) async fn shut_down(mut self: Box<Self>, reason: Reason) {
        self.say_farewell(reason).await;
        self.watch.take_output();
        self.watch.journal.flush();
        self.api.close();
        if let Some(controls) = self.controls.take() {
            controls.end().await;
        }
    }

    async fn say_farewell(&mut self, reason: Reason) {
        let (has_external, has_internal) = {
            let extensions = self.api.extensions();
            (
                extensions
                    .iter()
                    .any(|one| one.is_external && one.stage != Stage::LaunchError),
                extensions.iter().any(|one| !one.is_external),
            )
        };
        let Some(times) = Times::of(has_external, has_internal).filter(|_| self.controls.is_some()) else {
            return;
        };
        self.thaw();
        self.watch.renew();
        if let Some(hub) = self.watch.journal.hub() {
            hub.hurry();
        }
        let start = Instant::now();
        self.end_runtime(start + times.runtime).await;
        if has_external {
            self.end_extensions(start + times.all, reason).await;
        }
    }

    async fn end_runtime(&mut self, deadline: Instant) {
        let line = self.watch.supervisor.line();
        if self.watch.supervisor.runtime().is_some() || line.terminate().is_err() {
            return;
        }
        let has_ended = self
            .watch
            .until(deadline, |supervisor| supervisor.runtime().is_some())
            .await;
        if !has_ended && let Err(error) = line.kill() {
            tracing::debug!(%error, "a runtime could not be killed alone; it is with all the others");
        }
    }

    /// Waits for those who have asked to be told.
    async fn end_extensions(&mut self, deadline: Instant, reason: Reason) {
        let left = deadline.saturating_duration_since(Instant::now());
        let deadline_ms = u64::try_from(now_ms()).unwrap_or_default() + u64::try_from(left.as_millis()).unwrap_or(0);
        self.api.dismiss(reason.as_str(), deadline_ms);
        let awaited: Vec<u8> = {
            let extensions = self.api.extensions();
            let is_told = |name: &str| {
                extensions
                    .iter()
                    .any(|one| one.is_external && one.name == name && one.is_told_of_shutdown())
            };
            (0..=u8::MAX)
                .zip(&self.externals)
                .filter_map(|(number, external)| is_told(&external.name).then_some(number))
                .collect()
        };
        self.watch
            .until(deadline, |supervisor| {
                let has_ended = |number: &u8| supervisor.extensions().iter().any(|(ended, _)| ended == number);
                supervisor.has_vanished() || awaited.iter().all(has_ended)
            })
            .await;
    }

    /// Ends everything at once; an answer waits for it, though not for ever.
    pub(super) async fn end_controls(&mut self) {
        self.api.close();
        if let Some(controls) = self.controls.take() {
            // The end goes on by itself when it takes longer.
            let ending = tokio::spawn(controls.end());
            if tokio::time::timeout(END_LIMIT, ending).await.is_err() {
                tracing::warn!(function = %self.revision.function, "an environment takes long to end");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_awss() {
        let ms = |times: Times| (times.runtime.as_millis(), times.all.as_millis());
        assert_eq!(Times::of(false, false), None);
        assert_eq!(Times::of(false, true).map(ms), Some((500, 500)));
        assert_eq!(Times::of(true, false).map(ms), Some((300, 2000)));
        assert_eq!(Times::of(true, true).map(ms), Some((500, 2000)));
    }
}
