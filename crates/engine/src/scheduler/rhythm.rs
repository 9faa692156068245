//! How one function's calls follow each other, and what that says of how long its environment is to be kept.
//!
//! The hybrid policy of Shahrad et al., "Serverless in the Wild" (ATC 2020): a histogram of the times for which the
//! function was idle, a minute a bin. What nearly all calls have in common, the time before the 5th percentile, needs
//! no environment; after the 99th nobody comes any more. A function whose histogram says little gets the fixed
//! keep-alive. Three things differ: a window in which nobody comes is only left empty when it is long enough to be worth
//! a start; an environment is kept for those who may still come only as long as they are worth it, a cold start against
//! so many minutes of waiting; and of functions that pause for longer than the histogram's range nothing is forecast.
//!
//! Pure, and of bounded size: a function that was never idle for a minute is two numbers.

use std::time::{Duration, Instant};

/// The width of a bin.
const BIN: Duration = Duration::from_secs(60);
/// Bins: four hours.
const BINS: usize = 240;
/// A histogram of fewer idle times says nothing.
const LEAST_SAMPLES: u32 = 6;
/// How uneven the bins have to be before a histogram is trusted: the coefficient of variation of their counts. Times
/// all over the range have about 0, and those in a single bin the root of the number of bins.
const LEAST_UNEVENNESS: f64 = 2.0;
/// Percentiles between which calls are expected.
const HEAD_PERCENT: u32 = 5;
const TAIL_PERCENT: u32 = 99;
/// What is added to both ends of the time in which a call is expected, in percent of them.
const MARGIN_PERCENT: u32 = 10;
/// A time without calls that is at least this long is spent without an environment.
const LEAST_WINDOW: Duration = Duration::from_secs(5 * 60);
/// How many minutes an environment may wait in vain for each call that finds it. A fixed keep-alive of ten minutes pays
/// more for most functions; `examples/trace.rs` shows what another price would change.
const MINUTES_FOR_A_CALL: i64 = 20;
/// How long an environment stays after a call when the next is not expected soon: a caller may try again.
pub(super) const LINGER: Duration = Duration::from_secs(30);
/// The shortest keep-alive, whatever the histogram says.
const SHORTEST: Duration = Duration::from_secs(120);

/// What is known of a function's idle times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rhythm {
    /// Since when nothing of the function runs; `None` while something does, and before its first call.
    pub(super) idle_since: Option<Instant>,
    /// Idle times below the width of a bin.
    short: u8,
    /// Longer ones, once there was one.
    histogram: Option<Box<Histogram>>,
    /// The plan, until something is learnt.
    plan: Option<Plan>,
}

/// Idle times by bin. When a count is full all are halved, so that what is long ago counts little.
#[derive(Clone, Debug)]
struct Histogram {
    bins: [u8; BINS],
    /// Idle times beyond the range.
    beyond: u8,
}

/// What is done with the last environment of a function, both counted from the end of its last call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// When an environment has to be there again; zero: it stays.
    pub(crate) from: Duration,
    /// When it is given up.
    pub(crate) until: Duration,
}

impl Plan {
    /// What is done with a function of which little is known.
    pub(crate) const fn fixed(keep_alive: Duration) -> Self {
        Self {
            from: Duration::ZERO,
            until: keep_alive,
        }
    }
}

impl Rhythm {
    /// A call comes while nothing runs.
    pub(crate) fn begin(&mut self, now: Instant) {
        let Some(since) = self.idle_since.take() else {
            return;
        };
        let idle = now.saturating_duration_since(since);
        if idle < BIN && self.short < u8::MAX {
            // Nothing that a busy function does a thousand times a second is to cost more than this.
            self.short += 1;
            self.plan = None;
            return;
        }
        if idle >= BIN || self.histogram.is_some() {
            self.learn(idle);
        }
    }

    /// The last call has ended.
    pub(crate) const fn rest(&mut self, now: Instant) {
        self.idle_since = Some(now);
    }

    fn learn(&mut self, idle: Duration) {
        self.plan = None;
        let histogram = self.histogram.get_or_insert_with(|| {
            Box::new(Histogram {
                bins: [0; BINS],
                beyond: 0,
            })
        });
        if self.short == u8::MAX || !histogram.add(idle) {
            self.short /= 2;
            histogram.halve();
            if idle < BIN {
                self.short += 1;
            } else {
                histogram.add(idle);
            }
        }
    }

    /// Whether there is anything to remember.
    pub(crate) fn is_blank(&self) -> bool {
        self.idle_since.is_none() && self.short == 0 && self.histogram.is_none()
    }

    /// What to do with the last environment of the function. `keep_alive` is the fixed one.
    pub(crate) fn plan(&mut self, keep_alive: Duration) -> Plan {
        *self
            .plan
            .get_or_insert_with(|| plan(self.short, self.histogram.as_deref(), keep_alive))
    }
}

impl Histogram {
    /// Counts an idle time; `false` when its bin is full.
    fn add(&mut self, idle: Duration) -> bool {
        let bin = usize::try_from(idle.as_secs() / BIN.as_secs()).unwrap_or(usize::MAX);
        let count = self.bins.get_mut(bin).unwrap_or(&mut self.beyond);
        *count < u8::MAX && {
            *count += 1;
            true
        }
    }

    fn halve(&mut self) {
        self.bins.iter_mut().for_each(|count| *count /= 2);
        self.beyond /= 2;
    }
}

/// The plan of a function with these idle times.
fn plan(short: u8, histogram: Option<&Histogram>, keep_alive: Duration) -> Plan {
    let fixed = Plan::fixed(keep_alive);
    let count = |bin: usize| {
        let own = histogram.map_or(0, |histogram| u32::from(histogram.bins[bin]));
        own + if bin == 0 { u32::from(short) } else { 0 }
    };
    let within: u32 = (0..BINS).map(count).sum();
    let beyond = histogram.map_or(0, |histogram| u32::from(histogram.beyond));
    if within + beyond < LEAST_SAMPLES {
        return fixed;
    }
    if beyond > within {
        // Most calls come after more than the range: what is kept for them is kept for nothing.
        return Plan::fixed(keep_alive.min(SHORTEST));
    }
    if unevenness(count, within) < LEAST_UNEVENNESS {
        return fixed;
    }
    let bins = |count: usize| BIN * u32::try_from(count).unwrap_or(u32::MAX);
    let head = percentile(count, within, HEAD_PERCENT);
    let from = bins(head) * (100 - MARGIN_PERCENT) / 100;
    let (head, from) = if from >= LEAST_WINDOW {
        (head, from)
    } else {
        (0, Duration::ZERO)
    };
    let tail = percentile(count, within, TAIL_PERCENT) + 1;
    let tail = worth_keeping(count, within + beyond, head, tail);
    let until = (bins(tail) * (100 + MARGIN_PERCENT) / 100).max(SHORTEST);
    Plan { from, until }
}

/// The end of the bins, from `head` and not beyond `tail`, for which an environment is worth keeping: where the calls
/// that it is there for, at their price, exceed the minutes in which it waits by most.
fn worth_keeping(count: impl Fn(usize) -> u32, sum: u32, head: usize, tail: usize) -> usize {
    let mut pauses = i64::from(sum) - (0..head).map(|bin| i64::from(count(bin))).sum::<i64>();
    let (mut gain, mut best, mut end) = (0, 0, head);
    for bin in head..tail {
        let calls = i64::from(count(bin));
        gain += calls * MINUTES_FOR_A_CALL - pauses;
        pauses -= calls;
        if gain > best {
            (best, end) = (gain, bin + 1);
        }
    }
    end
}

/// The coefficient of variation of the bins' counts.
fn unevenness(count: impl Fn(usize) -> u32, sum: u32) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "there are few bins")]
    let bins = BINS as f64;
    let mean = f64::from(sum) / bins;
    let squares: f64 = (0..BINS).map(|bin| (f64::from(count(bin)) - mean).powi(2)).sum();
    if mean > 0.0 {
        (squares / bins).sqrt() / mean
    } else {
        0.0
    }
}

/// The bin that holds this percentile of `sum` idle times.
fn percentile(count: impl Fn(usize) -> u32, sum: u32, percent: u32) -> usize {
    let rank = (sum * percent).div_ceil(100).max(1);
    let mut seen = 0;
    (0..BINS)
        .find(|bin| {
            seen += count(*bin);
            seen >= rank
        })
        .unwrap_or(BINS - 1)
}
