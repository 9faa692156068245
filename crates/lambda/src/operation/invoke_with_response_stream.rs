use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ephyra_core::invocation::{InvokeError, Outcome, StreamPart};
use ephyra_wire::error::ApiError;
use ephyra_wire::eventstream::CONTENT_TYPE;
use ephyra_wire::eventstream::invoke::{InvokeComplete, exception, invoke_complete, payload_chunk};
use ephyra_wire::service::{Body, BrokenBody, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::invoke::{EXECUTED_VERSION, Mode, Wanted, check_payload, dry_run, find, invoke_error, put, trace_id};
use crate::error;
use crate::lambda::Call;

/// How many parts may wait for the client before the function is slowed down.
const PARTS: usize = 16;
const REMAPPED_TYPE: HeaderName = HeaderName::from_static("x-amzn-remapped-content-type");

type Running = JoinHandle<Result<Outcome, InvokeError>>;

/// Runs a function and passes its answer on part by part. Until the first part has come a failure is an HTTP status;
/// from then on it is in the stream's last message.
pub(crate) async fn invoke_with_response_stream(call: Call) -> Result<Response, ApiError> {
    let wanted = Wanted::read(&call, &["RequestResponse", "DryRun"])?;
    let inner = call.inner();
    check_payload(&call.request.body, wanted.mode)?;
    let meaning = find(inner, &wanted.named).await?;
    if wanted.mode == Mode::DryRun {
        return Ok(dry_run(&meaning));
    }
    let revision = Arc::clone(meaning.choose(&*inner.deps.dice));
    let version = revision.version;
    let trace = trace_id(&call.request, inner.now_ms());
    let (parts, mut received) = mpsc::channel(PARTS);
    let invocation = wanted.into_invocation(&call.request, revision, &meaning, &trace, Some(parts));
    let invoke = Arc::clone(&inner.deps.invoke);
    let running: Running = tokio::spawn(async move { invoke.invoke(invocation).await });
    let (messages, body) = mpsc::channel(PARTS);
    // The channel ends with the invocation, so either the first part or the end comes.
    let content_type = match received.recv().await {
        Some(first) => {
            let content_type = match &first {
                StreamPart::Head { content_type } => Some(content_type.clone()),
                StreamPart::Chunk(_) => None,
            };
            tokio::spawn(Box::pin(pass_on(first, received, running, messages)));
            content_type
        }
        None => {
            let outcome = ended(running.await)?;
            tokio::spawn(Box::pin(async move { send_end(&messages, outcome).await }));
            None
        }
    };
    let mut headers = HeaderMap::new();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    put(&mut headers, EXECUTED_VERSION, version.to_string());
    put(&mut headers, HeaderName::from_static("x-amzn-trace-id"), trace);
    let content_type = content_type.filter(|text| !text.is_empty());
    put(
        &mut headers,
        REMAPPED_TYPE,
        content_type.unwrap_or_else(|| "application/octet-stream".to_owned()),
    );
    Ok(Response {
        status: StatusCode::OK,
        headers,
        body: Body::Stream(body),
    })
}

/// Passes parts on until the invocation ends. When the client goes, the rest is dropped: the function ends as usual.
async fn pass_on(
    first: StreamPart,
    mut received: mpsc::Receiver<StreamPart>,
    running: Running,
    messages: mpsc::Sender<Result<Bytes, BrokenBody>>,
) {
    let mut next = Some(first);
    while let Some(part) = next {
        if let StreamPart::Chunk(chunk) = part
            && !chunk.is_empty()
            && !send(&messages, payload_chunk(&chunk)).await
        {
            return;
        }
        next = received.recv().await;
    }
    match ended(running.await) {
        Ok(outcome) => send_end(&messages, outcome).await,
        Err(failure) => {
            send(&messages, exception("InternalStreamFailure", &failure.message)).await;
        }
    }
}

async fn send_end(messages: &mpsc::Sender<Result<Bytes, BrokenBody>>, outcome: Outcome) {
    let mut complete = InvokeComplete {
        log_result: outcome.log_tail.map(|tail| STANDARD.encode(tail)),
        ..InvokeComplete::default()
    };
    match outcome.result {
        // A function that does not stream answers in one part.
        Ok(answer) => {
            if !answer.is_empty() && !send(messages, payload_chunk(&answer)).await {
                return;
            }
        }
        Err(failure) => {
            complete.error_code = Some("Unhandled".to_owned());
            complete.error_details = Some(String::from_utf8_lossy(&failure.payload).into_owned());
        }
    }
    send(messages, invoke_complete(&complete)).await;
}

/// Sends a message; `false` when it was the last that could be sent.
async fn send<E: std::error::Error>(
    messages: &mpsc::Sender<Result<Bytes, BrokenBody>>,
    message: Result<Bytes, E>,
) -> bool {
    let message = message.map_err(|failure| {
        tracing::error!(%failure, "a part of an answer could not be framed");
        BrokenBody
    });
    let is_whole = message.is_ok();
    messages.send(message).await.is_ok() && is_whole
}

fn ended(result: Result<Result<Outcome, InvokeError>, tokio::task::JoinError>) -> Result<Outcome, ApiError> {
    match result {
        Ok(outcome) => outcome.map_err(invoke_error),
        Err(failure) => {
            tracing::error!(%failure, "an invocation broke off");
            Err(error::service("The invocation broke off."))
        }
    }
}
