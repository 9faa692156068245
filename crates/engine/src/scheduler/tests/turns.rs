//! Who runs at once of those whose runs are short.

use std::sync::Arc;
use std::time::Duration;

use ephyra_core::revision::Revision;

use super::super::{Admission, Slot};
use super::world::{World, options, revision};
use crate::options::Options;

const MS: Duration = Duration::from_millis(1);

fn two_turns() -> World {
    World::new(Options {
        account_concurrency: 100,
        memory_mb: 1 << 20,
        turns: 2,
        turn: 2 * MS,
        patience_in_line: 20 * MS,
        ..options()
    })
}

/// A function with so many idle environments, all used before.
fn warm(world: &mut World, name: &str, count: usize) -> Arc<Revision> {
    let function = revision(name, 1769);
    world.scheduler.options.turns = 0;
    for _ in 0..count {
        world.request(&function).unwrap();
    }
    world.come_to_rest();
    world.scheduler.options.turns = 2;
    function
}

/// Has somebody else called as well, so that nobody is alone for ten seconds.
fn with_company(world: &mut World) {
    let others = [warm(world, "other", 1), warm(world, "another", 1)];
    acquaint(world, &[&others[0], &others[1]]);
}

/// Has each of these called, so that none is alone.
fn acquaint(world: &mut World, functions: &[&Arc<Revision>]) {
    for function in functions {
        world.call(function);
    }
}

fn runs(admission: &Admission) -> bool {
    matches!(admission, Admission::Run(_))
}

fn busy_of(world: &World, function: &Arc<Revision>) -> Vec<Slot> {
    let all = world.busy.iter().filter(|(_, one)| **one == function.id);
    all.map(|(slot, _)| *slot).collect()
}

#[test]
fn short_runs_take_turns_and_what_has_answered_takes_the_next() {
    let mut world = two_turns();
    let function = warm(&mut world, "a", 4);
    let other = warm(&mut world, "b", 1);
    acquaint(&mut world, &[&other, &function]);
    let admitted: Vec<_> = (0..4).map(|_| runs(&world.request(&function).unwrap())).collect();
    assert_eq!(admitted, [true, true, false, false]);
    let busy = busy_of(&world, &function);
    world.release(busy[0], true);
    assert_eq!(busy_of(&world, &function), busy, "the same goes on");
    assert_eq!((world.waiting.len(), world.starting.len()), (1, 0));
    world.come_to_rest();
    assert!(world.waiting.is_empty());
}

#[test]
fn a_function_that_is_alone_has_thrice_as_many_turns_until_another_is_called() {
    let mut world = two_turns();
    let (storm, quiet) = (warm(&mut world, "storm", 8), warm(&mut world, "quiet", 1));
    world.idle(Duration::from_secs(10));
    for _ in 0..8 {
        world.request(&storm).unwrap();
    }
    assert_eq!(world.busy.len(), 6);
    assert!(runs(&world.request(&quiet).unwrap()));
    for _ in 0..4 {
        world.release(busy_of(&world, &storm)[0], true);
    }
    world.release(busy_of(&world, &quiet)[0], true);
    assert_eq!(busy_of(&world, &storm).len(), 2);
    world.come_to_rest();
    world.idle(Duration::from_millis(9_999));
    for _ in 0..8 {
        world.request(&storm).unwrap();
    }
    assert_eq!(busy_of(&world, &storm).len(), 2);
    // Nobody else came for ten seconds.
    world.pass(MS);
    assert_eq!(busy_of(&world, &storm).len(), 6);
    world.come_to_rest();
}

#[test]
fn a_function_of_which_nothing_runs_waits_for_no_storm_and_then_has_its_share() {
    let mut world = two_turns();
    let (storm, quiet) = (warm(&mut world, "storm", 8), warm(&mut world, "quiet", 4));
    acquaint(&mut world, &[&quiet, &storm]);
    for _ in 0..8 {
        world.request(&storm).unwrap();
    }
    assert!(runs(&world.request(&quiet).unwrap()));
    for _ in 0..3 {
        assert!(!runs(&world.request(&quiet).unwrap()));
    }
    assert_eq!((busy_of(&world, &storm).len(), busy_of(&world, &quiet).len()), (2, 1));
    // One too many run; what ends first makes no way for another.
    world.release(busy_of(&world, &storm)[0], true);
    assert_eq!((busy_of(&world, &storm).len(), busy_of(&world, &quiet).len()), (1, 1));
    // From now on each has one of both turns.
    for _ in 0..3 {
        for function in [&storm, &quiet] {
            world.release(busy_of(&world, function)[0], true);
        }
        assert_eq!(busy_of(&world, &storm).len(), 1);
    }
    assert!(busy_of(&world, &quiet).len() <= 1);
    // The storm has both again when nobody else is there.
    while let Some(slot) = busy_of(&world, &quiet).first().copied() {
        world.release(slot, true);
    }
    assert_eq!(busy_of(&world, &storm).len(), 2);
}

/// Has 20 clients call a function for so long, one call after the other each; a run takes what `took` says of so many
/// that run at once, and computes for a tenth of it.
fn storm(world: &mut World, function: &Arc<Revision>, time: Duration, took: impl Fn(usize) -> Duration) -> usize {
    let mut done = 0;
    let end = world.now + time;
    while world.now < end {
        for _ in busy_of(world, function).len() + world.waiting.len()..20 {
            world.request(function).unwrap();
        }
        world.pass(MS / 10);
        let busy = busy_of(world, function);
        let all = took(busy.len());
        for slot in busy {
            if world.scheduler.environments[&slot].busy_since + all <= world.now {
                world.release_after(slot, Some(all / 10));
                done += 1;
            }
        }
    }
    done
}

#[test]
fn runs_that_wait_are_more_and_more_at_once_and_soon_take_no_turns() {
    let mut world = two_turns();
    let function = warm(&mut world, "waits", 20);
    with_company(&mut world);
    let waits = |_: usize| Duration::from_micros(1500);
    let slow = storm(&mut world, &function, 10 * MS, waits);
    assert!(slow <= 16, "{slow} in 10 ms are more than two at once");
    storm(&mut world, &function, 200 * MS, waits);
    let fast = storm(&mut world, &function, 10 * MS, waits);
    assert!(fast >= 100, "{fast} in 10 ms are not all at once");
    world.come_to_rest();
    // What has become short takes turns again in time.
    world.pass(300 * MS);
    with_company(&mut world);
    for _ in 0..40 {
        world.request(&function).unwrap();
    }
    assert_eq!(busy_of(&world, &function).len(), 2);
    world.come_to_rest();
}

#[test]
fn runs_that_wait_for_a_processor_are_not_let_loose() {
    let mut world = two_turns();
    let function = warm(&mut world, "a", 40);
    with_company(&mut world);
    // The machine is full of something else, and the more run, the longer it takes.
    let full = |at_once: usize| MS * u32::try_from(at_once).unwrap() * 3 / 5;
    let mut wide = 0;
    for _ in 0..1000 {
        storm(&mut world, &function, MS, full);
        wide += usize::from(busy_of(&world, &function).len() > 2);
    }
    // More are tried, and not again and again.
    assert!((1..100).contains(&wide), "more than two at once in {wide} of 1000 ms");
    world.come_to_rest();
}

#[test]
fn runs_that_outlast_their_turns_hold_nobody_up() {
    let mut world = two_turns();
    let function = warm(&mut world, "sleeps", 40);
    with_company(&mut world);
    for _ in 0..40 {
        world.request(&function).unwrap();
    }
    assert_eq!(busy_of(&world, &function).len(), 2);
    for _ in 0..20 {
        world.pass(MS);
    }
    assert_eq!((world.busy.len(), world.waiting.len()), (40, 0), "all run after 20 ms");
    world.come_to_rest();
}

#[test]
fn nobody_stands_in_line_for_longer_than_is_said() {
    let mut world = two_turns();
    world.scheduler.options.turn = 1000 * MS;
    let function = warm(&mut world, "a", 8);
    with_company(&mut world);
    for _ in 0..4 {
        world.request(&function).unwrap();
    }
    world.pass(7 * MS);
    world.request(&function).unwrap();
    world.pass(12 * MS);
    assert_eq!((world.busy.len(), world.waiting.len()), (2, 3));
    world.pass(MS);
    assert_eq!((world.busy.len(), world.waiting.len()), (4, 1));
    world.pass(7 * MS);
    assert!(world.waiting.is_empty());
    world.come_to_rest();
}

#[test]
fn an_environment_that_has_used_its_share_comes_after_the_others() {
    let mut world = two_turns();
    world.scheduler.options.turns = 0;
    let function = revision("small", 177);
    for _ in 0..2 {
        world.request(&function).unwrap();
    }
    world.start_all();
    let slots = busy_of(&world, &function);
    world.release(slots[0], true);
    // A tenth of the time is its own: of 20 ms, 2.
    world.release_after(slots[1], Some(3 * MS));
    let Ok(Admission::Run(lease)) = world.request(&function) else {
        panic!("two are idle")
    };
    assert_eq!(lease.slot, slots[0]);
    world.release(slots[0], true);
    world.pass(30 * MS);
    world.request(&function).unwrap();
    world.request(&function).unwrap();
    // Time has given it its share back.
    world.release(slots[0], true);
    world.release_after(slots[1], Some(Duration::ZERO));
    let Ok(Admission::Run(lease)) = world.request(&function) else {
        panic!("two are idle")
    };
    assert_eq!(lease.slot, slots[1], "the one used last");
}

#[test]
fn nobody_is_started_while_there_are_idle_ones_that_wait_for_their_turns() {
    let mut world = two_turns();
    world.scheduler.options.turn = 1000 * MS;
    let function = warm(&mut world, "a", 4);
    with_company(&mut world);
    for _ in 0..40 {
        world.request(&function).unwrap();
    }
    world.pass(19 * MS);
    assert_eq!((busy_of(&world, &function).len(), world.starting.len()), (2, 0));
    // They have waited for long enough, and now there are none.
    world.pass(MS);
    assert!(!world.starting.is_empty());
    world.come_to_rest();
}
