//! A world that does what the scheduler says, when a test wants it to, and checks what must hold at all times.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ephyra_core::compute::SnapStartError;
use ephyra_core::digest::Digest;
use ephyra_core::environment::LaunchError;
use ephyra_core::environment::Purpose;
use ephyra_core::id::{RevisionId, Version};
use ephyra_core::invocation::FunctionError;
use ephyra_core::revision::{LogFormat, LogLevel, Logging, Revision};

use super::super::{Admission, Effect, GiveUp, Lease, Refusal, Scheduler, Slot, Ticket, pool};
use crate::options::Options;

pub(super) const MEMORY_MB: u64 = 1024;
pub(super) const ACCOUNT: u32 = 12;

pub(super) fn revision(function: &str, memory_mb: u32) -> Arc<Revision> {
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

pub(super) fn options() -> Options {
    Options {
        account_concurrency: ACCOUNT,
        memory_mb: MEMORY_MB,
        max_starting: 3,
        max_growing: 3,
        // What a test calls takes no time.
        patience: Duration::ZERO,
        turns: 0,
        ..Options::default()
    }
}

/// A scheduler and a world that does what it says, when the test wants it to.
pub(super) struct World {
    pub(super) scheduler: Scheduler,
    pub(super) now: Instant,
    pub(super) effects: Vec<Effect>,
    pub(super) starting: BTreeMap<Slot, Arc<Revision>>,
    pub(super) busy: BTreeMap<Slot, RevisionId>,
    pub(super) ending: BTreeSet<Slot>,
    pub(super) freezing: BTreeSet<Slot>,
    pub(super) waiting: BTreeMap<Ticket, RevisionId>,
    pub(super) granted: BTreeMap<Ticket, Lease>,
    pub(super) failed: BTreeSet<Ticket>,
    pub(super) retired: HashSet<RevisionId>,
    pub(super) of_slot: BTreeMap<Slot, RevisionId>,
    pub(super) purposes: BTreeMap<Slot, Purpose>,
    pub(super) templates: Vec<(RevisionId, Result<(), SnapStartError>)>,
}

impl World {
    pub(super) fn new(options: Options) -> Self {
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
            purposes: BTreeMap::new(),
            templates: Vec::new(),
        }
    }

    pub(super) fn request(&mut self, revision: &Arc<Revision>) -> Result<Admission, Refusal> {
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

    pub(super) fn start(&mut self, slot: Slot, init_error: Option<&str>) {
        self.starting.remove(&slot).unwrap();
        let init_error = init_error.map(|text| FunctionError {
            error_type: "Runtime.ImportModuleError".to_owned(),
            payload: text.to_owned().into(),
        });
        self.scheduler.started(slot, init_error, self.now, &mut self.effects);
        self.follow();
    }

    pub(super) fn start_all(&mut self) {
        while let Some(slot) = self.starting.keys().next().copied() {
            self.start(slot, None);
        }
    }

    pub(super) fn fail(&mut self, slot: Slot) {
        self.starting.remove(&slot).unwrap();
        let error = LaunchError::Sandbox("no".to_owned());
        self.scheduler.launch_failed(slot, &error, self.now, &mut self.effects);
        self.follow();
    }

    pub(super) fn release(&mut self, slot: Slot, is_reusable: bool) {
        self.release_after(slot, is_reusable.then_some(Duration::ZERO));
    }

    /// A run ends that computed for so long, or that broke its environment.
    pub(super) fn release_after(&mut self, slot: Slot, cpu: Option<Duration>) {
        self.busy.remove(&slot).unwrap();
        self.scheduler.released(slot, cpu, self.now, &mut self.effects);
        self.follow();
    }

    pub(super) fn end(&mut self, slot: Slot) {
        assert!(self.ending.remove(&slot));
        self.scheduler.ended(slot, self.now, &mut self.effects);
        self.follow();
    }

    pub(super) fn end_all(&mut self) {
        while let Some(slot) = self.ending.first().copied() {
            self.end(slot);
        }
    }

    pub(super) fn park(&mut self, slot: Slot) {
        assert!(self.freezing.remove(&slot));
        self.scheduler.parked(slot, self.now, &mut self.effects);
        self.follow();
    }

    pub(super) fn provision(&mut self, revision: &Arc<Revision>, count: u32) {
        self.scheduler
            .set_provisioned(revision, count, self.now, &mut self.effects);
        self.follow();
    }

    pub(super) fn keep_template(&mut self, revision: &Arc<Revision>, is_on: bool) {
        self.scheduler
            .set_snap_start(revision, is_on, self.now, &mut self.effects);
        self.follow();
    }

    pub(super) fn first_template(&mut self, revision: &Arc<Revision>) {
        self.scheduler.first_template(revision, self.now, &mut self.effects);
        self.follow();
    }

    /// What the environments of a revision that are there, or are started, were started for.
    pub(super) fn purposes_of(&self, revision: RevisionId) -> Vec<Purpose> {
        let live = |slot: &Slot| {
            self.scheduler
                .environments
                .get(slot)
                .is_some_and(|one| one.stage != pool::Stage::Ending)
        };
        let slots = self.purposes.iter();
        slots
            .filter(|(slot, _)| live(slot) && self.of_slot[slot] == revision)
            .map(|(_, purpose)| *purpose)
            .collect()
    }

    /// Calls a function once and lets everything come to rest.
    pub(super) fn call(&mut self, revision: &Arc<Revision>) -> bool {
        let admission = self.request(revision).unwrap();
        self.come_to_rest();
        match admission {
            Admission::Run(lease) => lease.cold,
            Admission::Wait(ticket) => self.granted[&ticket].cold,
        }
    }

    /// Lets time pass, and everything come to rest whenever something was due.
    pub(super) fn idle(&mut self, time: Duration) {
        let end = self.now + time;
        self.come_to_rest();
        while let Some(at) = self.scheduler.wake_at().filter(|at| *at <= end) {
            self.pass(at.saturating_duration_since(self.now));
            self.come_to_rest();
        }
        self.pass(end.saturating_duration_since(self.now));
        self.come_to_rest();
    }

    pub(super) fn retire(&mut self, revision: RevisionId) -> bool {
        let is_left = self.scheduler.retire(revision, self.now, &mut self.effects);
        self.follow();
        is_left
    }

    pub(super) fn give_up(&mut self, ticket: Ticket) -> GiveUp {
        let revision = self.waiting[&ticket];
        let given_up = self.scheduler.give_up(ticket, revision, self.now, &mut self.effects);
        if given_up == GiveUp::Gone {
            self.waiting.remove(&ticket);
        }
        self.follow();
        given_up
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        if self.scheduler.wake_at().is_some_and(|at| at <= self.now) {
            self.scheduler.tick(self.now, &mut self.effects);
        }
        self.follow();
    }

    /// Takes note of the effects and checks everything that must hold at all times.
    pub(super) fn follow(&mut self) {
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Start {
                    slot,
                    revision,
                    purpose,
                } => {
                    self.purposes.insert(slot, purpose);
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
                Effect::Template { revision, outcome } => self.templates.push((revision, outcome)),
            }
        }
        self.check();
    }

    pub(super) fn check(&self) {
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
        self.check_kept();
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
                self.check_line(pool, function);
                let is_covered = pool.waiters.len() <= pool.counts.at_hand() as usize;
                // After failures, starts go one at a time.
                let is_next = pool.failures >= pool::LAUNCH_TRIES && pool.counts.starting > 0;
                let is_patient = pool.counts.busy > 0
                    && pool
                        .patient_until
                        .is_some_and(|until| scheduler.retries.contains(&(until, pool.revision.id)));
                assert!(
                    is_covered || is_next || function.is_listed || is_patient || pool.is_in_line,
                    "one waits for nothing"
                );
            }
        }
        assert_eq!(
            scheduler.ring.len(),
            scheduler.functions.values().filter(|one| one.is_listed).count()
        );
    }

    /// Who waits beside an idle environment stands in line, behind turns that others have, and not for too long.
    fn check_line(&self, pool: &pool::Pool, function: &pool::Function) {
        let scheduler = &self.scheduler;
        let options = &scheduler.options;
        let is_in_line = !pool.waiters.is_empty() && pool.counts.idle > 0;
        assert_eq!(is_in_line, pool.is_in_line);
        let listed = scheduler
            .turns
            .line
            .iter()
            .filter(|one| **one == pool.revision.id)
            .count();
        assert_eq!(listed, usize::from(is_in_line));
        let slots = scheduler.environments.iter();
        let held = slots.filter(|(_, one)| one.turn.is_some());
        let own = |one: &pool::Environment| scheduler.pools[&one.revision].revision.function == pool.revision.function;
        assert_eq!(held.filter(|(_, one)| own(one)).count(), function.turns as usize);
        if !is_in_line {
            return;
        }
        assert!(
            scheduler.takes_turns(pool, self.now),
            "a function that takes no turns waits for one"
        );
        assert!(function.turns > 0, "a function of which nothing runs stands in line");
        assert!(!scheduler.has_turn(pool, self.now), "a turn is free");
        let longest = pool
            .waiters
            .front()
            .map(|waiter| waiter.since + options.patience_in_line);
        assert!(
            longest.is_some_and(|until| until > self.now),
            "one stands in line for too long"
        );
        let wake = scheduler.wake_at().expect("the clock looks at the line");
        assert!(
            longest.is_some_and(|until| wake <= until),
            "nobody looks when patience is over"
        );
        let first = scheduler.environments.values().filter(|one| one.turn.is_some());
        let first = first.map(|one| one.busy_since + options.turn).min();
        assert!(first.is_some_and(|at| wake <= at), "nobody looks when a turn is over");
    }

    /// What is counted along the way is what can be counted anew.
    fn check_kept(&self) {
        let scheduler = &self.scheduler;
        let all = || scheduler.environments.values();
        let count =
            |is: &dyn Fn(&pool::Environment) -> bool| u32::try_from(all().filter(|one| is(one)).count()).unwrap();
        let is_starting = |one: &pool::Environment| one.stage == pool::Stage::Starting;
        let is_ahead = |one: &pool::Environment| matches!(one.purpose, Purpose::Prewarmed | Purpose::SnapStart);
        assert!(scheduler.places <= scheduler.options.max_starting);
        assert_eq!(scheduler.places, count(&|one| one.has_place));
        assert!(all().all(|one| is_starting(one) || !one.has_place));
        assert_eq!(
            scheduler.starting_ahead,
            count(&|one| is_starting(one) && is_ahead(one))
        );
        let timers = all().filter(|one| one.due.is_some()).count();
        assert_eq!(scheduler.timers.len(), timers, "a timer without an environment");
        for (slot, one) in &scheduler.environments {
            let is_watched = is_starting(one) || matches!(one.stage, pool::Stage::Idle { .. });
            let may_stay = is_ahead(one) || one.purpose == Purpose::Provisioned || !one.has_place;
            assert!(
                !is_watched || one.due.is_some() || may_stay,
                "{slot:?} is never looked at"
            );
        }
        for (id, pool) in &scheduler.pools {
            let of = |purpose| count(&|one| one.revision == *id && one.purpose == purpose);
            assert_eq!(pool.kept.provisioned, of(Purpose::Provisioned));
            assert_eq!(pool.kept.templates, of(Purpose::SnapStart));
            assert_eq!(pool.kept.prewarmed, of(Purpose::Prewarmed));
            let slow = |one: &pool::Environment| one.revision == *id && is_starting(one) && !one.has_place;
            assert_eq!(pool.slow, count(&slow));
            assert!(
                pool.kept.templates <= 1 && pool.kept.prewarmed <= 1,
                "more than one ahead"
            );
            let is_exact = pool.idle_provisioned.len() <= pool.provisioned as usize;
            assert!(is_exact, "more is kept than is provisioned");
            let listed = scheduler.background.iter().filter(|listed| *listed == id).count();
            assert_eq!(listed, usize::from(pool.is_in_background));
        }
        for (at, _) in scheduler.timers.first().into_iter().chain(None::<&(_, Slot)>) {
            assert!(scheduler.wake_at().is_some_and(|wake| wake <= *at), "a timer is missed");
        }
    }

    /// Lets everything that goes on come to its end.
    pub(super) fn come_to_rest(&mut self) {
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
