//! Invocations of all kinds, as callers see them.

use bytes::Bytes;
use ephyra_core::id::Version;
use ephyra_core::invocation::{FunctionError, InvokeError, Measures, Outcome, StreamPart, ThrottleReason};
use ephyra_wire::eventstream::Decoder;
use ephyra_wire::eventstream::invoke::{InvokeComplete, InvokeEvent};
use serde_json::json;

use crate::harness::{Harness, base64};

const INVOKE: &str = "/2015-03-31/functions/f/invocations";
const STREAM: &str = "/2021-11-15/functions/f/response-streaming-invocations";

async fn ready() -> Harness {
    let harness = Harness::new().await;
    harness.function("f").await;
    harness
}

#[tokio::test]
async fn an_invocation_is_answered_with_all_headers() {
    let harness = ready().await;
    let answer = harness
        .send("POST", INVOKE, &[("x-amz-log-type", "Tail")], r#"{"a":1}"#)
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(&answer.body[..], br#"{"a":1}"#);
    assert_eq!(answer.header("x-amz-executed-version"), "$LATEST");
    assert_eq!(answer.header("x-amz-log-result"), base64(b"a line\n"));
    assert_eq!(answer.header("x-amzn-remapped-content-length"), "0");
    assert!(answer.header("x-amzn-trace-id").starts_with("Root=1-"));
    assert!(!answer.headers.contains_key("x-amz-function-error"));
    let answer = harness
        .send("POST", INVOKE, &[("x-amzn-trace-id", "Root=1-a-b")], "")
        .await;
    assert_eq!(&answer.body[..], b"{}");
    assert_eq!(answer.header("x-amzn-trace-id"), "Root=1-a-b");
}

#[tokio::test]
async fn a_warm_invocation_reads_no_record() {
    let harness = ready().await;
    harness.send("POST", INVOKE, &[], "{}").await;
    // With the record gone behind its back, only the cache can know the function.
    let ledger = &harness.lambda.inner.ledger;
    ledger.delete_function(&"f".parse().unwrap()).await.unwrap();
    assert_eq!(harness.send("POST", INVOKE, &[], "{}").await.status, 200);
    harness.lambda.inner.cache.forget("f");
    let answer = harness.send("POST", INVOKE, &[], "{}").await;
    assert_eq!(answer.status, 404);
    assert_eq!(
        answer.error().1,
        "Function not found: arn:aws:lambda:us-east-1:111111111111:function:f:$LATEST"
    );
}

#[tokio::test]
async fn the_functions_own_failures_are_answers() {
    let harness = ready().await;
    *harness.world.outcome.lock() = Some(Ok(Outcome {
        executed_version: Version::Latest,
        result: Err(FunctionError {
            error_type: "Exception".to_owned(),
            payload: Bytes::from_static(br#"{"errorMessage":"x"}"#),
        }),
        log_tail: None,
        measures: Measures::default(),
    }));
    let answer = harness.send("POST", INVOKE, &[], "{}").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-amz-function-error"), "Unhandled");
    assert_eq!(&answer.body[..], br#"{"errorMessage":"x"}"#);
}

#[tokio::test]
async fn the_platforms_failures_are_errors() {
    let harness = ready().await;
    let reason = ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded;
    let check = async |failure: InvokeError, status: u16, code: &str| {
        *harness.world.outcome.lock() = Some(Err(failure));
        let answer = harness.send("POST", INVOKE, &[], "{}").await;
        assert_eq!((answer.status, answer.error().0.as_str()), (status, code));
        let streamed = harness.send("POST", STREAM, &[], "{}").await;
        assert_eq!((streamed.status, streamed.error().0.as_str()), (status, code));
        answer
    };
    let answer = check(InvokeError::Throttled(reason), 429, "TooManyRequestsException").await;
    assert_eq!(
        answer.json(),
        json!({
            "Type": "User",
            "Reason": "ReservedFunctionConcurrentInvocationLimitExceeded",
            "message": "Rate Exceeded.",
        })
    );
    check(InvokeError::Draining, 503, "ServiceUnavailableException").await;
    check(InvokeError::Launch("no".to_owned()), 500, "ServiceException").await;
    let absent = InvokeError::RuntimeAbsent {
        runtime: "python3.12".to_owned(),
        present: "none".to_owned(),
    };
    check(absent, 502, "InvalidRuntimeException").await;
}

#[tokio::test]
async fn events_are_accepted_and_dry_runs_run_nothing() {
    let harness = ready().await;
    let context = base64(br#"{"custom":{}}"#);
    let headers = [("x-amz-invocation-type", "Event"), ("x-amz-client-context", &context)];
    let answer = harness.send("POST", INVOKE, &headers, "[1]").await;
    assert_eq!((answer.status, answer.body.len()), (202, 0));
    let answer = harness
        .send("POST", INVOKE, &[("x-amz-invocation-type", "DryRun")], "")
        .await;
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    let answer = harness
        .send("POST", "/2014-11-13/functions/f/invoke-async/", &[], r#"{"b":2}"#)
        .await;
    assert_eq!((answer.status, answer.json()), (202, json!({ "Status": 202 })));
    let accepted = harness.world.accepted.lock();
    assert_eq!(accepted.len(), 2);
    assert_eq!(&accepted[0].payload[..], b"[1]");
    assert_eq!(accepted[0].client_context.as_deref(), Some(r#"{"custom":{}}"#));
    assert!(accepted[0].qualifier.is_none());
    assert!(harness.world.invocations.lock().is_empty());
}

#[tokio::test]
async fn bad_invocations_are_refused() {
    let harness = ready().await;
    let check = async |headers: &[(&str, &str)], body: &'static str, status: u16, code: &str| {
        let answer = harness.send("POST", INVOKE, headers, body).await;
        assert_eq!((answer.status, answer.error().0.as_str()), (status, code));
    };
    check(&[], "{", 400, "InvalidRequestContentException").await;
    check(&[("x-amz-invocation-type", "Other")], "{}", 400, "ValidationException").await;
    check(&[("x-amz-log-type", "Other")], "{}", 400, "ValidationException").await;
    check(
        &[("x-amz-client-context", "?")],
        "{}",
        400,
        "InvalidRequestContentException",
    )
    .await;
    check(
        &[("x-amz-client-context", "e30")],
        "{}",
        400,
        "InvalidRequestContentException",
    )
    .await;
    check(&[("x-amz-tenant-id", "t")], "{}", 400, "InvalidParameterValueException").await;
    let long = "A".repeat(3584);
    check(
        &[("x-amz-client-context", &long)],
        "{}",
        400,
        "InvalidRequestContentException",
    )
    .await;
    assert!(harness.world.invocations.lock().is_empty());
}

#[tokio::test]
async fn aliases_route_by_weight() {
    let harness = ready().await;
    harness.post("/2015-03-31/functions/f/versions", json!({})).await;
    harness
        .put("/2015-03-31/functions/f/configuration", json!({ "Timeout": 9 }))
        .await;
    harness.settled("f").await;
    harness.post("/2015-03-31/functions/f/versions", json!({})).await;
    let alias = json!({
        "Name": "live",
        "FunctionVersion": "1",
        "RoutingConfig": { "AdditionalVersionWeights": { "2": 0.25 } },
    });
    assert_eq!(harness.post("/2015-03-31/functions/f/aliases", alias).await.status, 201);
    for (dice, version) in [(0.0, "2"), (0.24, "2"), (0.25, "1"), (0.99, "1")] {
        harness.world.dice.lock().push(dice);
        let answer = harness
            .send("POST", &format!("{INVOKE}?Qualifier=live"), &[], "{}")
            .await;
        assert_eq!(answer.header("x-amz-executed-version"), version, "{dice}");
    }
    let arn = "arn:aws:lambda:us-east-1:111111111111:function:f:live";
    assert!(
        harness
            .world
            .invocations
            .lock()
            .iter()
            .all(|(invoked, ..)| invoked == arn)
    );
    // A change of the alias counts at once.
    let update = json!({ "RoutingConfig": { "AdditionalVersionWeights": {} }, "FunctionVersion": "2" });
    harness.put("/2015-03-31/functions/f/aliases/live", update).await;
    let answer = harness
        .send("POST", "/2015-03-31/functions/f:live/invocations", &[], "{}")
        .await;
    assert_eq!(answer.header("x-amz-executed-version"), "2");
    let refused = harness.delete("/2015-03-31/functions/f?Qualifier=2").await;
    assert_eq!(refused.status, 409);
}

fn events(body: &[u8]) -> Vec<InvokeEvent> {
    let mut decoder = Decoder::default();
    decoder.put(body);
    let mut events = Vec::new();
    while let Some(message) = decoder.next_message().unwrap() {
        events.push(InvokeEvent::try_from(message).unwrap());
    }
    events
}

#[tokio::test]
async fn answers_are_streamed() {
    let harness = ready().await;
    *harness.world.parts.lock() = vec![
        StreamPart::Head {
            content_type: "text/plain".to_owned(),
        },
        StreamPart::Chunk(Bytes::from_static(b"one")),
        StreamPart::Chunk(Bytes::from_static(b"two")),
    ];
    *harness.world.outcome.lock() = Some(Ok(Outcome {
        executed_version: Version::Latest,
        result: Ok(Bytes::new()),
        log_tail: Some(Bytes::from_static(b"a line\n")),
        measures: Measures::default(),
    }));
    let answer = harness.send("POST", STREAM, &[("x-amz-log-type", "Tail")], "{}").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/vnd.amazon.eventstream");
    assert_eq!(answer.header("x-amzn-remapped-content-type"), "text/plain");
    assert_eq!(answer.header("x-amz-executed-version"), "$LATEST");
    let complete = InvokeComplete {
        log_result: Some(base64(b"a line\n")),
        ..InvokeComplete::default()
    };
    assert_eq!(
        events(&answer.body),
        [
            InvokeEvent::PayloadChunk(Bytes::from_static(b"one")),
            InvokeEvent::PayloadChunk(Bytes::from_static(b"two")),
            InvokeEvent::InvokeComplete(complete),
        ]
    );
}

#[tokio::test]
async fn failures_in_a_stream_come_at_its_end() {
    let harness = ready().await;
    *harness.world.parts.lock() = vec![StreamPart::Chunk(Bytes::from_static(b"one"))];
    *harness.world.outcome.lock() = Some(Ok(Outcome {
        executed_version: Version::Latest,
        result: Err(FunctionError {
            error_type: "E".to_owned(),
            payload: Bytes::from_static(b"{}"),
        }),
        log_tail: None,
        measures: Measures::default(),
    }));
    let answer = harness.send("POST", STREAM, &[], "{}").await;
    let complete = InvokeComplete {
        error_code: Some("Unhandled".to_owned()),
        error_details: Some("{}".to_owned()),
        log_result: None,
    };
    assert_eq!(
        events(&answer.body),
        [
            InvokeEvent::PayloadChunk(Bytes::from_static(b"one")),
            InvokeEvent::InvokeComplete(complete),
        ]
    );
}

#[tokio::test]
async fn an_answer_that_was_not_streamed_is_one_part() {
    let harness = ready().await;
    let answer = harness.send("POST", STREAM, &[], r#"{"a":1}"#).await;
    assert_eq!(
        events(&answer.body),
        [
            InvokeEvent::PayloadChunk(Bytes::from_static(br#"{"a":1}"#)),
            InvokeEvent::InvokeComplete(InvokeComplete::default()),
        ]
    );
}
