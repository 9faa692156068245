//! The engine with environments that have no processes, on a clock that stands still until everything waits.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test panics by design")]

mod fake;
mod meters;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ephyra_core::compute::{Invoke, SnapStartError, Steer};
use ephyra_core::environment::{LaunchError, Purpose};
use ephyra_core::invocation::{InvokeError, Outcome, ThrottleReason};
use ephyra_core::revision::Revision;
use ephyra_core::usage::UsageOutcome;
use ephyra_engine::Engine;
use fake::{call, engine, now, revision};
use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::task::JoinHandle;

/// Calls in a task of its own.
fn spawn(engine: &Engine, revision: &Arc<Revision>, event: &'static str) -> JoinHandle<Result<Outcome, InvokeError>> {
    let (engine, call) = (engine.clone(), call(revision, event));
    tokio::spawn(async move { engine.invoke(call).await })
}

/// The number of the environment that answered.
fn served_by(outcome: &Outcome) -> u32 {
    String::from_utf8_lossy(outcome.result.as_ref().unwrap())
        .parse()
        .unwrap()
}

/// Waits, on the paused clock, until something is so.
async fn until(mut is_so: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it did not become so within 10 s");
}

#[tokio::test(start_paused = true)]
async fn an_environment_is_used_again_and_only_its_first_use_is_cold() {
    let (engine, world) = engine(|_| {});
    let function = revision("a", 128);
    let first = engine.invoke(call(&function, "7")).await.unwrap();
    let second = engine.invoke(call(&function, "7")).await.unwrap();
    assert_eq!((served_by(&first), served_by(&second), world.launched()), (1, 1, 1));
    assert!(first.measures.cold.is_some());
    assert_eq!(
        (first.measures.queued, first.measures.billed_ms),
        (Duration::from_millis(100), 97)
    );
    assert!(second.measures.cold.is_none());
    assert_eq!(second.measures.queued, Duration::ZERO);
    let records = world.records.lock();
    assert_eq!(records[0].cold.unwrap().queue_us, 0);
    assert_eq!(
        (records[1].cold, records[1].billed_ms, records[1].outcome),
        (None, 7, UsageOutcome::Success)
    );
}

#[tokio::test(start_paused = true)]
async fn what_starts_at_once_is_waited_for_by_nobody() {
    let (engine, world) = engine(|options| options.memory_mb = 1 << 20);
    world.is_at_once.store(true, Ordering::SeqCst);
    let function = revision("a", 128);
    let first = engine.invoke(call(&function, "7")).now_or_never();
    assert!(first.is_none(), "it runs for a while");
    assert_eq!(world.launched(), 1);
    // Far more than may be started at a time, and each start lets the next one begin.
    let runs: Vec<_> = (0..900).map(|_| spawn(&engine, &function, "5")).collect();
    for run in runs {
        run.await.unwrap().unwrap();
    }
    assert!(world.launched() > 1);
    assert!(engine.drain().await);
    assert_eq!(world.alive(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_goes_on_behind_an_answer_keeps_the_environment_and_the_account_open() {
    let (engine, world) = engine(|_| {});
    let function = revision("a", 128);
    let outcome = engine.invoke(call(&function, "10 after 500")).await.unwrap();
    assert_eq!(
        (served_by(&outcome), outcome.measures.duration),
        (1, Duration::from_millis(10))
    );
    assert_eq!(
        (engine.snapshot().busy, world.records.lock().len()),
        (1, 0),
        "it goes on"
    );
    let other = engine.invoke(call(&function, "1")).await.unwrap();
    assert_eq!(served_by(&other), 2, "the first is not free yet");
    until(|| engine.snapshot().idle == 2).await;
    assert_eq!(world.records.lock()[1].duration_ms, 510.0);
    // What is cut off is accounted as far as it came.
    engine.invoke(call(&function, "10 after 5000000")).await.unwrap();
    assert!(!engine.drain().await, "one was broken off");
    until(|| world.records.lock().len() == 3).await;
    assert_eq!(world.records.lock()[2].duration_ms, 10.0);
}

#[tokio::test(start_paused = true)]
async fn a_cold_request_takes_whichever_environment_comes_first() {
    let (engine, world) = engine(|_| {});
    let function = revision("a", 128);
    let first = spawn(&engine, &function, "20");
    until(|| engine.snapshot().busy == 1).await;
    let second = engine.invoke(call(&function, "1")).await.unwrap();
    assert_eq!(served_by(&second), 1, "the freed one was there before the new one");
    assert!(second.measures.cold.is_none());
    first.await.unwrap().unwrap();
    // The new one becomes idle, and its first use is cold for the one that has it.
    until(|| engine.snapshot().idle == 2).await;
    assert_eq!(world.launched(), 2);
    let third = engine.invoke(call(&function, "1")).await.unwrap();
    assert_eq!(served_by(&third), 2);
    assert!(third.measures.cold.is_some());
}

#[tokio::test(start_paused = true)]
async fn an_invocation_goes_on_without_its_caller() {
    let (engine, world) = engine(|_| {});
    let function = revision("a", 128);
    // One is dropped while it waits for its environment, the next while it runs.
    for _ in 0..2 {
        let mut run = engine.invoke(call(&function, "50"));
        assert!((&mut run).now_or_never().is_none());
        drop(run);
        let done = world.records.lock().len() + 1;
        until(|| world.records.lock().len() == done).await;
    }
    assert_eq!(world.launched(), 1);
    assert_eq!(engine.snapshot().idle, 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_environment_is_replaced() {
    let (engine, world) = engine(|_| {});
    let function = revision("a", 128);
    for (event, outcome) in [("1 exit", UsageOutcome::Error), ("1 timeout", UsageOutcome::Timeout)] {
        let failed = engine.invoke(call(&function, event)).await.unwrap();
        assert!(failed.result.is_err());
        assert_eq!(world.records.lock().last().unwrap().outcome, outcome);
        assert_eq!((engine.snapshot().idle, world.alive()), (0, 0));
    }
    engine.invoke(call(&function, "1")).await.unwrap();
    assert_eq!(world.launched(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_failed_launch_answers_and_leaves_nothing() {
    let (engine, world) = engine(|_| {});
    let function = revision("a", 128);
    let absent = LaunchError::RuntimeAbsent {
        runtime: "python3.13".to_owned(),
        present: "nodejs22.x".to_owned(),
    };
    world
        .start_errors
        .lock()
        .extend([LaunchError::Sandbox("clone: EPERM".to_owned()), absent]);
    let answers = join_all((0..3).map(|_| spawn(&engine, &function, "1"))).await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert!(matches!(answers[0], Err(InvokeError::RuntimeAbsent { .. })));
    assert_eq!(
        answers[1].as_ref().err(),
        Some(&InvokeError::Launch("clone: EPERM".to_owned()))
    );
    assert!(answers[2].is_ok());
    assert_eq!(engine.snapshot().memory_reserved_mb, 128);
}

#[tokio::test(start_paused = true)]
async fn a_failed_initialisation_is_the_answer_of_one_invocation() {
    let (engine, world) = engine(|_| {});
    let function = revision("a", 128);
    *world.init_error.lock() = Some("no module".to_owned());
    let outcome = engine.invoke(call(&function, "1")).await.unwrap();
    assert_eq!(outcome.result.unwrap_err().error_type, "Runtime.ImportModuleError");
    *world.init_error.lock() = None;
    assert!(engine.invoke(call(&function, "1")).await.unwrap().result.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_oldest_idle_environment_makes_room_and_the_full_machine_throttles() {
    let (engine, world) = engine(|options| options.queue_timeout = Duration::from_secs(2));
    let (old, new, large) = (revision("old", 512), revision("new", 512), revision("large", 512));
    for function in [&old, &new] {
        engine.invoke(call(function, "1")).await.unwrap();
    }
    engine.invoke(call(&large, "1")).await.unwrap();
    assert_eq!(*world.ended.lock(), [1]);
    let busy = [spawn(&engine, &new, "60000"), spawn(&engine, &large, "60000")];
    until(|| engine.snapshot().busy == 2).await;
    let before = now();
    let refused = engine.invoke(call(&old, "1")).await.unwrap_err();
    assert_eq!(refused, InvokeError::Throttled(ThrottleReason::CallerRateLimitExceeded));
    assert_eq!((now() - before).as_secs(), 2);
    assert_eq!(engine.snapshot().in_flight, 2);
    for run in busy {
        run.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn one_whose_environment_is_being_started_is_not_thrown_out() {
    let (engine, world) = engine(|options| options.queue_timeout = Duration::from_secs(2));
    let slow = revision("slow", 128);
    world
        .start_time
        .lock()
        .insert(slow.function.clone(), Duration::from_secs(9));
    let outcome = engine.invoke(call(&slow, "1")).await.unwrap();
    assert_eq!(outcome.measures.queued.as_secs(), 9);
}

#[tokio::test(start_paused = true)]
async fn nothing_of_an_idle_function_is_left_after_the_keep_alive() {
    let (engine, world) = engine(|_| {});
    let function = revision("a", 128);
    engine.invoke(call(&function, "1")).await.unwrap();
    until(|| world.frozen.load(Ordering::SeqCst) == 1).await;
    let before = now();
    let handle = tokio::runtime::Handle::current();
    while world.alive() > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!((590..=602).contains(&(now() - before).as_secs()));
    until(|| handle.metrics().num_alive_tasks() == 0).await;
    let snapshot = engine.snapshot();
    assert!(snapshot.functions.is_empty());
    assert_eq!(snapshot.memory_reserved_mb, 0);
}

#[tokio::test(start_paused = true)]
async fn a_frozen_environment_serves_again_and_its_death_is_noticed() {
    let (engine, world) = engine(|_| {});
    let function = revision("a", 128);
    for frozen in 1..=2 {
        assert_eq!(served_by(&engine.invoke(call(&function, "1")).await.unwrap()), 1);
        until(|| world.frozen.load(Ordering::SeqCst) == frozen).await;
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    world.death.notify_waiters();
    until(|| world.alive() == 0).await;
    assert_eq!(engine.snapshot().idle, 0);
    assert_eq!(served_by(&engine.invoke(call(&function, "1")).await.unwrap()), 2);
}

#[tokio::test(start_paused = true)]
async fn calls_that_follow_each_other_freeze_nothing() {
    let (engine, world) = engine(|options| options.freeze_after = Duration::from_millis(50));
    let function = revision("a", 128);
    for _ in 0..100 {
        engine.invoke(call(&function, "1")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(45)).await;
    }
    assert_eq!(world.frozen.load(Ordering::SeqCst), 0);
    until(|| world.frozen.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_retired_revision_finishes_and_leaves() {
    let (engine, world) = engine(|_| {});
    let function = revision("a", 128);
    engine.invoke(call(&function, "1")).await.unwrap();
    let running = spawn(&engine, &function, "1000");
    until(|| engine.snapshot().busy == 1).await;
    let waiting = spawn(&engine, &function, "1000");
    until(|| engine.snapshot().waiting == 1).await;
    let before = now();
    engine.retire(function.id).await;
    assert!((1000..1300).contains(&(now() - before).as_millis()));
    assert!(running.await.unwrap().is_ok() && waiting.await.unwrap().is_ok());
    assert_eq!(world.alive(), 0);
    engine.retire(function.id).await;
}

#[tokio::test(start_paused = true)]
async fn provisioned_environments_are_started_ahead_and_replaced() {
    let (engine, world) = engine(|_| {});
    let function = revision("a", 128);
    engine.set_provisioned(Arc::clone(&function), 2);
    assert_eq!(engine.provisioned(function.id).available, 0);
    until(|| engine.provisioned(function.id).available == 2).await;
    let outcome = engine.invoke(call(&function, "30")).await.unwrap();
    assert!(outcome.measures.cold.is_none());
    assert_eq!(outcome.measures.billed_ms, 30);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!((world.alive(), world.launched()), (2, 2));
    world.death.notify_waiters();
    until(|| world.launched() == 4).await;
    until(|| engine.provisioned(function.id).available == 2).await;
    engine.set_provisioned(Arc::clone(&function), 0);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(world.alive(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_template_stands_ready_before_the_first_call_and_is_made_anew() {
    let (engine, world) = engine(|_| {});
    let function = revision("a", 128);
    assert_eq!(engine.first_template(Arc::clone(&function)).await, Ok(()));
    assert_eq!(*world.purposes.lock(), [Purpose::SnapStart]);
    assert_eq!(
        engine.first_template(Arc::clone(&function)).await,
        Ok(()),
        "it is there"
    );
    tokio::time::sleep(Duration::from_secs(86_400)).await;
    let first = engine.invoke(call(&function, "1")).await.unwrap();
    assert_eq!((served_by(&first), first.measures.queued), (1, Duration::ZERO));
    assert!(first.measures.cold.is_some(), "what its restoring took is told");
    until(|| world.launched() == 2).await;
    assert_eq!(*world.purposes.lock(), [Purpose::SnapStart; 2]);
    until(|| engine.snapshot().idle == 2).await;
    engine.retire(function.id).await;
    assert_eq!(world.alive(), 0);
    let late = engine.first_template(Arc::clone(&function)).await;
    assert_eq!(late, Err(SnapStartError::Undone));
}

#[tokio::test(start_paused = true)]
async fn a_template_that_fails_is_told_to_who_waits() {
    let (engine, world) = engine(|_| {});
    let function = revision("a", 128);
    *world.init_error.lock() = Some("no module".to_owned());
    let failed = engine.first_template(Arc::clone(&function)).await.unwrap_err();
    assert!(matches!(failed, SnapStartError::Init(error) if error.payload == "no module"));
    engine.set_snap_start(Arc::clone(&function), false);
    until(|| world.alive() == 0).await;
    *world.init_error.lock() = None;
    world
        .start_errors
        .lock()
        .push(LaunchError::Sandbox("clone: EPERM".to_owned()));
    let failed = engine.first_template(Arc::clone(&function)).await.unwrap_err();
    assert_eq!(failed, SnapStartError::Launch("clone: EPERM".to_owned()));
    // It is tried again behind that, and who waits when the platform goes down hears so.
    until(|| engine.snapshot().idle == 1).await;
    let other = engine.first_template(revision("b", 128));
    assert!(engine.drain().await);
    assert_eq!(other.await, Err(SnapStartError::Undone));
}

#[tokio::test(start_paused = true)]
async fn an_environment_is_there_before_a_call_that_is_expected() {
    let (engine, world) = engine(|_| {});
    let function = revision("hourly", 128);
    let mut cold = Vec::new();
    for _ in 0..10 {
        let outcome = engine.invoke(call(&function, "1")).await.unwrap();
        cold.push(outcome.measures.cold.is_some());
        tokio::time::sleep(Duration::from_secs(3600)).await;
    }
    assert_eq!(cold.iter().filter(|cold| **cold).count(), 7, "{cold:?}");
    assert_eq!(world.purposes.lock()[7..], [Purpose::Prewarmed; 4]);
}

#[tokio::test(start_paused = true)]
async fn provisioning_that_fails_says_why() {
    let (engine, world) = engine(|_| {});
    let function = revision("a", 128);
    *world.init_error.lock() = Some("no module named app".to_owned());
    engine.set_provisioned(Arc::clone(&function), 1);
    until(|| engine.provisioned(function.id).failure.is_some()).await;
    let status = engine.provisioned(function.id);
    assert!(status.failure.unwrap().contains("no module named app"));
    *world.init_error.lock() = None;
    until(|| engine.provisioned(function.id).available == 1).await;
    assert_eq!(engine.provisioned(function.id).failure, None);
}

#[tokio::test(start_paused = true)]
async fn draining_finishes_what_runs() {
    let (engine, world) = engine(|_| {});
    let function = revision("a", 128);
    let running = spawn(&engine, &function, "5000");
    until(|| engine.snapshot().busy == 1).await;
    let waiting = spawn(&engine, &function, "1");
    until(|| engine.snapshot().in_flight == 2).await;
    let draining = tokio::spawn({
        let engine = engine.clone();
        async move { engine.drain().await }
    });
    until(|| engine.snapshot().is_draining).await;
    let refused = engine.invoke(call(&function, "1")).await.unwrap_err();
    assert_eq!(refused, InvokeError::Draining);
    assert!(running.await.unwrap().is_ok() && waiting.await.unwrap().is_ok());
    assert!(draining.await.unwrap());
    assert_eq!(world.alive(), 0);
}

#[tokio::test(start_paused = true)]
async fn draining_breaks_off_what_runs_too_long() {
    let (engine, world) = engine(|options| options.memory_mb = 128);
    let (function, other) = (revision("a", 128), revision("b", 128));
    let running = spawn(&engine, &function, "800000");
    until(|| engine.snapshot().busy == 1).await;
    let waiting = tokio::spawn({
        let (engine, call) = (engine.clone(), call(&other, "1"));
        async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            engine.invoke(call).await
        }
    });
    until(|| engine.snapshot().waiting == 1).await;
    let before = now();
    assert!(!engine.drain().await);
    assert!((20..26).contains(&(now() - before).as_secs()));
    assert_eq!(running.await.unwrap().unwrap_err(), InvokeError::Draining);
    assert!(waiting.await.unwrap().is_err());
    assert_eq!(world.alive(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_machine_is_shared_between_functions() {
    let (engine, _world) = engine(|options| {
        options.memory_mb = 256;
        options.queue_timeout = Duration::from_secs(60);
    });
    let (greedy, modest) = (revision("greedy", 128), revision("modest", 128));
    let crowd: Vec<_> = (0..100).map(|_| spawn(&engine, &greedy, "200")).collect();
    until(|| engine.snapshot().busy == 2).await;
    let before = now();
    engine.invoke(call(&modest, "200")).await.unwrap();
    let took = (now() - before).as_millis();
    assert!((500..2000).contains(&took), "served among the crowd, after {took} ms");
    assert!(engine.snapshot().in_flight > 50);
    for run in crowd {
        run.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_never_exceeds_the_memory_and_loses_nobody() {
    let (engine, world) = engine(|options| options.queue_timeout = Duration::from_secs(600));
    let functions: Vec<_> = ["a", "b", "c", "d"].map(|name| revision(name, 200)).into();
    let runs: Vec<_> = (0..400).map(|one| spawn(&engine, &functions[one % 4], "10")).collect();
    let watch = tokio::spawn({
        let (engine, world) = (engine.clone(), Arc::clone(&world));
        async move {
            until(|| {
                assert!(world.alive() <= 5 && engine.snapshot().memory_reserved_mb <= 1024);
                world.records.lock().len() == 400
            })
            .await;
        }
    });
    for run in runs {
        run.await.unwrap().unwrap();
    }
    watch.await.unwrap();
    assert!(world.launched() < 100, "{} starts for 400 calls", world.launched());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_threads_lose_nobody() {
    let (engine, world) = engine(|options| options.freeze_after = Duration::from_millis(1));
    let functions: Vec<_> = ["a", "b", "c", "d", "e"].map(|name| revision(name, 256)).into();
    for function in &functions {
        world
            .start_time
            .lock()
            .insert(function.function.clone(), Duration::from_millis(1));
    }
    let callers: Vec<_> = (0..16_usize)
        .map(|caller| {
            let (engine, functions) = (engine.clone(), functions.clone());
            tokio::spawn(async move {
                for turn in 0..100 {
                    let function = &functions[(caller + turn / 20) % 5];
                    let mut run = engine.invoke(call(function, if turn % 7 == 0 { "1" } else { "0" }));
                    if turn % 10 == 9 {
                        // It either ends at once or goes on without us.
                        drop((&mut run).now_or_never());
                    } else {
                        run.await.unwrap();
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    until(|| world.records.lock().len() == 1600).await;
    assert!(engine.drain().await);
    assert_eq!(world.alive(), 0);
}
