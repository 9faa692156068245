//! The Extensions API: registering, waiting for events, reporting failures.
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>.

use std::pin::pin;

use bytes::Bytes;
use ephyra_core::id::{ExtensionId, RequestId};
use ephyra_sandbox::supervisor::EXTENSIONS;
use http::{HeaderMap, HeaderValue, Method, Request};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;

use super::Shared;
use super::extensions::{self, Report};
use super::reply::{self, Reply};
use super::server::read_small;

const NAME: &str = "lambda-extension-name";
const IDENTIFIER: &str = "lambda-extension-identifier";
const EVENT_IDENTIFIER: &str = "lambda-extension-event-identifier";
const ERROR_TYPE: &str = "lambda-extension-function-error-type";
const FEATURES: &str = "lambda-extension-accept-feature";

/// The body of a request, in bytes.
const BODY_BYTES: usize = 64 * 1024;

/// Why a request was refused.
pub(super) enum Refusal {
    State(extensions::Refusal),
    NoIdentifier,
    BadIdentifier,
    MissingHeader(&'static str),
    Format(String),
}

impl From<extensions::Refusal> for Refusal {
    fn from(refusal: extensions::Refusal) -> Self {
        Self::State(refusal)
    }
}

impl Refusal {
    pub(super) fn into_reply(self) -> Reply {
        let (error_type, message) = match self {
            Self::NoIdentifier => (
                "Extension.MissingExtensionIdentifier",
                "Missing Lambda-Extension-Identifier header".to_owned(),
            ),
            Self::BadIdentifier => (
                "Extension.InvalidExtensionIdentifier",
                "Invalid Lambda-Extension-Identifier".to_owned(),
            ),
            Self::MissingHeader(name) => ("Extension.MissingHeader", format!("{name} not found")),
            Self::Format(message) => ("InvalidRequestFormat", message),
            Self::State(refusal) => match refusal {
                extensions::Refusal::Name => ("Extension.InvalidExtensionName", "Empty extension name".to_owned()),
                extensions::Refusal::Closed => (
                    "Extension.RegistrationClosed",
                    "Extension registration closed already".to_owned(),
                ),
                extensions::Refusal::Registered => (
                    "Extension.InvalidExtensionState",
                    "Extension with this name already registered".to_owned(),
                ),
                extensions::Refusal::TooMany => (
                    "Extension.TooManyExtensions",
                    format!("Extension limit ({EXTENSIONS}) reached"),
                ),
                extensions::Refusal::Event(event, why) => ("Extension.InvalidEventType", format!("{event}: {why}")),
                extensions::Refusal::Unknown(id) => (
                    "Extension.UnknownExtensionIdentifier",
                    format!("Unknown extension {id}"),
                ),
                extensions::Refusal::Transition { id, from, to } => (
                    "Extension.InvalidExtensionState",
                    format!(
                        "State transition from {} to {} failed for extension {id}. Error: State transition is not allowed",
                        from.name(),
                        to.name()
                    ),
                ),
            },
        };
        reply::forbidden(error_type, &message)
    }
}

/// Serves a request whose path is behind `/2020-01-01/`.
pub(super) async fn route(shared: &Shared, path: &str, request: Request<Incoming>) -> Reply {
    let is_get = request.method() == Method::GET;
    let is_post = request.method() == Method::POST;
    let found = match path {
        "extension/register" if is_post => register(shared, request).await,
        "extension/event/next" if is_get => next(shared, request.headers()).await,
        "extension/init/error" if is_post => report(shared, request, Report::Init).await,
        "extension/exit/error" if is_post => report(shared, request, Report::Exit).await,
        "extension/register" | "extension/event/next" | "extension/init/error" | "extension/exit/error" => {
            Ok(reply::method_not_allowed())
        }
        _ => Ok(reply::not_found()),
    };
    found.unwrap_or_else(Refusal::into_reply)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registration {
    #[serde(default)]
    events: Option<Vec<String>>,
    #[serde(default)]
    configuration_keys: Option<Vec<serde::de::IgnoredAny>>,
}

async fn register(shared: &Shared, request: Request<Incoming>) -> Result<Reply, Refusal> {
    let headers = request.headers();
    let name = text(headers, NAME).ok_or(extensions::Refusal::Name)?.to_owned();
    let wants_account = text(headers, FEATURES).is_some_and(|all| all.split(',').any(|one| one.trim() == "accountId"));
    let body = read_small(shared, request.into_body(), BODY_BYTES).await;
    let body = body.ok_or_else(|| Refusal::Format("the request is too long".to_owned()))?;
    let events = wanted_events(&body)?;
    let id = shared.extensions.lock().register(&name, &events, ExtensionId::new())?;
    shared.told.notify_one();
    let revision = &shared.revision;
    let mut body = json!({
        "functionName": revision.function.as_str(), "functionVersion": revision.version.to_string(),
        "handler": revision.handler,
    });
    if wants_account {
        body["accountId"] = revision.function_arn.split(':').nth(4).unwrap_or_default().into();
    }
    Ok(with_identifier(reply::ok(&body), id))
}

/// The events that a registration asks for.
fn wanted_events(body: &[u8]) -> Result<Vec<String>, Refusal> {
    let registration: Registration =
        serde_json::from_slice(body).map_err(|error| Refusal::Format(error.to_string()))?;
    if registration.configuration_keys.is_some_and(|keys| !keys.is_empty()) {
        return Err(Refusal::Format(
            "configurationKeys are deprecated; use environment variables instead".to_owned(),
        ));
    }
    Ok(registration.events.unwrap_or_default())
}

/// Waits for an event.
async fn next(shared: &Shared, headers: &HeaderMap) -> Result<Reply, Refusal> {
    let id = identifier(headers)?;
    shared.extensions.lock().ask(id)?;
    shared.told.notify_one();
    loop {
        let mut woken = pin!(shared.summons.notified());
        // Listed before it is looked for an event: one that is laid out between the two is not missed.
        woken.as_mut().enable();
        let event = shared.extensions.lock().fetch(id);
        if let Some(event) = event {
            let mut reply = with_identifier(reply::json_bytes(event), id);
            if let Ok(value) = HeaderValue::from_str(&RequestId::new().to_string()) {
                reply.headers_mut().insert(EVENT_IDENTIFIER, value);
            }
            return Ok(reply);
        }
        woken.await;
    }
}

async fn report(shared: &Shared, request: Request<Incoming>, report: Report) -> Result<Reply, Refusal> {
    let id = identifier(request.headers())?;
    let error_type = text(request.headers(), ERROR_TYPE)
        .filter(|error_type| !error_type.is_empty())
        .ok_or(Refusal::MissingHeader("Lambda-Extension-Function-Error-Type"))?
        .to_owned();
    // What it says besides is for its own log.
    let _read_for_the_next_request = read_small(shared, request.into_body(), BODY_BYTES).await;
    if shared.extensions.lock().report(id, report, &error_type)? {
        shared.told.notify_one();
    }
    Ok(with_identifier(reply::accepted(), id))
}

/// The extension that asks.
pub(super) fn identifier(headers: &HeaderMap) -> Result<ExtensionId, Refusal> {
    let given = headers.get(IDENTIFIER).filter(|given| !given.is_empty());
    let given = given.ok_or(Refusal::NoIdentifier)?;
    given
        .to_str()
        .ok()
        .and_then(|given| given.parse().ok())
        .ok_or(Refusal::BadIdentifier)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn with_identifier(mut reply: Reply, id: ExtensionId) -> Reply {
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        reply.headers_mut().insert(IDENTIFIER, value);
    }
    reply
}

/// The event that tells extensions of an invocation.
pub(super) fn invoke_event(delivery: &crate::protocol::Delivery<'_>) -> Bytes {
    let event = json!({
        "eventType": "INVOKE", "deadlineMs": delivery.deadline_ms, "requestId": delivery.request_id,
        "invokedFunctionArn": delivery.invoked_arn,
        "tracing": { "type": "X-Amzn-Trace-Id", "value": delivery.trace_id.unwrap_or_default() },
    });
    Bytes::from(event.to_string())
}

/// The event that tells extensions of the environment's end.
pub(super) fn shutdown_event(reason: &str, deadline_ms: u64) -> Bytes {
    let event = json!({ "eventType": "SHUTDOWN", "shutdownReason": reason, "deadlineMs": deadline_ms });
    Bytes::from(event.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::extensions::Extensions;
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn any_registration_is_taken_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
            events in proptest::collection::vec("INVOKE|SHUTDOWN|\\PC{0,12}", 0..5),
            name in "\\PC{0,300}",
        ) {
            let well_formed = json!({ "events": events }).to_string().into_bytes();
            for body in [bytes, well_formed] {
                let mut extensions = Extensions::default();
                match wanted_events(&body) {
                    Err(refusal) => prop_assert!(matches!(refusal, Refusal::Format(_))),
                    Ok(events) => {
                        let is_known = events.iter().all(|event| event == "INVOKE" || event == "SHUTDOWN");
                        let taken = extensions.register(&name, &events, ExtensionId::new());
                        prop_assert!(taken.is_err() || is_known);
                    }
                }
            }
        }

        #[test]
        fn any_identifier_is_read_or_refused(
            bytes in proptest::collection::vec((0x20..=0xff_u8).prop_filter("none of a header's", |byte| *byte != 0x7f), 0..60),
        ) {
            let headers = HeaderMap::from_iter([(IDENTIFIER.parse().unwrap(), HeaderValue::from_bytes(&bytes).unwrap())]);
            prop_assert!(identifier(&headers).is_err());
        }
    }
}
