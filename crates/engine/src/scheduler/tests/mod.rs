//! The core under random histories (`history`), and the rules that a history alone would not show.

mod ahead;
mod history;
mod rhythm;
mod turns;
mod world;

use std::sync::Arc;
use std::time::Duration;

use ephyra_core::invocation::ThrottleReason;
use ephyra_core::revision::Revision;

use super::{Admission, GiveUp, Refusal};
use crate::options::Options;
use world::{World, options, revision};

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
fn when_memory_is_full_there_is_room_for_the_next_small_one() {
    for (memory_mb, room) in [(64, 1), (128, 0)] {
        let mut world = World::new(options());
        for number in 0..world::MEMORY_MB / u64::from(memory_mb) {
            assert!(world.ending.is_empty(), "there is memory left");
            world.request(&revision(&number.to_string(), memory_mb)).unwrap();
            let slot = *world.starting.keys().next().unwrap();
            world.start(slot, None);
            world.release(slot, true);
        }
        assert_eq!(world.ending.len(), room, "of {memory_mb} MB");
        if let Some(slot) = world.ending.first().copied() {
            world.end(slot);
            world.request(&revision("next", memory_mb)).unwrap();
            assert_eq!(world.starting.len(), 1, "it does not wait");
        }
    }
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
fn a_call_waits_for_an_environment_that_is_about_to_be_free_and_not_for_long() {
    let mut world = World::new(Options {
        patience: Duration::from_millis(5),
        account_concurrency: 100,
        ..options()
    });
    let function = revision("quick", 128);
    // Of a function that never ran nothing is known.
    for _ in 0..2 {
        world.request(&function).unwrap();
    }
    assert_eq!(world.starting.len(), 2);
    world.start_all();
    world.pass(Duration::from_millis(1));
    world.come_to_rest();
    // Two in use come free five times each before a start would end.
    for _ in 0..14 {
        world.request(&function).unwrap();
    }
    assert_eq!((world.busy.len(), world.waiting.len()), (2, 12));
    assert_eq!(world.starting.len(), 2, "for the two that ten turns do not reach");
    world.pass(Duration::from_millis(4));
    assert_eq!(world.starting.len(), 2);
    // The runs turned out to be long after all.
    world.pass(Duration::from_millis(1));
    assert_eq!(world.starting.len(), 3, "as many as may be at once");
    world.come_to_rest();
    assert!(world.waiting.is_empty());
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

#[test]
fn what_shares_a_process_reserves_nothing_and_is_not_ended_to_make_room() {
    let mut world = World::new(Options {
        memory_mb: 256,
        sharing: ["shared".to_owned()].into(),
        ..options()
    });
    let shared = |name: &str| {
        let mut revision = (*revision(name, 1024)).clone();
        revision.runtime = "shared".to_owned();
        Arc::new(revision)
    };
    let (one, two) = (shared("one"), shared("two"));
    assert!(world.call(&one));
    assert!(world.call(&two));
    for name in ["a", "b", "c"] {
        assert!(world.call(&revision(name, 128)));
    }
    // Those that reserve had to make room for each other.
    assert!(!world.call(&one) && !world.call(&two));
}

#[test]
fn a_function_that_has_nothing_finds_a_place_beside_one_that_grows() {
    let mut world = World::new(Options {
        max_growing: 2,
        ..options()
    });
    let (grows, new) = (revision("grows", 64), revision("new", 64));
    for _ in 0..4 {
        world.request(&grows).unwrap();
    }
    assert_eq!(world.starting.len(), 2);
    world.request(&new).unwrap();
    let starts =
        |world: &World, one: &Arc<Revision>| world.starting.values().filter(|other| other.id == one.id).count();
    assert_eq!((starts(&world, &grows), starts(&world, &new)), (2, 1));
    // Neither does what has one already, nor what is new, leave anybody out.
    world.come_to_rest();
    assert!(world.waiting.is_empty());
}
