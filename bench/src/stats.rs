//! Medians and tails.

use std::time::Duration;

use serde::Serialize;

/// What is told of a number of samples; times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) samples: usize,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) max_us: f64,
}

impl Summary {
    /// `None` without a sample.
    pub(crate) fn of(samples: &[Duration]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable();
        let max = *sorted.last()?;
        Some(Self {
            samples: sorted.len(),
            p50_us: micros(percentile(&sorted, 50)),
            p99_us: micros(percentile(&sorted, 99)),
            max_us: micros(max),
        })
    }
}

pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The median of values that are numbers; `None` without one.
pub(crate) fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The nearest rank: the smallest sample that `percent` of all samples do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted[rank.saturating_sub(1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let samples: Vec<_> = (1..=200).rev().map(Duration::from_micros).collect();
        let summary = Summary::of(&samples).unwrap();
        let close = |one: f64, other: f64| (one - other).abs() < 1e-6;
        assert!(close(summary.p50_us, 100.0) && close(summary.p99_us, 198.0) && close(summary.max_us, 200.0));
        let one = Summary::of(&[Duration::from_micros(7)]).unwrap();
        assert!(close(one.p50_us, 7.0) && close(one.p99_us, 7.0));
        assert_eq!(Summary::of(&[]), None);
    }
}
