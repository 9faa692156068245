//! What is kept started: provisioned environments, templates, and environments for calls that are expected.

use std::time::Duration;

use ephyra_core::compute::SnapStartError;
use ephyra_core::environment::Purpose;

use super::super::Admission;
use super::world::{World, options, revision};
use crate::options::Options;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn exactly_as_many_as_are_provisioned_are_there() {
    let mut world = World::new(options());
    let function = revision("a", 128);
    // Those that calls have started are no substitute.
    world.call(&function);
    world.provision(&function, 3);
    world.start_all();
    let count = |world: &World, purpose| {
        world
            .purposes_of(function.id)
            .iter()
            .filter(|one| **one == purpose)
            .count()
    };
    assert_eq!(
        (count(&world, Purpose::Provisioned), count(&world, Purpose::OnDemand)),
        (3, 1)
    );
    let status = world.scheduler.provisioned(function.id);
    assert_eq!((status.available, status.allocated), (3, 3));
    // They are used before others, and more calls than there are get others.
    for _ in 0..5 {
        world.request(&function).unwrap();
    }
    world.start_all();
    assert_eq!(
        (count(&world, Purpose::Provisioned), count(&world, Purpose::OnDemand)),
        (3, 2)
    );
    // The surplus ends at once, and what is in use of it when its call is over.
    world.come_to_rest();
    world.provision(&function, 1);
    assert_eq!(world.ending.len(), 2);
    world.end_all();
    assert_eq!(count(&world, Purpose::Provisioned), 1);
    let Ok(Admission::Run(lease)) = world.request(&function) else {
        panic!("the provisioned one is idle")
    };
    world.provision(&function, 0);
    assert!(world.ending.is_empty());
    world.release(lease.slot, true);
    assert!(world.ending.contains(&lease.slot));
    world.end_all();
    assert_eq!(
        (count(&world, Purpose::Provisioned), count(&world, Purpose::OnDemand)),
        (0, 2)
    );
    world.idle(MINUTE * 11);
    assert!(world.scheduler.is_empty());
}

#[test]
fn a_provisioned_environment_that_dies_is_replaced_and_one_that_starts_too_late_ended() {
    let mut world = World::new(options());
    let function = revision("a", 128);
    world.provision(&function, 1);
    world.start_all();
    let slot = *world.of_slot.keys().next().unwrap();
    world.scheduler.died(slot, world.now, &mut world.effects);
    world.follow();
    world.end_all();
    assert_eq!(world.scheduler.provisioned(function.id).allocated, 0);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.scheduler.provisioned(function.id).allocated, 1);
    world.provision(&function, 0);
    world.start_all();
    assert_eq!(world.ending.len(), 1);
    world.end_all();
    assert!(world.scheduler.is_empty());
}

#[test]
fn a_template_serves_one_cold_start_and_is_made_anew() {
    let mut world = World::new(options());
    let function = revision("a", 128);
    world.first_template(&function);
    assert_eq!(world.purposes_of(function.id), [Purpose::SnapStart]);
    assert!(world.templates.is_empty());
    world.start_all();
    assert_eq!(world.templates, [(function.id, Ok(()))]);
    // It stays, whatever the keep-alive.
    world.idle(MINUTE * 60 * 24);
    let Ok(Admission::Run(first)) = world.request(&function) else {
        panic!("the template is taken")
    };
    assert!(first.cold, "it is restored");
    assert_eq!(world.starting.len(), 1, "the next one is made in the background");
    world.start_all();
    // A warm environment goes before the template.
    world.release(first.slot, true);
    let Ok(Admission::Run(second)) = world.request(&function) else {
        panic!()
    };
    assert_eq!((second.slot, second.cold), (first.slot, false));
    world.release(second.slot, true);
    world.keep_template(&function, false);
    world.idle(MINUTE * 11);
    assert!(world.scheduler.is_empty());
}

#[test]
fn the_first_template_makes_room_and_gives_way_itself_until_there_is_room_to_spare() {
    let mut world = World::new(options());
    let (snap, other) = (revision("snap", 512), revision("other", 1024));
    world.call(&other);
    world.first_template(&snap);
    world.end_all();
    world.start_all();
    assert_eq!(world.templates, [(snap.id, Ok(()))]);
    // A call needs all of the memory; while its environment is there, no template is.
    assert!(world.call(&other));
    assert!(world.purposes_of(snap.id).is_empty());
    world.pass(Duration::from_secs(1));
    assert!(world.starting.is_empty(), "a template makes nobody end");
    world.idle(MINUTE * 11);
    assert_eq!(world.purposes_of(snap.id), [Purpose::SnapStart]);
}

#[test]
fn a_template_that_fails_to_initialise_says_why() {
    let mut world = World::new(options());
    let function = revision("a", 128);
    world.first_template(&function);
    let slot = *world.starting.keys().next().unwrap();
    world.start(slot, Some("no module"));
    let (_, outcome) = world.templates.pop().unwrap();
    assert!(matches!(outcome, Err(SnapStartError::Init(error)) if error.payload == "no module"));
    world.end_all();
    world.retire(function.id);
    assert!(world.scheduler.pools.is_empty());
}

#[test]
fn templates_made_in_the_background_fill_half_of_the_memory_one_by_one() {
    let mut world = World::new(options());
    let versions: Vec<_> = (0..6).map(|number| revision(&format!("f{number}"), 128)).collect();
    for version in &versions {
        world.keep_template(version, true);
    }
    assert_eq!(world.starting.len(), 1);
    world.start_all();
    let there = versions
        .iter()
        .filter(|one| !world.purposes_of(one.id).is_empty())
        .count();
    assert_eq!(there, 4, "half of 1024 MB");
}

#[test]
fn a_call_that_comes_every_hour_finds_an_environment_that_was_not_there_in_between() {
    let mut world = World::new(options());
    let function = revision("hourly", 128);
    let mut colds = Vec::new();
    let mut empty = Duration::ZERO;
    for _ in 0..12 {
        colds.push(world.call(&function));
        for _ in 0..60 {
            world.idle(MINUTE);
            if world.scheduler.is_empty() {
                empty += MINUTE;
            }
        }
    }
    assert_eq!(colds.iter().filter(|cold| **cold).count(), 7, "{colds:?}");
    assert!(!colds[7..].contains(&true));
    assert!(
        empty > MINUTE * 60 * 8,
        "it was there for most of the time: {empty:?} without"
    );
    assert_eq!(world.scheduler.forecasts().right, 5);
    // When the calls stop, one environment is started for nothing, and no more.
    world.idle(MINUTE * 60 * 24);
    let forecasts = world.scheduler.forecasts();
    assert_eq!((forecasts.right, forecasts.wrong), (5, 1));
    assert!(world.scheduler.is_empty() && world.scheduler.wake_at().is_none());
}

#[test]
fn nothing_is_started_ahead_for_the_retired_the_stopped_and_without_room() {
    for case in 0..3 {
        let mut world = World::new(options());
        let (function, large) = (revision("hourly", 128), revision("large", 1024));
        for _ in 0..8 {
            world.call(&function);
            world.idle(MINUTE * 60);
        }
        assert_eq!(world.scheduler.forecasts().right, 1);
        world.call(&function);
        world.idle(MINUTE * 10);
        assert!(world.scheduler.is_empty());
        match case {
            0 => {
                world.retire(function.id);
            }
            1 => world.scheduler.set_reserved(&function.function, Some(0)),
            _ => {
                world.provision(&large, 1);
                world.start_all();
            }
        }
        let started = world.of_slot.len();
        world.idle(MINUTE * 120);
        assert_eq!(world.of_slot.len(), started, "case {case}");
    }
}

#[test]
fn a_fixed_keep_alive_is_what_it_says() {
    let mut world = World::new(Options {
        is_adaptive: false,
        ..options()
    });
    let function = revision("hourly", 128);
    for _ in 0..10 {
        assert!(world.call(&function));
        world.idle(MINUTE * 10 - Duration::from_secs(1));
        assert!(!world.scheduler.is_empty());
        world.idle(MINUTE * 50);
        assert!(world.scheduler.is_empty());
    }
}

#[test]
fn starts_that_take_long_hold_up_nobody() {
    let mut world = World::new(Options {
        memory_mb: 2048,
        account_concurrency: 100,
        ..options()
    });
    let (slow, quick) = (revision("slow", 128), revision("quick", 128));
    for _ in 0..9 {
        world.request(&slow).unwrap();
    }
    world.request(&quick).unwrap();
    let count = |world: &World, name: &str| {
        let all = world.starting.values();
        all.filter(|one| one.function.as_str() == name).count()
    };
    assert_eq!((count(&world, "slow"), count(&world, "quick")), (3, 0));
    world.pass(Duration::from_millis(249));
    assert_eq!(count(&world, "quick"), 0);
    world.pass(Duration::from_millis(1));
    assert_eq!(count(&world, "quick"), 1);
    // However many it wants, one function has only so many of them, and the places are there for others.
    let others: Vec<_> = (0..4).map(|number| revision(&format!("f{number}"), 128)).collect();
    for _ in 0..4 {
        world.pass(Duration::from_millis(250));
    }
    assert!(count(&world, "slow") <= 5, "{}", count(&world, "slow"));
    for other in &others[..3] {
        world.request(other).unwrap();
        assert_eq!(count(&world, other.function.as_str()), 1);
    }
    world.come_to_rest();
    assert!(world.waiting.is_empty());
}
