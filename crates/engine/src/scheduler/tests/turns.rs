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
fn a_function_that_is_alone_has_twice_as_many_turns_until_another_is_called() {
    let mut world = two_turns();
    let (storm, quiet) = (warm(&mut world, "storm", 8), warm(&mut world, "quiet", 1));
    for _ in 0..8 {
        world.request(&storm).unwrap();
    }
    assert_eq!(world.busy.len(), 4);
    assert!(runs(&world.request(&quiet).unwrap()));
    for _ in 0..2 {
        world.release(busy_of(&world, &storm)[0], true);
    }
    world.release(busy_of(&world, &quiet)[0], true);
    assert_eq!(busy_of(&world, &storm).len(), 2);
    // Nobody else came for a second.
    world.pass(Duration::from_millis(1001));
    assert!(busy_of(&world, &storm).len() > 2);
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

#[test]
fn runs_that_outlast_their_turns_hold_nobody_up_and_soon_take_none() {
    let mut world = two_turns();
    let function = warm(&mut world, "sleeps", 40);
    for _ in 0..40 {
        world.request(&function).unwrap();
    }
    for _ in 0..10 {
        world.pass(MS);
    }
    assert_eq!((world.busy.len(), world.waiting.len()), (40, 0), "all run after 10 ms");
    // The next ones need no turn at all.
    world.come_to_rest();
    assert!((0..40).all(|_| runs(&world.request(&function).unwrap())));
    world.come_to_rest();
    // After a while it is tried again, and one that has become short takes turns again.
    world.pass(300 * MS);
    world.come_to_rest();
    for _ in 0..40 {
        world.request(&function).unwrap();
    }
    assert_eq!(world.busy.len(), 4);
    world.come_to_rest();
}

#[test]
fn nobody_stands_in_line_for_longer_than_is_said() {
    let mut world = two_turns();
    world.scheduler.options.turn = 1000 * MS;
    let function = warm(&mut world, "a", 8);
    for _ in 0..6 {
        world.request(&function).unwrap();
    }
    world.pass(7 * MS);
    world.request(&function).unwrap();
    world.pass(12 * MS);
    assert_eq!((world.busy.len(), world.waiting.len()), (4, 3));
    world.pass(MS);
    assert_eq!((world.busy.len(), world.waiting.len()), (6, 1));
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
