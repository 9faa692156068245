use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ephyra_core::arn::Place;
use ephyra_core::compute::{AcceptError, AcceptedEvent};
use ephyra_core::invocation::{FunctionError, Invocation, InvokeError, Outcome, StreamPart};
use ephyra_core::limits;
use ephyra_core::revision::Revision;
use ephyra_core::trace::new_trace;
use ephyra_wire::error::ApiError;
use ephyra_wire::service::{Body, Request, Response};
use ephyra_wire::validation::Violations;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::de::IgnoredAny;
use tokio::sync::mpsc;

use crate::cache::Meaning;
use crate::error;
use crate::lambda::{Call, Inner};
use crate::name::{Named, Shape};
use crate::resolve::Miss;

pub(super) const EXECUTED_VERSION: HeaderName = HeaderName::from_static("x-amz-executed-version");
const FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
const LOG_RESULT: HeaderName = HeaderName::from_static("x-amz-log-result");
const REMAPPED_LENGTH: HeaderName = HeaderName::from_static("x-amzn-remapped-content-length");
const TRACE_ID: &str = "x-amzn-trace-id";

/// How a caller wants to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    RequestResponse,
    Event,
    DryRun,
}

/// Runs a function and waits, accepts an event for it, or checks that either could be done.
pub(crate) async fn invoke(call: Call) -> Result<Response, ApiError> {
    let wanted = Wanted::read(&call, &["Event", "RequestResponse", "DryRun"])?;
    let inner = call.inner();
    check_payload(&call.request.body, wanted.mode)?;
    let meaning = find(inner, &wanted.named).await?;
    match wanted.mode {
        Mode::DryRun => Ok(dry_run(&meaning)),
        Mode::Event => {
            accept(inner, &call.request, wanted).await?;
            Ok(accepted(&call.request))
        }
        Mode::RequestResponse => {
            let revision = Arc::clone(meaning.choose(&*inner.deps.dice));
            let trace = trace_id(&call.request, inner.now_ms());
            let invocation = wanted.into_invocation(&call.request, revision, &meaning, &trace, None);
            let outcome = inner.deps.invoke.invoke(invocation).await.map_err(invoke_error)?;
            answer(outcome, &trace)
        }
    }
}

/// What the headers and the path of an invocation say.
pub(super) struct Wanted {
    pub named: Named,
    pub mode: Mode,
    pub wants_log: bool,
    client_context: Option<String>,
}

impl Wanted {
    /// Reads them; `modes` are those that the operation has.
    pub(super) fn read(call: &Call, modes: &[&str]) -> Result<Self, ApiError> {
        let request = &call.request;
        let named = call.named(Shape::Read)?;
        let mut violations = Violations::default();
        let mode = request.header("x-amz-invocation-type").unwrap_or("RequestResponse");
        violations.check_enum("invocationType", mode, modes);
        let log = request.header("x-amz-log-type").unwrap_or("None");
        violations.check_enum("logType", log, &["None", "Tail"]);
        violations.finish()?;
        for (header, member) in [
            ("x-amz-tenant-id", "TenantId"),
            ("x-amz-durable-execution-name", "DurableExecutionName"),
        ] {
            if request.headers.contains_key(header) {
                return Err(error::invalid_parameter(format!(
                    "{member} is not available in this version of Ephyra."
                )));
            }
        }
        Ok(Self {
            named,
            mode: match mode {
                "Event" => Mode::Event,
                "DryRun" => Mode::DryRun,
                _ => Mode::RequestResponse,
            },
            wants_log: log == "Tail",
            client_context: client_context(request)?,
        })
    }

    /// The invocation; its parts go to `stream` when there is one.
    pub(super) fn into_invocation(
        self,
        request: &Request,
        revision: Arc<Revision>,
        meaning: &Meaning,
        trace: &str,
        stream: Option<mpsc::Sender<StreamPart>>,
    ) -> Invocation {
        Invocation {
            request_id: request.id,
            revision,
            invoked_arn: meaning.invoked_arn.clone(),
            payload: payload(&request.body),
            client_context: self.client_context,
            trace_id: Some(trace.to_owned()),
            wants_log_tail: self.wants_log,
            stream,
            received: request.received,
        }
    }
}

/// The event: an empty body is an empty object.
pub(super) fn payload(body: &Bytes) -> Bytes {
    if body.is_empty() {
        Bytes::from_static(b"{}")
    } else {
        body.clone()
    }
}

/// Checks an event's size and that it is JSON, in one pass and without building anything.
pub(super) fn check_payload(body: &[u8], mode: Mode) -> Result<(), ApiError> {
    if mode == Mode::Event && body.len() > limits::ASYNC_REQUEST_BYTES {
        return Err(error::too_large(limits::ASYNC_REQUEST_BYTES, "InvokeFunction"));
    }
    if body.is_empty() {
        return Ok(());
    }
    let refused =
        |why: &dyn std::fmt::Display| error::invalid_content(format!("Could not parse request body into json: {why}"));
    let text = std::str::from_utf8(body).map_err(|error| refused(&error))?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| refused(&error))?;
    Ok(())
}

/// The client context: base64 of a JSON object.
fn client_context(request: &Request) -> Result<Option<String>, ApiError> {
    let Some(value) = request
        .headers
        .get("x-amz-client-context")
        .filter(|value| !value.is_empty())
    else {
        return Ok(None);
    };
    let most = limits::CLIENT_CONTEXT_BYTES;
    if value.len() > most {
        return Err(error::invalid_content(format!(
            "Client context must be at most {most} bytes in base64."
        )));
    }
    let refused = || error::invalid_content("Client context must be a valid Base64-encoded JSON object.");
    let json = STANDARD.decode(value.as_bytes()).map_err(|_| refused())?;
    let json = String::from_utf8(json).map_err(|_| refused())?;
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&json).map_err(|_| refused())?;
    Ok(Some(json))
}

/// Finds what is to run.
pub(super) async fn find(inner: &Inner, named: &Named) -> Result<Arc<Meaning>, ApiError> {
    let meaning = inner.meaning(&named.name, named.qualifier.as_deref()).await;
    meaning.map_err(|miss| match miss {
        Miss::Absent => error::function_not_found(&named.qualified_arn(inner.place())),
        Miss::State(state) => error::wrong_state(state),
        Miss::Store(cause) => error::store(cause),
    })
}

/// Makes an event durable.
pub(super) async fn accept(inner: &Inner, request: &Request, wanted: Wanted) -> Result<(), ApiError> {
    let named = &wanted.named;
    let missing = |place: &Place| error::function_not_found(&named.qualified_arn(place));
    let event = AcceptedEvent {
        request_id: request.id,
        function: named.function().ok_or_else(|| missing(inner.place()))?,
        qualifier: named.parsed_qualifier().map_err(|()| missing(inner.place()))?,
        payload: payload(&request.body),
        client_context: wanted.client_context,
        trace_id: Some(trace_id(request, inner.now_ms())),
    };
    inner.deps.accept.accept(event).await.map_err(|failure| match failure {
        AcceptError::Draining => draining(),
        AcceptError::Store(cause) => {
            tracing::error!(
                error = &*cause as &dyn std::error::Error,
                "an event could not be made durable"
            );
            error::service("The event could not be made durable. Please send it again.")
        }
    })
}

fn accepted(request: &Request) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(REMAPPED_LENGTH, HeaderValue::from_static("0"));
    if let Some(trace) = request.headers.get(TRACE_ID) {
        headers.insert(HeaderName::from_static(TRACE_ID), trace.clone());
    }
    Response {
        status: StatusCode::ACCEPTED,
        headers,
        body: Body::Full(Bytes::new()),
    }
}

pub(super) fn dry_run(meaning: &Meaning) -> Response {
    let mut headers = HeaderMap::new();
    put(&mut headers, EXECUTED_VERSION, meaning.revision.version.to_string());
    Response {
        status: StatusCode::NO_CONTENT,
        headers,
        body: Body::Full(Bytes::new()),
    }
}

/// A function's own failure is an answer too, told by a header.
fn answer(outcome: Outcome, trace: &str) -> Result<Response, ApiError> {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(REMAPPED_LENGTH, HeaderValue::from_static("0"));
    put(&mut headers, EXECUTED_VERSION, outcome.executed_version.to_string());
    put(&mut headers, HeaderName::from_static(TRACE_ID), trace.to_owned());
    if let Some(tail) = outcome.log_tail {
        put(&mut headers, LOG_RESULT, STANDARD.encode(tail));
    }
    let body = match outcome.result {
        Ok(body) => body,
        Err(FunctionError { payload, .. }) => {
            headers.insert(FUNCTION_ERROR, HeaderValue::from_static("Unhandled"));
            payload
        }
    };
    Ok(Response {
        status: StatusCode::OK,
        headers,
        body: Body::Full(body),
    })
}

/// Sets a header; a value that cannot be one is left out.
pub(super) fn put(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// Why an invocation did not reach an environment, as AWS says it.
pub(super) fn invoke_error(failure: InvokeError) -> ApiError {
    match failure {
        InvokeError::Throttled(reason) => ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "TooManyRequestsException",
            "Rate Exceeded.",
        )
        .with("Reason", reason.as_str())
        .with("Type", "User"),
        InvokeError::Draining => draining(),
        absent @ InvokeError::RuntimeAbsent { .. } => {
            ApiError::new(StatusCode::BAD_GATEWAY, "InvalidRuntimeException", absent.to_string())
                .upper()
                .with("Type", "User")
        }
        failed @ InvokeError::Launch(_) => error::service(failed.to_string()),
    }
}

fn draining() -> ApiError {
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "ServiceUnavailableException",
        "The platform is shutting down. Please send the request again to a running one.",
    )
    .upper()
    .with("Type", "Service")
}

/// The request's trace, or a new one that is not sampled.
pub(super) fn trace_id(request: &Request, now_ms: i64) -> String {
    match request
        .header(TRACE_ID)
        .filter(|given| !given.is_empty() && given.len() <= 1024)
    {
        Some(given) => given.to_owned(),
        None => new_trace(now_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_json() {
        for body in ["", "{}", "1", "\"x\"", " [1, {\"a\": null}] "] {
            assert!(check_payload(body.as_bytes(), Mode::RequestResponse).is_ok(), "{body}");
        }
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        assert!(check_payload(deep.as_bytes(), Mode::RequestResponse).is_ok());
        for body in [&b"{"[..], b"abc", b"{} {}", b"\"\xff\"", b"{'a': 1}"] {
            let error = check_payload(body, Mode::RequestResponse).unwrap_err();
            assert_eq!(error.code, "InvalidRequestContentException");
            assert!(error.message.starts_with("Could not parse request body into json: "));
        }
    }

    #[test]
    fn events_to_be_accepted_are_smaller() {
        let large = format!("\"{}\"", "x".repeat(limits::ASYNC_REQUEST_BYTES));
        assert!(check_payload(large.as_bytes(), Mode::RequestResponse).is_ok());
        let error = check_payload(large.as_bytes(), Mode::Event).unwrap_err();
        assert_eq!(error.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(
            error.message,
            "Request must be smaller than 1048576 bytes for the InvokeFunction operation"
        );
    }
}
