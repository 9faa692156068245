//! How many blanks of which kind to hold: a pure function of recent starts.
//!
//! Starts that come together are what blanks are for: each key is remembered by the largest number of starts within
//! about a second, a number that halves with time. So a burst is met by as many blanks as the last one took, a function
//! that is started now and then finds one, and a key that nobody uses comes down to nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Key;

/// How long starts count as coming together.
const TOGETHER: Duration = Duration::from_secs(1);
/// How long it takes until half as many blanks of a key are wanted.
const HALF_LIFE: Duration = Duration::from_secs(120);
/// Below this the last blank of a key is given up: two half-lives and a half after a single start.
const LEAST: f64 = 0.177;
/// The most keys that are remembered; the least wanted is forgotten for another.
const KEYS: usize = 64;
/// A blank that costs no more than this may be kept without end.
const CHEAP_BYTES: u64 = 8 << 20;

/// What all blanks together may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory in bytes; 0 switches pools off.
    pub bytes: u64,
    /// Blanks.
    pub count: usize,
}

impl Limits {
    /// Nothing is held ready.
    pub const NONE: Self = Self { bytes: 0, count: 0 };
}

/// What is remembered of the starts of all keys.
#[derive(Debug)]
pub struct Plan {
    limits: Limits,
    demands: BTreeMap<Key, Demand>,
}

#[derive(Clone, Copy, Debug)]
struct Demand {
    /// Starts within [`TOGETHER`] of the last one, as of then.
    recent: f64,
    last: Instant,
    /// The most of them at once, as of `peaked`; halves with time.
    peak: f64,
    peaked: Instant,
    /// What a blank of the key takes, in bytes.
    cost: u64,
    /// Whether one is kept for as long as it is cheap.
    is_lasting: bool,
}

impl Demand {
    fn peak_at(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.peaked).as_secs_f64();
        self.peak * (-age / HALF_LIFE.as_secs_f64()).exp2()
    }

    /// How many blanks are wanted.
    fn want(&self, now: Instant) -> usize {
        let peak = self.peak_at(now);
        if peak < LEAST {
            return usize::from(self.is_lasting && self.cost <= CHEAP_BYTES);
        }
        // A start takes a processor a millisecond or more: it is some thousands at most.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "small and above 0"
        )]
        let want = peak.ceil() as usize;
        want
    }

    /// When fewer are wanted than now.
    fn next_drop(&self, now: Instant) -> Option<Instant> {
        let peak = self.peak_at(now);
        if peak < LEAST {
            return None;
        }
        let below = if peak <= 1.0 { LEAST } else { peak.ceil() - 1.0 };
        let half_lives = (peak / below).log2();
        // A moment later, so that rounding does not bring it before its time.
        Some(now + HALF_LIFE.mul_f64(half_lives.max(0.0)) + Duration::from_millis(10))
    }

    fn start(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.last).as_secs_f64();
        self.recent = self.recent * (-since / TOGETHER.as_secs_f64()).exp() + 1.0;
        self.last = now;
        let peak = self.peak_at(now);
        // What is a little less than a whole number by the passing of time between two starts is that number.
        self.peak = peak.max(self.recent.round().max(1.0));
        self.peaked = now;
    }
}

impl Plan {
    /// Nothing is remembered yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            demands: BTreeMap::new(),
        }
    }

    /// Assumes `count` starts of a key, and that one blank of it is worth keeping for ever when it is cheap.
    pub fn expect(&mut self, key: &Key, count: usize, now: Instant) {
        if let Some(demand) = self.demand(key, now) {
            demand.peak = demand.peak_at(now).max(count as f64);
            demand.peaked = now;
            demand.is_lasting = true;
        }
    }

    /// A function is started that a blank of this key is of use to.
    pub fn started(&mut self, key: &Key, now: Instant) {
        if let Some(demand) = self.demand(key, now) {
            demand.start(now);
        }
    }

    /// A blank of this key has been seen to take so much memory.
    pub fn learn(&mut self, key: &Key, bytes: u64) {
        if let Some(demand) = self.demands.get_mut(key) {
            // The largest of late: what one has touched, another may touch.
            demand.cost = bytes.max(demand.cost / 8 * 7).max(1);
        }
    }

    /// What a blank of this key takes, in bytes, as far as is known.
    pub fn cost(&self, key: &Key) -> u64 {
        self.demands
            .get(key)
            .map_or_else(|| key.assumed_bytes(), |demand| demand.cost)
    }

    /// How many blanks to hold of each key, all within the limits. Where not all find room, each key has its first
    /// before any has its second; of several the most recently used goes first.
    pub fn targets(&self, now: Instant) -> BTreeMap<Key, usize> {
        let mut wants: Vec<(&Key, &Demand, usize)> = self
            .demands
            .iter()
            .map(|(key, demand)| (key, demand, demand.want(now)))
            .filter(|(_, _, want)| *want > 0)
            .collect();
        wants.sort_by_key(|(_, demand, _)| std::cmp::Reverse(demand.last));
        let mut targets: BTreeMap<Key, usize> = BTreeMap::new();
        let mut left = self.limits;
        let mut level = 0;
        while left.count > 0 && !wants.is_empty() {
            level += 1;
            wants.retain(|(key, demand, want)| {
                let fits = left.count > 0 && demand.cost <= left.bytes;
                if fits {
                    left.count -= 1;
                    left.bytes -= demand.cost;
                    *targets.entry((*key).clone()).or_default() += 1;
                }
                fits && *want > level
            });
        }
        targets
    }

    /// Forgets what is no longer wanted, and says when fewer blanks will be wanted than now, if nothing is started.
    pub fn age(&mut self, now: Instant) -> Option<Instant> {
        self.demands
            .retain(|_, demand| demand.is_lasting || demand.want(now) > 0);
        self.demands.values().filter_map(|demand| demand.next_drop(now)).min()
    }

    /// Whether pools are used at all.
    pub fn is_off(&self) -> bool {
        self.limits.bytes == 0 || self.limits.count == 0
    }

    fn demand(&mut self, key: &Key, now: Instant) -> Option<&mut Demand> {
        if self.is_off() {
            return None;
        }
        if !self.demands.contains_key(key) && self.demands.len() >= KEYS {
            let peak = |demand: &Demand| demand.peak_at(now);
            let least = self
                .demands
                .iter()
                .filter(|(_, demand)| !demand.is_lasting)
                .min_by(|(_, a), (_, b)| peak(a).total_cmp(&peak(b)))?;
            let least = least.0.clone();
            self.demands.remove(&least);
        }
        Some(self.demands.entry(key.clone()).or_insert_with(|| Demand {
            recent: 0.0,
            last: now,
            peak: 0.0,
            peaked: now,
            cost: key.assumed_bytes(),
            is_lasting: false,
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pool::Form;

    const AMPLE: Limits = Limits {
        bytes: 1 << 40,
        count: 1000,
    };

    fn key(name: &str, form: Form) -> Key {
        Key {
            runtime: name.to_owned(),
            memory_mb: 128,
            form,
        }
    }

    fn want(plan: &Plan, key: &Key, now: Instant) -> usize {
        plan.targets(now).get(key).copied().unwrap_or_default()
    }

    #[test]
    fn one_start_keeps_one_blank_for_some_minutes() {
        let (mut plan, now) = (Plan::new(AMPLE), Instant::now());
        let key = key("nodejs20.x", Form::Booted);
        plan.started(&key, now);
        assert_eq!(want(&plan, &key, now), 1);
        assert_eq!(want(&plan, &key, now + HALF_LIFE * 2), 1);
        assert_eq!(want(&plan, &key, now + HALF_LIFE * 3), 0);
        assert_eq!(plan.age(now + HALF_LIFE * 3), None);
        assert!(plan.demands.is_empty());
    }

    #[test]
    fn a_burst_is_met_by_as_many_and_starts_apart_by_one() {
        let (mut plan, now) = (Plan::new(AMPLE), Instant::now());
        let (burst, apart) = (key("nodejs20.x", Form::Booted), key("nodejs22.x", Form::Booted));
        for i in 0..10 {
            plan.started(&burst, now + Duration::from_millis(i));
            plan.started(&apart, now + Duration::from_secs(20 * i));
        }
        assert_eq!(want(&plan, &burst, now + Duration::from_millis(10)), 10);
        assert_eq!(want(&plan, &burst, now + HALF_LIFE + Duration::from_secs(1)), 5);
        assert_eq!(want(&plan, &apart, now + Duration::from_secs(200)), 1);
    }

    #[test]
    fn what_is_expected_lasts_when_it_is_cheap() {
        let (mut plan, now) = (Plan::new(AMPLE), Instant::now());
        let (cheap, dear) = (key("python3.11", Form::Forked), key("nodejs20.x", Form::Booted));
        plan.expect(&cheap, 2, now);
        plan.expect(&dear, 2, now);
        assert_eq!((want(&plan, &cheap, now), want(&plan, &dear, now)), (2, 2));
        let later = now + HALF_LIFE * 20;
        plan.age(later);
        assert_eq!((want(&plan, &cheap, later), want(&plan, &dear, later)), (1, 0));
        assert_eq!(plan.age(later), None, "there is nothing to wake up for");
    }

    #[test]
    fn each_key_has_its_first_before_any_has_its_second() {
        let (mut plan, now) = (
            Plan::new(Limits {
                bytes: 1 << 40,
                count: 3,
            }),
            Instant::now(),
        );
        let (greedy, modest) = (key("nodejs20.x", Form::Booted), key("nodejs22.x", Form::Booted));
        plan.started(&modest, now);
        (0..10).for_each(|_| plan.started(&greedy, now));
        assert_eq!((want(&plan, &greedy, now), want(&plan, &modest, now)), (2, 1));
    }

    #[test]
    fn what_a_blank_takes_is_learnt() {
        let (mut plan, now) = (Plan::new(Limits { bytes: 100, count: 10 }), Instant::now());
        let key = key("nodejs20.x", Form::Booted);
        (0..4).for_each(|_| plan.started(&key, now));
        assert_eq!(want(&plan, &key, now), 0, "as assumed it does not fit");
        (0..200).for_each(|_| plan.learn(&key, 40));
        assert_eq!(want(&plan, &key, now), 2);
        plan.learn(&key, 60);
        assert_eq!(want(&plan, &key, now), 1);
    }

    #[test]
    fn nothing_is_held_when_pools_are_off() {
        for limits in [Limits { bytes: 0, count: 9 }, Limits { bytes: 9, count: 0 }] {
            let (mut plan, now) = (Plan::new(limits), Instant::now());
            plan.expect(&key("python3.11", Form::Forked), 2, now);
            plan.started(&key("python3.11", Form::Forked), now);
            assert!(plan.targets(now).is_empty() && plan.is_off());
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Start(u8, u8),
        Learn(u8, u32),
        Wait(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..90u8, 1..30u8).prop_map(|(key, count)| Step::Start(key, count)),
            (0..90u8, 0..200_000_000u32).prop_map(|(key, bytes)| Step::Learn(key, bytes)),
            (0..200_000u32).prop_map(Step::Wait),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn the_limits_hold_and_everything_comes_down_to_nothing(
            steps in proptest::collection::vec(step(), 1..60),
            megabytes in 0..3000u64,
            count in 0..100usize,
        ) {
            let limits = Limits { bytes: megabytes << 20, count };
            let (mut plan, mut now) = (Plan::new(limits), Instant::now());
            let named = |number: u8| Key {
                runtime: format!("nodejs{number}.x"),
                memory_mb: 128,
                form: if number.is_multiple_of(2) { Form::Booted } else { Form::Bare },
            };
            for step in steps {
                now += Duration::from_millis(1);
                match step {
                    Step::Start(number, count) => (0..count).for_each(|_| plan.started(&named(number), now)),
                    Step::Learn(number, bytes) => plan.learn(&named(number), bytes.into()),
                    Step::Wait(ms) => now += Duration::from_millis(ms.into()),
                }
                let targets = plan.targets(now);
                let bytes: u64 = targets.iter().map(|(key, count)| plan.cost(key) * *count as u64).sum();
                prop_assert!(bytes <= limits.bytes, "{bytes} {limits:?}");
                prop_assert!(targets.values().sum::<usize>() <= limits.count);
                prop_assert!(plan.demands.len() <= KEYS);
                if let Step::Start(number, _) = step
                    && !plan.is_off()
                    && plan.cost(&named(number)) <= limits.bytes
                {
                    prop_assert!(targets.contains_key(&named(number)), "what was just used comes first");
                }
            }
            // Waking up when told is enough to see every change, and there is an end to it.
            let mut wakes = 0;
            while let Some(next) = plan.age(now) {
                prop_assert!(next > now);
                now = next;
                wakes += 1;
                prop_assert!(wakes < 100_000);
            }
            prop_assert!(plan.targets(now).is_empty());
        }
    }
}
