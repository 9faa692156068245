//! When a certificate is due: a pure function of what there is, what has failed, and the time.

use std::time::Duration;

use jiff::Timestamp;

/// The pause after a first failure; twice as long after each further one. Let's Encrypt allows five failures an hour.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3600);

/// What has become of each name's orders.
#[derive(Debug)]
pub(super) struct Schedule(Vec<Failures>);

#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    count: u32,
    /// When to try again.
    again: Option<Timestamp>,
}

/// From when to when a certificate is valid.
type Validity = (Timestamp, Timestamp);

impl Schedule {
    pub(super) fn new(names: usize) -> Self {
        Self(vec![Failures::default(); names])
    }

    /// Whether a name needs a certificate now.
    pub(super) fn is_due(&self, index: usize, held: Option<Validity>, now: Timestamp) -> bool {
        due(self.0[index], held).is_none_or(|due| due <= now)
    }

    pub(super) fn succeeded(&mut self, index: usize) {
        self.0[index] = Failures::default();
    }

    /// Notes a failure and returns how long to pause: within a quarter of the time, by chance, so that many platforms that
    /// failed together do not come back together.
    pub(super) fn failed(&mut self, index: usize, now: Timestamp, dice: f64) -> Duration {
        let failures = &mut self.0[index];
        let doubled = FIRST_PAUSE.saturating_mul(1_u32.checked_shl(failures.count).unwrap_or(u32::MAX));
        let pause = doubled.min(LONGEST_PAUSE).mul_f64(0.75 + 0.5 * dice);
        failures.count = (failures.count + 1).min(20);
        failures.again = jiff::SignedDuration::try_from(pause)
            .ok()
            .and_then(|pause| now.checked_add(pause).ok());
        pause
    }

    /// How long nothing is due.
    pub(super) fn next(&self, held: &[Option<Validity>], now: Timestamp) -> Duration {
        let dues = self.0.iter().zip(held).map(|(failures, held)| due(*failures, *held));
        let first = dues.map(|due| due.unwrap_or(now)).min().unwrap_or(Timestamp::MAX);
        // At least a second, so that a clock that stands still does not make this spin.
        Duration::try_from(first.duration_since(now))
            .unwrap_or_default()
            .max(Duration::from_secs(1))
    }
}

/// When; None means now.
fn due(failures: Failures, held: Option<Validity>) -> Option<Timestamp> {
    let expiry = held.map(|(from, to)| to.checked_sub(to.duration_since(from) / 3).unwrap_or(from));
    failures.again.max(expiry)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn what_is_missing_is_due_and_what_is_valid_is_not() {
        let mut schedule = Schedule::new(1);
        assert!(schedule.is_due(0, None, at(0)));
        let held = Some((at(0), at(90)));
        assert!(!schedule.is_due(0, held, at(59)));
        assert!(schedule.is_due(0, held, at(60)));
        assert_eq!(schedule.next(&[held], at(10)), Duration::from_secs(50));
        assert_eq!(schedule.next(&[None], at(10)), Duration::from_secs(1));
        assert_eq!(schedule.failed(0, at(60), 0.5), FIRST_PAUSE);
        assert!(!schedule.is_due(0, held, at(89)) && schedule.is_due(0, held, at(90)));
        assert_eq!(schedule.failed(0, at(90), 0.5), FIRST_PAUSE * 2);
        schedule.succeeded(0);
        assert!(schedule.is_due(0, None, at(91)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn pauses_grow_and_have_an_end(count in 0_usize..60, dice in 0.0..1.0_f64) {
            let mut schedule = Schedule::new(1);
            let mut pause = Duration::ZERO;
            for _ in 0..count {
                let longer = schedule.failed(0, at(0), dice);
                prop_assert!(longer >= pause);
                pause = longer;
            }
            prop_assert!(pause <= LONGEST_PAUSE.mul_f64(1.25));
        }
    }
}
