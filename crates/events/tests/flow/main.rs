//! Accepted events on a real store, with functions that are told how to fare and a clock that is moved.
#![allow(clippy::unwrap_used, reason = "a test panics by design")]

mod fake;

use std::time::Duration;

use ephyra_core::compute::{Accept as _, AcceptError};
use ephyra_core::invocation::{InvokeError, ThrottleReason};
use ephyra_events::Verdict;
use ephyra_events::decide::Reason;
use fake::{Answer, House, soon};
use futures_util::FutureExt as _;

const SECOND: Duration = Duration::from_secs(1);
const FULL: InvokeError = InvokeError::Throttled(ThrottleReason::CallerRateLimitExceeded);
const RESERVED: InvokeError = InvokeError::Throttled(ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded);

#[tokio::test]
async fn an_event_runs_once_and_settles() {
    let mut house = House::open();
    let events = house.start();
    let event = house.event("hello");
    events.accept(event.clone()).await.unwrap();
    let run = house.next_run().await;
    assert_eq!((run.request_id, &run.payload), (event.request_id, &event.payload));
    assert_eq!(
        (&run.client_context, &run.trace_id),
        (&event.client_context, &event.trace_id)
    );
    let settlement = house.next_settlement().await;
    assert_eq!((settlement.event, settlement.verdict), (event, Verdict::Succeeded));
    assert_eq!(settlement.invocations, 1);
    house.ends_empty(events).await;
}

#[tokio::test]
async fn a_failing_function_is_tried_three_times_under_one_request_id() {
    let mut house = House::open();
    house.answer(|_| Answer::Error);
    let events = house.start();
    let event = house.event("hello");
    events.accept(event.clone()).await.unwrap();
    assert_eq!(house.next_run().await.request_id, event.request_id);
    for wait in [60, 120] {
        house.wait_out(Duration::from_secs(wait)).await;
        let run = house.next_run().await;
        assert_eq!((run.request_id, &run.payload), (event.request_id, &event.payload));
    }
    let settlement = house.next_settlement().await;
    assert_eq!(settlement.verdict, Verdict::GivenUp(Reason::RetriesExhausted));
    assert_eq!(settlement.invocations, 3);
    assert!(settlement.outcome.unwrap().result.is_err());
    house.ends_empty(events).await;
}

#[tokio::test]
async fn throttles_back_off_and_do_not_count() {
    let mut house = House::open();
    house.answer(|run| match run {
        0..3 => Answer::Refuse(FULL),
        3 => Answer::Error,
        _ => Answer::Success,
    });
    let events = house.start();
    events.accept(house.event("hello")).await.unwrap();
    house.next_run().await;
    for wait in [1, 2, 4, 60] {
        house.wait_out(Duration::from_secs(wait)).await;
        house.next_run().await;
    }
    let settlement = house.next_settlement().await;
    assert_eq!((settlement.verdict, settlement.invocations), (Verdict::Succeeded, 2));
    house.ends_empty(events).await;
}

#[tokio::test]
async fn an_event_that_waited_too_long_is_given_up() {
    let mut house = House::open();
    house.answer(|_| Answer::Refuse(FULL));
    house.config(2, 60);
    let events = house.start();
    events.accept(house.event("hello")).await.unwrap();
    house.next_run().await;
    // 1 + 2 + 4 + 8 + 16 = 31 s, and 32 s more would be beyond the minute.
    for wait in [1, 2, 4, 8, 16] {
        house.wait_out(Duration::from_secs(wait)).await;
        house.next_run().await;
    }
    let settlement = house.next_settlement().await;
    assert_eq!(settlement.verdict, Verdict::GivenUp(Reason::EventAgeExceeded));
    assert_eq!(settlement.invocations, 0);
    house.ends_empty(events).await;
}

#[tokio::test]
async fn an_event_that_is_too_old_when_its_turn_comes_does_not_run() {
    let mut house = House::open();
    house.options.max_in_flight = 1;
    house.config(2, 60);
    house.answer(|_| Answer::Held);
    let events = house.start();
    events.accept(house.event("hello")).await.unwrap();
    house.next_run().await;
    let late = house.event("hello");
    events.accept(late.clone()).await.unwrap();
    house.advance(61 * SECOND);
    house.release_one();
    assert_eq!(house.next_settlement().await.verdict, Verdict::Succeeded);
    let settlement = house.next_settlement().await;
    assert_eq!(settlement.event, late);
    assert_eq!(settlement.verdict, Verdict::GivenUp(Reason::EventAgeExceeded));
    assert_eq!(settlement.invocations, 0);
    house.ends_empty(events).await;
}

#[tokio::test]
async fn functions_that_cannot_run_lose_their_events_to_the_hook() {
    let mut house = House::open();
    house.answer(|_| Answer::Refuse(RESERVED));
    let events = house.start();
    for (function, reason) in [
        ("gone", Reason::FunctionGone),
        ("unfit", Reason::FunctionUnfit),
        ("stopped", Reason::FunctionStopped),
    ] {
        events.accept(house.event(function)).await.unwrap();
        assert_eq!(house.next_settlement().await.verdict, Verdict::GivenUp(reason));
    }
    house.ends_empty(events).await;
}

#[tokio::test]
async fn a_function_that_is_not_ready_is_waited_for() {
    let mut house = House::open();
    let events = house.start();
    events.accept(house.event("pending")).await.unwrap();
    house.wait_out(SECOND).await;
    house.next_run().await;
    assert_eq!(house.next_settlement().await.verdict, Verdict::Succeeded);
    house.ends_empty(events).await;
}

#[tokio::test]
async fn no_more_run_at_once_than_may() {
    let mut house = House::open();
    house.options.max_in_flight = 3;
    house.answer(|_| Answer::Held);
    let events = house.start();
    for _ in 0..8 {
        events.accept(house.event("hello")).await.unwrap();
    }
    for _ in 0..3 {
        house.next_run().await;
    }
    for _ in 0..5 {
        assert_eq!(house.waiting_runs(), 0);
        house.release_one();
        house.next_run().await;
    }
    (0..3).for_each(|_| house.release_one());
    for _ in 0..8 {
        assert_eq!(house.next_settlement().await.verdict, Verdict::Succeeded);
    }
    assert_eq!(house.most_at_once(), 3);
    house.ends_empty(events).await;
}

#[tokio::test]
async fn stopping_waits_for_what_runs_and_keeps_the_rest() {
    let mut house = House::open();
    house.options.max_in_flight = 1;
    house.answer(|_| Answer::Held);
    let events = house.start();
    for _ in 0..2 {
        events.accept(house.event("hello")).await.unwrap();
    }
    house.next_run().await;
    {
        let mut stop = Box::pin(events.stop(60 * SECOND));
        assert!(stop.as_mut().now_or_never().is_none());
        let refused = events.accept(house.event("hello")).await;
        assert!(matches!(refused, Err(AcceptError::Draining)), "{refused:?}");
        house.release_one();
        assert!(soon(stop).await);
    }
    house.next_settlement().await;
    drop(events);
    house.answer(|_| Answer::Success);
    let events = house.start();
    house.next_run().await;
    house.next_settlement().await;
    house.ends_empty(events).await;
}

#[tokio::test]
async fn what_a_draining_platform_refuses_runs_at_the_next_start() {
    let mut house = House::open();
    house.answer(|run| match run {
        0 => Answer::Refuse(InvokeError::Draining),
        _ => Answer::Success,
    });
    let events = house.start();
    let event = house.event("hello");
    events.accept(event.clone()).await.unwrap();
    house.next_run().await;
    assert!(soon(events.stop(20 * SECOND)).await);
    let events = house.start();
    assert_eq!(house.next_run().await.request_id, event.request_id);
    assert_eq!(house.next_settlement().await.verdict, Verdict::Succeeded);
    house.ends_empty(events).await;
}

#[tokio::test]
async fn what_the_hook_refuses_comes_again() {
    let mut house = House::open();
    house.refuse_settlements(1);
    let events = house.start();
    events.accept(house.event("hello")).await.unwrap();
    house.next_run().await;
    house.wait_out(house.options.backoff_max).await;
    house.next_run().await;
    assert_eq!(house.next_settlement().await.verdict, Verdict::Succeeded);
    house.ends_empty(events).await;
}
