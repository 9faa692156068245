//! The core under random histories, and the rules that a history alone would not show.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ephyra_core::digest::Digest;
use ephyra_core::environment::LaunchError;
use ephyra_core::id::{FunctionName, RevisionId, Version};
use ephyra_core::invocation::ThrottleReason;
use ephyra_core::revision::{LogFormat, LogLevel, Logging, Revision};
use proptest::prelude::*;

use super::*;

const MEMORY_MB: u64 = 1024;
const ACCOUNT: u32 = 12;

fn revision(function: &str, memory_mb: u32) -> Arc<Revision> {
    Arc::new(Revision {
        id: RevisionId::new(),
        function: function.parse().unwrap(),
        version: Version::Latest,
        function_arn: format!("arn:aws:lambda:us-east-1:000000000000:function:{function}"),
        runtime: "python3.13".to_owned(),
        handler: "app.handler".to_owned(),
        code: Digest::of(b""),
        layers: Vec::new(),
        memory_mb,
        ephemeral_storage_mb: 512,
        timeout_seconds: 3,
        variables: Vec::new(),
        logging: Logging {
            format: LogFormat::Text,
            application_level: LogLevel::Info,
            system_level: LogLevel::Info,
            group: String::new(),
        },
    })
}

fn options() -> Options {
    Options {
        account_concurrency: ACCOUNT,
        memory_mb: MEMORY_MB,
        max_starting: 3,
        ..Options::default()
    }
}

/// A scheduler and a world that does what it says, when the test wants it to.
struct World {
    scheduler: Scheduler,
    now: Instant,
    effects: Vec<Effect>,
    starting: BTreeMap<Slot, Arc<Revision>>,
    busy: BTreeMap<Slot, RevisionId>,
    ending: BTreeSet<Slot>,
    freezing: BTreeSet<Slot>,
    waiting: BTreeMap<Ticket, RevisionId>,
    granted: BTreeMap<Ticket, Lease>,
    failed: BTreeSet<Ticket>,
    retired: HashSet<RevisionId>,
    of_slot: BTreeMap<Slot, RevisionId>,
}

impl World {
    fn new(options: Options) -> Self {
        Self {
            scheduler: Scheduler::new(options),
            now: Instant::now(),
            effects: Vec::new(),
            starting: BTreeMap::new(),
            busy: BTreeMap::new(),
            ending: BTreeSet::new(),
            freezing: BTreeSet::new(),
            waiting: BTreeMap::new(),
            granted: BTreeMap::new(),
            failed: BTreeSet::new(),
            retired: HashSet::new(),
            of_slot: BTreeMap::new(),
        }
    }

    fn request(&mut self, revision: &Arc<Revision>) -> Result<Admission, Refusal> {
        let admission = self.scheduler.request(revision, self.now, &mut self.effects);
        match admission {
            Ok(Admission::Run(lease)) => {
                assert_eq!(
                    self.of_slot.get(&lease.slot),
                    Some(&revision.id),
                    "another revision's environment"
                );
                assert!(
                    self.busy.insert(lease.slot, revision.id).is_none(),
                    "an environment serves two"
                );
            }
            Ok(Admission::Wait(ticket)) => {
                self.waiting.insert(ticket, revision.id);
            }
            Err(_) => {}
        }
        self.follow();
        admission
    }

    fn start(&mut self, slot: Slot, init_error: Option<&str>) {
        self.starting.remove(&slot).unwrap();
        self.scheduler
            .started(slot, init_error.map(str::to_owned), self.now, &mut self.effects);
        self.follow();
    }

    fn start_all(&mut self) {
        while let Some(slot) = self.starting.keys().next().copied() {
            self.start(slot, None);
        }
    }

    fn fail(&mut self, slot: Slot) {
        self.starting.remove(&slot).unwrap();
        let error = LaunchError::Sandbox("no".to_owned());
        self.scheduler.launch_failed(slot, &error, self.now, &mut self.effects);
        self.follow();
    }

    fn release(&mut self, slot: Slot, is_reusable: bool) {
        self.busy.remove(&slot).unwrap();
        self.scheduler.released(slot, is_reusable, self.now, &mut self.effects);
        self.follow();
    }

    fn end(&mut self, slot: Slot) {
        assert!(self.ending.remove(&slot));
        self.scheduler.ended(slot, self.now, &mut self.effects);
        self.follow();
    }

    fn end_all(&mut self) {
        while let Some(slot) = self.ending.first().copied() {
            self.end(slot);
        }
    }

    fn park(&mut self, slot: Slot) {
        assert!(self.freezing.remove(&slot));
        self.scheduler.parked(slot, self.now, &mut self.effects);
        self.follow();
    }

    fn provision(&mut self, revision: &Arc<Revision>, count: u32) {
        self.scheduler
            .set_provisioned(revision, count, self.now, &mut self.effects);
        self.follow();
    }

    fn retire(&mut self, revision: RevisionId) -> bool {
        let is_left = self.scheduler.retire(revision, self.now, &mut self.effects);
        self.follow();
        is_left
    }

    fn give_up(&mut self, ticket: Ticket) -> GiveUp {
        let revision = self.waiting[&ticket];
        let given_up = self.scheduler.give_up(ticket, revision, self.now, &mut self.effects);
        if given_up == GiveUp::Gone {
            self.waiting.remove(&ticket);
        }
        self.follow();
        given_up
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        if self.scheduler.wake_at().is_some_and(|at| at <= self.now) {
            self.scheduler.tick(self.now, &mut self.effects);
        }
        self.follow();
    }

    /// Takes note of the effects and checks everything that must hold at all times.
    fn follow(&mut self) {
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Start { slot, revision } => {
                    self.of_slot.insert(slot, revision.id);
                    self.starting.insert(slot, revision);
                }
                Effect::Grant { ticket, lease } => {
                    let revision = self.waiting.remove(&ticket).expect("granted to one that waits");
                    assert_eq!(self.of_slot.get(&lease.slot), Some(&revision));
                    assert!(
                        self.busy.insert(lease.slot, revision).is_none(),
                        "an environment serves two"
                    );
                    self.granted.insert(ticket, lease);
                }
                Effect::Fail { ticket, .. } | Effect::Dismiss { ticket } => {
                    assert!(self.waiting.remove(&ticket).is_some());
                    self.failed.insert(ticket);
                }
                Effect::End { slot } => {
                    assert!(!self.busy.contains_key(&slot), "a busy environment is ended");
                    assert!(self.ending.insert(slot));
                }
                Effect::Freeze { slot } => {
                    assert!(!self.busy.contains_key(&slot), "a busy environment is frozen");
                    self.freezing.insert(slot);
                }
                Effect::Retired { revision } => {
                    self.retired.insert(revision);
                }
            }
        }
        self.check();
    }

    fn check(&self) {
        let scheduler = &self.scheduler;
        let counts = scheduler.counts();
        assert_eq!(counts.starting as usize, self.starting.len());
        assert_eq!(counts.busy as usize, self.busy.len());
        assert_eq!(counts.ending as usize, self.ending.len());
        assert_eq!(counts.parking as usize, self.freezing.len());
        assert_eq!(scheduler.waiting, self.waiting.len());
        assert_eq!(scheduler.in_flight() as usize, self.waiting.len() + self.busy.len());
        let memory: u64 = scheduler.environments.values().map(|one| one.memory_mb).sum();
        assert_eq!(memory, scheduler.reserved_mb());
        assert!(memory <= scheduler.options.memory_mb, "more memory than there is");
        assert!(counts.starting <= scheduler.options.max_starting);
        assert!(
            scheduler.pools.values().all(|pool| !pool.is_empty()),
            "a pool without use is kept"
        );
        for (name, function) in &scheduler.functions {
            let pools: Vec<_> = function.pools.iter().map(|id| &scheduler.pools[id]).collect();
            assert!(!pools.is_empty() || function.reserved.is_some());
            assert_eq!(function.in_flight, pools.iter().map(|pool| pool.in_flight).sum::<u32>());
            assert_eq!(function.charge, pools.iter().map(|pool| pool.charge()).sum::<u32>());
            assert_eq!(
                function.waiting,
                pools.iter().map(|pool| pool.waiters.len()).sum::<usize>()
            );
            assert_eq!(
                function.is_listed,
                scheduler.ring.iter().filter(|listed| *listed == name).count() == 1
            );
            for pool in pools {
                assert!(
                    pool.waiters.is_empty() || pool.idle.is_empty(),
                    "one waits beside an idle environment"
                );
                let is_covered = pool.waiters.len() <= pool.counts.coming() as usize;
                // After failures, starts go one at a time.
                let is_next = pool.failures >= super::pool::LAUNCH_TRIES && pool.counts.starting > 0;
                assert!(is_covered || is_next || function.is_listed, "one waits for nothing");
            }
        }
        assert_eq!(
            scheduler.ring.len(),
            scheduler.functions.values().filter(|one| one.is_listed).count()
        );
    }

    /// Lets everything that goes on come to its end.
    fn come_to_rest(&mut self) {
        loop {
            if let Some(slot) = self.starting.keys().next().copied() {
                self.start(slot, None);
            } else if let Some(slot) = self.freezing.first().copied() {
                self.park(slot);
            } else if let Some(slot) = self.ending.first().copied() {
                self.end(slot);
            } else if let Some(slot) = self.busy.keys().next().copied() {
                self.release(slot, true);
            } else {
                break;
            }
        }
    }
}

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
    Retire(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let any = || 0_usize..6;
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
        4 => prop::sample::select(vec![1, 60, 700, 2_000, 601_000]).prop_map(Step::Pass),
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
    fn any_history_keeps_the_rules_and_loses_nobody(steps in steps()) {
        let mut world = World::new(options());
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
                Step::Retire(one) => {
                    let id = revisions[one].id;
                    world.retire(id);
                    retired.insert(id);
                    limits.provisioned.remove(&id);
                }
            }
        }
        // Without provisions that hold the memory, all that wait are served.
        for revision in &revisions { world.provision(revision, 0); }
        world.come_to_rest();
        prop_assert!(world.waiting.is_empty());
        prop_assert_eq!(world.scheduler.in_flight(), 0);
        for id in &retired {
            prop_assert!(!world.scheduler.pools.contains_key(id), "something of a retired revision is left");
        }
        // And when nobody comes any more, nothing is left at all.
        for revision in &revisions { world.scheduler.set_reserved(&revision.function, None); }
        for _ in 0..4 {
            world.pass(Duration::from_secs(700));
            world.come_to_rest();
        }
        prop_assert!(world.scheduler.is_empty());
        prop_assert!(world.scheduler.functions.is_empty());
        prop_assert!(world.scheduler.wake_at().is_none());
    }
}

#[test]
fn a_cold_burst_starts_no_more_than_it_needs() {
    let mut world = World::new(options());
    let function = revision("a", 128);
    for _ in 0..3 {
        assert!(matches!(world.request(&function), Ok(Admission::Wait(_))));
    }
    assert_eq!(world.starting.len(), 3);
    let first = *world.starting.keys().next().unwrap();
    world.start(first, None);
    world.release(first, true);
    // The freed one served the second; two starts are left for the third.
    assert_eq!((world.busy.len(), world.waiting.len(), world.starting.len()), (1, 1, 2));
    world.start_all();
    assert_eq!((world.busy.len(), world.scheduler.counts().idle), (2, 1));
    assert!(world.granted.values().filter(|lease| lease.cold).count() == 2);
}

#[test]
fn the_least_recently_used_environment_of_any_function_makes_room() {
    let mut world = World::new(options());
    let (old, new, large) = (revision("old", 512), revision("new", 512), revision("large", 512));
    let mut slots = Vec::new();
    for function in [&old, &new] {
        world.request(function).unwrap();
        let slot = *world.starting.keys().next().unwrap();
        world.start(slot, None);
        slots.push(slot);
    }
    world.release(slots[0], true);
    world.pass(Duration::from_millis(10));
    world.release(slots[1], true);
    world.request(&large).unwrap();
    assert_eq!(world.ending.iter().copied().collect::<Vec<_>>(), [slots[0]]);
    assert!(world.starting.is_empty(), "it starts when the memory is free");
    world.end(slots[0]);
    assert_eq!(world.starting.len(), 1);
}

#[test]
fn provisioned_environments_are_kept_and_never_make_room() {
    let mut world = World::new(options());
    let (kept, other) = (revision("kept", 512), revision("other", 1024));
    world.provision(&kept, 2);
    assert_eq!(world.scheduler.provisioned(kept.id).allocated, 2);
    world.start_all();
    assert_eq!(world.scheduler.provisioned(kept.id).available, 2);
    let Ok(Admission::Wait(ticket)) = world.request(&other) else {
        panic!()
    };
    world.pass(Duration::from_secs(3600));
    world.come_to_rest();
    assert!(world.ending.is_empty() && world.starting.is_empty());
    assert_eq!(world.give_up(ticket), GiveUp::Gone);
    // The first use is not cold.
    let Ok(Admission::Run(lease)) = world.request(&kept) else {
        panic!()
    };
    assert!(!lease.cold);
    world.release(lease.slot, false);
    assert_eq!(world.starting.len(), 1, "what is gone is replaced");
}

#[test]
fn starting_ahead_backs_off_when_it_fails() {
    let mut world = World::new(options());
    let function = revision("a", 128);
    world.provision(&function, 1);
    for pause in [1, 2, 4, 8] {
        let slot = *world.starting.keys().next().unwrap();
        world.start(slot, Some("Runtime.ImportModuleError: no module"));
        world.end_all();
        let status = world.scheduler.provisioned(function.id);
        assert_eq!((status.available, status.allocated), (0, 0));
        assert!(status.failure.unwrap().contains("ImportModuleError"));
        world.pass(Duration::from_millis(pause * 1000 - 1));
        assert!(world.starting.is_empty());
        world.pass(Duration::from_millis(1));
        assert_eq!(world.starting.len(), 1, "after {pause} s");
    }
    world.start_all();
    let status = world.scheduler.provisioned(function.id);
    assert_eq!((status.available, status.failure), (1, None));
}

#[test]
fn a_failed_launch_is_told_to_one_and_the_last_to_all() {
    let mut world = World::new(Options {
        max_starting: 1,
        ..options()
    });
    let function = revision("a", 128);
    for _ in 0..5 {
        world.request(&function).unwrap();
    }
    let mut told = Vec::new();
    while let Some(slot) = world.starting.keys().next().copied() {
        world.fail(slot);
        told.push(world.failed.len());
    }
    assert_eq!(told, [1, 2, 5]);
}

#[test]
fn functions_take_turns_when_the_machine_is_full() {
    let mut world = World::new(Options {
        max_starting: 1,
        ..options()
    });
    let (greedy, modest) = (revision("greedy", 128), revision("modest", 128));
    for _ in 0..5 {
        world.request(&greedy).unwrap();
    }
    for _ in 0..2 {
        world.request(&modest).unwrap();
    }
    let mut order = Vec::new();
    while let Some((slot, revision)) = world
        .starting
        .first_key_value()
        .map(|(slot, one)| (*slot, Arc::clone(one)))
    {
        order.push(revision.function.to_string());
        world.start(slot, None);
    }
    assert_eq!(
        order,
        ["greedy", "greedy", "modest", "greedy", "modest", "greedy", "greedy"]
    );
}

#[test]
fn a_function_that_never_pauses_gives_way_in_time() {
    let mut world = World::new(options());
    let (greedy, modest) = (revision("greedy", 1024), revision("modest", 128));
    world.request(&greedy).unwrap();
    world.start_all();
    let slot = *world.busy.keys().next().unwrap();
    world.request(&greedy).unwrap();
    world.request(&greedy).unwrap();
    world.request(&modest).unwrap();
    world.pass(Duration::from_millis(100));
    world.release(slot, true);
    assert_eq!(world.busy.len(), 1, "not at once: a cold start is dear");
    world.pass(Duration::from_millis(500));
    world.release(slot, true);
    assert!(world.ending.contains(&slot));
    world.end_all();
    assert_eq!(
        world
            .starting
            .values()
            .map(|one| one.function.as_str())
            .collect::<Vec<_>>(),
        ["modest"]
    );
}

#[test]
fn a_large_function_is_not_starved_by_small_ones() {
    let mut world = World::new(options());
    let (small, large) = (revision("small", 128), revision("large", 1024));
    for _ in 0..8 {
        world.request(&small).unwrap();
    }
    world.start_all();
    world.request(&large).unwrap();
    for _ in 0..3 {
        world.request(&small).unwrap();
    }
    world.pass(Duration::from_secs(1));
    let mut is_served = false;
    for _ in 0..16 {
        let Some(slot) = world.busy.keys().next().copied() else {
            break;
        };
        world.release(slot, true);
        world.end_all();
        if world.starting.values().any(|one| one.function.as_str() == "large") {
            is_served = true;
            break;
        }
        world.start_all();
    }
    assert!(is_served);
}

#[test]
fn limits_throttle_with_their_reason() {
    let mut world = World::new(Options {
        max_queue_per_function: 2,
        account_concurrency: 4,
        ..options()
    });
    let throttled = |admission: Result<Admission, Refusal>| match admission {
        Err(Refusal::Throttled(reason)) => Some(reason),
        _ => None,
    };
    let (one, other, closed) = (revision("one", 128), revision("other", 128), revision("closed", 128));
    world.scheduler.set_reserved(&closed.function, Some(0));
    let reserved = Some(ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded);
    assert_eq!(throttled(world.request(&closed)), reserved);
    world.request(&one).unwrap();
    world.request(&one).unwrap();
    assert_eq!(
        throttled(world.request(&one)),
        Some(ThrottleReason::CallerRateLimitExceeded)
    );
    world.scheduler.set_reserved(&other.function, Some(1));
    world.request(&other).unwrap();
    assert_eq!(throttled(world.request(&other)), reserved);
    world.start_all();
    world.request(&one).unwrap();
    let account = Some(ThrottleReason::ConcurrentInvocationLimitExceeded);
    assert_eq!(throttled(world.request(&one)), account);
    let large = revision("large", 2048);
    assert!(matches!(world.request(&large), Err(Refusal::TooLarge { .. })));
}

#[test]
fn provisioned_concurrency_is_set_aside_from_the_account() {
    let mut world = World::new(Options {
        account_concurrency: 3,
        ..options()
    });
    let (kept, other) = (revision("kept", 128), revision("other", 128));
    world.provision(&kept, 2);
    world.start_all();
    world.request(&other).unwrap();
    assert!(world.request(&other).is_err(), "two of three are set aside");
    world.request(&kept).unwrap();
    world.request(&kept).unwrap();
    assert!(world.request(&kept).is_err());
}

#[test]
fn a_retired_revision_serves_those_that_wait_and_then_leaves() {
    let mut world = World::new(options());
    let function = revision("a", 128);
    world.request(&function).unwrap();
    world.request(&function).unwrap();
    assert!(world.retire(function.id));
    world.start_all();
    assert_eq!(world.busy.len(), 2);
    world.come_to_rest();
    assert!(world.retired.contains(&function.id));
    assert!(!world.retire(function.id), "nothing is left");
    // One that was resolved before is served, and its environment is not kept.
    world.request(&function).unwrap();
    world.come_to_rest();
    assert!(world.scheduler.is_empty());
}

#[test]
fn an_idle_environment_is_frozen_once_and_ended_after_its_keep_alive() {
    let mut world = World::new(options());
    let function = revision("a", 128);
    world.request(&function).unwrap();
    world.start_all();
    let slot = *world.busy.keys().next().unwrap();
    world.release(slot, true);
    world.pass(Duration::from_millis(50));
    assert!(world.freezing.contains(&slot));
    // One that comes meanwhile waits for it, and starts no other.
    world.request(&function).unwrap();
    assert!(world.starting.is_empty());
    world.park(slot);
    assert_eq!(world.busy.len(), 1);
    world.release(slot, true);
    world.pass(Duration::from_millis(50));
    world.park(slot);
    world.pass(Duration::from_millis(599_949));
    assert!(world.ending.is_empty() && world.freezing.is_empty());
    world.pass(Duration::from_millis(1));
    assert!(world.ending.contains(&slot));
}
