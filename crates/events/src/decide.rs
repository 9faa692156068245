//! What happens to an event after an attempt: a pure function.
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html>.

use std::time::Duration;

use ephyra_core::compute::EventConfig;

use crate::EventsOptions;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The function answered.
    Succeeded,
    /// The function failed.
    Failed,
    /// A throttle or a failure of the platform: the function did not run.
    Refused,
    /// The function may not run for now: its reserved concurrency is 0.
    Stopped,
    /// The function, version or alias is gone.
    Gone,
    /// The function cannot run, and waiting does not help.
    Unfit,
    /// It was not tried, for it was too old already.
    TooOld,
}

/// What came before this attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Function errors before this attempt.
    pub failures: u32,
    /// Refusals before this attempt; one that a crash cut short counts among them.
    pub refusals: u32,
    /// The time since the event was accepted.
    pub age: Duration,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Remove it: it succeeded.
    Done,
    /// Try again after this time.
    RetryAfter(Duration),
    /// Remove it: it will not succeed.
    GiveUp(Reason),
}

/// Why an event was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The function failed as often as it may.
    RetriesExhausted,
    /// It would be older than it may be.
    EventAgeExceeded,
    /// The function's reserved concurrency is 0.
    FunctionStopped,
    /// The function, version or alias is gone.
    FunctionGone,
    /// The function cannot run, and waiting does not help.
    FunctionUnfit,
}

impl Reason {
    /// The reason as a metric's label and, where AWS has a word for it, as AWS writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RetriesExhausted => "RetriesExhausted",
            Self::EventAgeExceeded => "EventAgeExceeded",
            Self::FunctionStopped => "FunctionStopped",
            Self::FunctionGone => "FunctionGone",
            Self::FunctionUnfit => "FunctionUnfit",
        }
    }
}

/// Whether an event is too old to be tried at all.
pub fn is_expired(age: Duration, config: EventConfig) -> bool {
    age > max_age(config)
}

/// What to do after `attempt`. Waits that would end beyond the event's age are not begun.
pub fn next(attempt: Attempt, history: History, config: EventConfig, options: &EventsOptions) -> Next {
    let wait = match attempt {
        Attempt::Succeeded => return Next::Done,
        Attempt::Stopped => return Next::GiveUp(Reason::FunctionStopped),
        Attempt::Gone => return Next::GiveUp(Reason::FunctionGone),
        Attempt::Unfit => return Next::GiveUp(Reason::FunctionUnfit),
        Attempt::TooOld => return Next::GiveUp(Reason::EventAgeExceeded),
        Attempt::Failed if history.failures >= config.max_retries => {
            return Next::GiveUp(Reason::RetriesExhausted);
        }
        Attempt::Failed => doubled(options.retry_base, history.failures),
        Attempt::Refused => doubled(options.backoff_base, history.refusals).min(options.backoff_max),
    };
    if history.age.saturating_add(wait) > max_age(config) {
        Next::GiveUp(Reason::EventAgeExceeded)
    } else {
        Next::RetryAfter(wait)
    }
}

fn max_age(config: EventConfig) -> Duration {
    Duration::from_secs(config.max_age_seconds.into())
}

fn doubled(base: Duration, times: u32) -> Duration {
    base.saturating_mul(2_u32.saturating_pow(times))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DEFAULT: EventConfig = EventConfig {
        max_retries: 2,
        max_age_seconds: 21_600,
    };

    #[track_caller]
    fn check(attempt: Attempt, failures: u32, refusals: u32, age_seconds: u64, want: Next) {
        let age = Duration::from_secs(age_seconds);
        let history = History {
            failures,
            refusals,
            age,
        };
        assert_eq!(next(attempt, history, DEFAULT, &EventsOptions::default()), want);
    }

    fn after(seconds: u64) -> Next {
        Next::RetryAfter(Duration::from_secs(seconds))
    }

    #[test]
    fn function_errors_are_retried_after_one_minute_and_after_two() {
        check(Attempt::Failed, 0, 0, 1, after(60));
        check(Attempt::Failed, 1, 9, 62, after(120));
        check(Attempt::Failed, 2, 0, 190, Next::GiveUp(Reason::RetriesExhausted));
    }

    #[test]
    fn refusals_back_off_until_the_event_is_too_old() {
        for (refusals, seconds) in [(0, 1), (1, 2), (8, 256), (9, 300), (90, 300)] {
            check(Attempt::Refused, 1, refusals, 60, after(seconds));
        }
        check(Attempt::Refused, 0, 90, 21_300, after(300));
        check(Attempt::Refused, 0, 90, 21_301, Next::GiveUp(Reason::EventAgeExceeded));
    }

    #[test]
    fn what_cannot_run_is_given_up_at_once() {
        check(Attempt::Stopped, 0, 0, 0, Next::GiveUp(Reason::FunctionStopped));
        check(Attempt::Gone, 0, 0, 0, Next::GiveUp(Reason::FunctionGone));
        check(Attempt::Unfit, 0, 0, 0, Next::GiveUp(Reason::FunctionUnfit));
        check(Attempt::TooOld, 0, 0, 0, Next::GiveUp(Reason::EventAgeExceeded));
    }

    fn outcome() -> impl Strategy<Value = Attempt> {
        prop_oneof![Just(Attempt::Failed), Just(Attempt::Refused)]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_event_comes_to_an_end(
            outcomes in proptest::collection::vec(outcome(), 1..40),
            max_retries in 0_u32..=2,
            max_age_seconds in 60_u32..=21_600,
        ) {
            let config = EventConfig { max_retries, max_age_seconds };
            let mut history = History::default();
            let mut steps = 0;
            for attempt in outcomes.into_iter().cycle() {
                steps += 1;
                prop_assert!(steps < 200, "it goes on for ever");
                match next(attempt, history, config, &EventsOptions::default()) {
                    Next::Done => prop_assert!(false, "neither outcome is a success"),
                    Next::RetryAfter(wait) => {
                        prop_assert!(wait >= Duration::from_secs(1));
                        history.age += wait;
                        prop_assert!(!is_expired(history.age, config));
                        match attempt {
                            Attempt::Failed => history.failures += 1,
                            _ => history.refusals += 1,
                        }
                    }
                    Next::GiveUp(reason) => {
                        prop_assert!(history.failures <= max_retries);
                        let by_count = attempt == Attempt::Failed && history.failures == max_retries;
                        let want = if by_count { Reason::RetriesExhausted } else { Reason::EventAgeExceeded };
                        prop_assert_eq!(reason, want);
                        break;
                    }
                }
            }
        }
    }
}
