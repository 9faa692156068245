//! What a function's idle times say.

use std::time::{Duration, Instant};

use ephyra_core::id::FunctionName;
use proptest::prelude::*;

use super::super::rhythm::{Plan, Rhythm};
use super::super::rhythms::Rhythms;

const MINUTE: Duration = Duration::from_secs(60);
const FIXED: Duration = Duration::from_secs(600);

/// The plan after these idle times, in seconds.
fn plan_after(idle_seconds: impl IntoIterator<Item = u64>) -> Plan {
    let mut rhythm = Rhythm::default();
    let mut now = Instant::now();
    rhythm.rest(now);
    for seconds in idle_seconds {
        now += Duration::from_secs(seconds);
        rhythm.begin(now);
        rhythm.rest(now);
    }
    rhythm.plan(FIXED)
}

#[test]
fn little_or_even_knowledge_means_the_fixed_keep_alive() {
    let fixed = Plan::fixed(FIXED);
    assert_eq!(plan_after([]), fixed);
    assert_eq!(plan_after([3600; 5]), fixed);
    assert_eq!(
        plan_after((0..240).map(|minute| minute * 60)),
        fixed,
        "as often in each minute"
    );
}

#[test]
fn a_regular_function_is_expected_around_its_time() {
    let plan = plan_after([3600; 30]);
    assert_eq!((plan.from, plan.until), (MINUTE * 54, MINUTE * 61 * 11 / 10));
}

#[test]
fn a_function_that_is_called_often_is_kept_from_call_to_call() {
    let plan = plan_after((0..200).map(|call| call % 50));
    assert_eq!((plan.from, plan.until), (Duration::ZERO, MINUTE * 2));
    let plan = plan_after([60, 120, 180, 900, 60, 120, 180, 240]);
    assert_eq!((plan.from, plan.until), (Duration::ZERO, MINUTE * 16 * 11 / 10));
    // One call in nine comes after three hours: for that nothing is kept so long.
    let plan = plan_after([60, 120, 180, 240, 60, 120, 180, 240, 10_800]);
    assert_eq!((plan.from, plan.until), (Duration::ZERO, MINUTE * 5 * 11 / 10));
}

#[test]
fn pauses_beyond_the_range_are_not_waited_for() {
    assert!(plan_after([86_400; 20]).until <= MINUTE * 2);
}

#[test]
fn what_is_long_ago_counts_less_and_less() {
    let old = [3600; 300];
    let new = [300; 600];
    let plan = plan_after(old.into_iter().chain(new));
    assert!(plan.from.is_zero() && plan.until < MINUTE * 80, "{plan:?}");
    let plan = plan_after(old.into_iter().chain([300; 20_000]));
    assert_eq!(plan.until, MINUTE * 6 * 11 / 10);
}

#[test]
fn any_number_of_functions_is_remembered_in_bounded_room() {
    let mut rhythms = Rhythms::default();
    for number in 0..200_000 {
        let name: FunctionName = format!("f{number}").parse().unwrap();
        let mut known = rhythms.take(&name);
        known.rest(Instant::now());
        rhythms.put(name, known);
    }
    assert!(rhythms.len() <= 32_768);
    assert!(rhythms.take(&"f199999".parse().unwrap()).idle_since.is_some());
    assert!(rhythms.take(&"f0".parse().unwrap()).is_blank());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_plan_is_within_bounds(times in prop::collection::vec(0_u64..20_000, 0..400)) {
        let plan = plan_after(times);
        prop_assert!(plan.from < plan.until);
        prop_assert!(plan.until <= MINUTE * 240 * 11 / 10);
        prop_assert!(plan.until >= MINUTE * 2);
        prop_assert!(plan.from.is_zero() || plan.from >= MINUTE * 5);
    }

    #[test]
    fn the_one_idle_time_that_there_is_is_always_covered(seconds in 0_u64..14_400, count in 6_usize..500) {
        let plan = plan_after(std::iter::repeat_n(seconds, count));
        let idle = Duration::from_secs(seconds);
        prop_assert!(plan.from <= idle && idle < plan.until, "{plan:?} of {idle:?}");
    }
}
