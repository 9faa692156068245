//! Random histories.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ephyra_core::id::{FunctionName, RevisionId};
use ephyra_core::revision::Revision;
use proptest::prelude::*;

use super::super::pool::SnapStart;
use super::world::{ACCOUNT, World, options, revision};
use crate::options::Options;

#[derive(Clone, Debug)]
enum Step {
    Request(usize),
    Start(usize),
    InitError(usize),
    Fail(usize),
    Release(usize, bool),
    End(usize),
    Park(usize),
    Die(usize),
    GiveUp(usize),
    Pass(u64),
    Reserve(usize, Option<u32>),
    Provision(usize, u32),
    Template(usize, bool),
    FirstTemplate(usize),
    Retire(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let any = || 0_usize..6;
    let any_bool = prop::bool::ANY;
    let step = prop_oneof![
        12 => any().prop_map(Step::Request),
        6 => any().prop_map(Step::Start),
        1 => any().prop_map(Step::InitError),
        1 => any().prop_map(Step::Fail),
        8 => (any(), prop::bool::weighted(0.8)).prop_map(|(one, is_reusable)| Step::Release(one, is_reusable)),
        4 => any().prop_map(Step::End),
        3 => any().prop_map(Step::Park),
        1 => any().prop_map(Step::Die),
        1 => any().prop_map(Step::GiveUp),
        4 => prop::sample::select(vec![1, 3, 60, 700, 2_000, 61_000, 601_000, 3_000_000]).prop_map(Step::Pass),
        1 => (any(), any_bool).prop_map(|(one, is_on)| Step::Template(one, is_on)),
        1 => any().prop_map(Step::FirstTemplate),
        1 => (any(), prop::option::of(0_u32..4)).prop_map(|(one, limit)| Step::Reserve(one, limit)),
        1 => (any(), 0_u32..3).prop_map(|(one, count)| Step::Provision(one, count)),
        1 => any().prop_map(Step::Retire),
    ];
    prop::collection::vec(step, 1..120)
}

fn nth<T: Copy>(mut of: impl ExactSizeIterator<Item = T>, one: usize) -> Option<T> {
    let len = of.len();
    if len == 0 { None } else { of.nth(one % len) }
}

/// What an admission must have respected, worked out anew from the world.
fn check_admission(world: &World, revisions: &[Arc<Revision>], asked: &Arc<Revision>, before: &Limits) {
    let in_flight = |id: RevisionId| {
        let all = world.busy.values().chain(world.waiting.values());
        u32::try_from(all.filter(|one| **one == id).count()).unwrap()
    };
    let of_function = |name: &FunctionName| revisions.iter().filter(|one| one.function == *name).collect::<Vec<_>>();
    let used: u32 = of_function(&asked.function).iter().map(|one| in_flight(one.id)).sum();
    if let Some(reserved) = before.reserved.get(&asked.function) {
        assert!(used <= *reserved, "more than is reserved");
    } else {
        let reserved: u32 = before.reserved.values().sum();
        let provisioned = before.provisioned.get(&asked.id).copied().unwrap_or(0);
        let unreserved: u32 = revisions
            .iter()
            .filter(|one| !before.reserved.contains_key(&one.function))
            .map(|one| in_flight(one.id))
            .sum();
        let is_set_aside = in_flight(asked.id) <= provisioned;
        assert!(
            is_set_aside || unreserved <= ACCOUNT.saturating_sub(reserved),
            "more than the account has"
        );
    }
}

#[derive(Default)]
struct Limits {
    reserved: BTreeMap<FunctionName, u32>,
    provisioned: BTreeMap<RevisionId, u32>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_keeps_the_rules_and_loses_nobody(steps in steps(), turns in 0_u32..3) {
        let patience = Duration::from_millis(5);
        let turns = Options { turns, turn: Duration::from_millis(2), patience_in_line: patience * 2, ..options() };
        let mut world = World::new(Options { patience, ..turns });
        // Two revisions of one function among them.
        let revisions: Vec<_> = [("a", 128), ("a", 256), ("b", 128), ("c", 512), ("d", 1024), ("e", 300)]
            .map(|(name, memory_mb)| revision(name, memory_mb))
            .into();
        let mut limits = Limits::default();
        let mut retired = HashSet::new();
        for step in steps {
            match step {
                Step::Request(one) => {
                    let asked = &revisions[one];
                    if world.request(asked).is_ok() {
                        check_admission(&world, &revisions, asked, &limits);
                    }
                }
                Step::Start(one) => {
                    if let Some(slot) = nth(world.starting.keys().copied(), one) { world.start(slot, None); }
                }
                Step::InitError(one) => {
                    if let Some(slot) = nth(world.starting.keys().copied(), one) { world.start(slot, Some("bad")); }
                }
                Step::Fail(one) => {
                    if let Some(slot) = nth(world.starting.keys().copied(), one) { world.fail(slot); }
                }
                Step::Release(one, is_reusable) => {
                    if let Some(slot) = nth(world.busy.keys().copied(), one) { world.release(slot, is_reusable); }
                }
                Step::End(one) => {
                    if let Some(slot) = nth(world.ending.iter().copied(), one) { world.end(slot); }
                }
                Step::Park(one) => {
                    if let Some(slot) = nth(world.freezing.iter().copied(), one) { world.park(slot); }
                }
                Step::Die(one) => {
                    let idle = world.scheduler.pools.get(&revisions[one].id).and_then(|pool| pool.idle.first().copied());
                    if let Some(slot) = idle {
                        world.scheduler.died(slot, world.now, &mut world.effects);
                        world.follow();
                    }
                }
                Step::GiveUp(one) => {
                    if let Some(ticket) = nth(world.waiting.keys().copied(), one) { world.give_up(ticket); }
                }
                Step::Pass(ms) => world.pass(Duration::from_millis(ms)),
                Step::Reserve(one, limit) => {
                    let name = &revisions[one].function;
                    world.scheduler.set_reserved(name, limit);
                    match limit {
                        Some(limit) => limits.reserved.insert(name.clone(), limit),
                        None => limits.reserved.remove(name),
                    };
                    world.follow();
                }
                Step::Provision(one, count) => {
                    let asked = &revisions[one];
                    world.provision(asked, count);
                    let count = if retired.contains(&asked.id) { 0 } else { count };
                    limits.provisioned.insert(asked.id, count);
                }
                Step::Template(one, is_on) => world.keep_template(&revisions[one], is_on),
                Step::FirstTemplate(one) => {
                    let told = world.templates.len();
                    world.first_template(&revisions[one]);
                    let is_asked = world.scheduler.pools.get(&revisions[one].id)
                        .is_some_and(|pool| matches!(pool.snap_start, SnapStart::First { .. }));
                    prop_assert!(world.templates.len() > told || is_asked, "who asks for a template is never told");
                }
                Step::Retire(one) => {
                    let id = revisions[one].id;
                    world.retire(id);
                    retired.insert(id);
                    limits.provisioned.remove(&id);
                }
            }
        }
        // Without provisions that hold the memory, all that wait are served.
        for revision in &revisions {
            world.provision(revision, 0);
            world.keep_template(revision, false);
        }
        world.come_to_rest();
        prop_assert!(world.waiting.is_empty());
        prop_assert_eq!(world.scheduler.in_flight(), 0);
        for id in &retired {
            prop_assert!(!world.scheduler.pools.contains_key(id), "something of a retired revision is left");
        }
        // And when nobody comes any more, nothing is left at all.
        for revision in &revisions { world.scheduler.set_reserved(&revision.function, None); }
        world.idle(Duration::from_secs(86_400));
        prop_assert!(world.scheduler.is_empty());
        prop_assert!(world.scheduler.functions.is_empty());
        prop_assert!(world.scheduler.background.is_empty() && world.scheduler.template_mb == 0);
        prop_assert!(world.scheduler.wake_at().is_none());
    }
}
