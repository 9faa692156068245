//! What is counted, for Prometheus.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ephyra_core::id::FunctionName;
use ephyra_core::invocation::{ColdStart, Measures, Origin, ThrottleReason};
use ephyra_core::usage::UsageOutcome;
use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use parking_lot::Mutex;

use crate::scheduler::Scheduler;

/// Functions with series of their own; the others are counted together, so that a scrape stays small.
const FUNCTIONS: usize = 1000;
/// The label of the others; no function can have this name.
const OTHERS: &str = "(other)";

const ORIGINS: [Origin; 4] = [Origin::Scratch, Origin::Pool, Origin::Zygote, Origin::Template];

/// Invocations of one function by outcome.
struct Outcomes {
    success: Counter,
    error: Counter,
    timeout: Counter,
}

pub(crate) struct Meters {
    functions: Mutex<HashMap<FunctionName, Arc<Outcomes>>>,
    others: Arc<Outcomes>,
    throttled_by_account: Counter,
    throttled_by_reservation: Counter,
    throttled_by_machine: Counter,
    duration: Histogram,
    cold_queue: Histogram,
    cold_handler: Histogram,
    cold_environment: Histogram,
    cold_boot: Histogram,
    cold_init: Histogram,
    cold_restore: Histogram,
    origins: [Counter; 4],
    forecasts_right: Counter,
    forecasts_wrong: Counter,
    forecasts_skipped: Counter,
    concurrency: Gauge,
    idle: Gauge,
    busy: Gauge,
    starting: Gauge,
    memory: Gauge,
}

impl Outcomes {
    fn new(function: &str) -> Self {
        let counter = |outcome: &'static str| counter!("ephyra_invocations_total", "function" => function.to_owned(), "outcome" => outcome);
        Self {
            success: counter("success"),
            error: counter("error"),
            timeout: counter("timeout"),
        }
    }
}

impl Meters {
    pub(crate) fn new() -> Self {
        describe_counter!(
            "ephyra_invocations_total",
            "Invocations that reached an environment, by function and outcome"
        );
        describe_counter!("ephyra_throttles_total", "Invocations refused for a limit, by reason");
        describe_histogram!(
            "ephyra_duration_seconds",
            "Time from an event's delivery to the end of its answer"
        );
        describe_histogram!("ephyra_cold_start_seconds", "Time of a cold start, by phase");
        describe_counter!(
            "ephyra_cold_starts_total",
            "Cold starts, by where their environment came from"
        );
        describe_counter!(
            "ephyra_prewarms_total",
            "Environments started for calls that were expected: the call came, did not, or there was no room for one"
        );
        describe_gauge!("ephyra_concurrency", "Invocations that were admitted and are not over");
        describe_gauge!("ephyra_environments", "Environments by state");
        describe_gauge!("ephyra_memory_reserved_bytes", "Memory reserved by environments");
        let throttles = |reason: ThrottleReason| counter!("ephyra_throttles_total", "reason" => reason.as_str());
        let cold = |phase: &'static str| histogram!("ephyra_cold_start_seconds", "phase" => phase);
        let forecasts = |outcome: &'static str| counter!("ephyra_prewarms_total", "outcome" => outcome);
        let environments = |state: &'static str| gauge!("ephyra_environments", "state" => state);
        Self {
            functions: Mutex::new(HashMap::new()),
            others: Arc::new(Outcomes::new(OTHERS)),
            throttled_by_account: throttles(ThrottleReason::ConcurrentInvocationLimitExceeded),
            throttled_by_reservation: throttles(ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded),
            throttled_by_machine: throttles(ThrottleReason::CallerRateLimitExceeded),
            duration: histogram!("ephyra_duration_seconds"),
            cold_queue: cold("queue"),
            cold_handler: cold("first_call"),
            cold_environment: cold("environment"),
            cold_boot: cold("boot"),
            cold_init: cold("init"),
            cold_restore: cold("restore"),
            origins: ORIGINS.map(|origin| counter!("ephyra_cold_starts_total", "origin" => origin.as_str())),
            forecasts_right: forecasts("right"),
            forecasts_wrong: forecasts("wrong"),
            forecasts_skipped: forecasts("skipped"),
            concurrency: gauge!("ephyra_concurrency"),
            idle: environments("idle"),
            busy: environments("busy"),
            starting: environments("starting"),
            memory: gauge!("ephyra_memory_reserved_bytes"),
        }
    }

    /// An invocation ran to its end.
    pub(crate) fn ran(&self, function: &FunctionName, outcome: UsageOutcome, measures: &Measures) {
        let outcomes = self.outcomes(function);
        match outcome {
            UsageOutcome::Success => outcomes.success.increment(1),
            UsageOutcome::Error => outcomes.error.increment(1),
            UsageOutcome::Timeout => outcomes.timeout.increment(1),
        }
        self.duration.record(measures.duration);
        if let Some(cold) = measures.cold {
            self.cold_queue.record(waiting(measures.queued, cold));
            if cold.origin == Origin::Template {
                self.cold_restore.record(cold.restore);
            } else {
                self.cold_environment.record(cold.environment);
                self.cold_boot.record(cold.boot);
                self.cold_init.record(cold.init);
            }
            self.cold_handler.record(measures.duration);
            if let Some(place) = ORIGINS.iter().position(|origin| *origin == cold.origin) {
                self.origins[place].increment(1);
            }
        }
    }

    /// An invocation was refused.
    pub(crate) fn throttled(&self, reason: ThrottleReason) {
        match reason {
            ThrottleReason::ConcurrentInvocationLimitExceeded => &self.throttled_by_account,
            ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded => &self.throttled_by_reservation,
            ThrottleReason::CallerRateLimitExceeded => &self.throttled_by_machine,
        }
        .increment(1);
    }

    /// Shows the scheduler's present state.
    pub(crate) fn publish(&self, scheduler: &Scheduler) {
        let counts = scheduler.counts();
        self.concurrency.set(scheduler.in_flight());
        self.idle.set(counts.idle + counts.parking);
        self.busy.set(counts.busy);
        self.starting.set(counts.starting);
        let forecasts = scheduler.forecasts();
        self.forecasts_right.absolute(forecasts.right);
        self.forecasts_wrong.absolute(forecasts.wrong);
        self.forecasts_skipped.absolute(forecasts.skipped);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a machine has fewer than 2^52 bytes of memory"
        )]
        self.memory.set((scheduler.reserved_mb() * 1_048_576) as f64);
    }

    fn outcomes(&self, function: &FunctionName) -> Arc<Outcomes> {
        let mut functions = self.functions.lock();
        if let Some(outcomes) = functions.get(function) {
            return Arc::clone(outcomes);
        }
        if functions.len() >= FUNCTIONS {
            return Arc::clone(&self.others);
        }
        let outcomes = Arc::new(Outcomes::new(function.as_str()));
        functions.insert(function.clone(), Arc::clone(&outcomes));
        outcomes
    }
}

/// The time that was spent waiting and not starting: the phases of a cold start add up to the whole. An environment
/// that was started for another who waited may have begun before this one came.
pub(crate) fn waiting(queued: Duration, cold: ColdStart) -> Duration {
    queued.saturating_sub(cold.started_in())
}
