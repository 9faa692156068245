//! The answers to runtimes and extensions.

use bytes::Bytes;
use ephyra_core::limits::SYNC_RESPONSE_BYTES;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::json;

use super::state::Refusal;

pub(super) type Reply = Response<Full<Bytes>>;

/// A reply of JSON.
fn json_reply(status: StatusCode, body: &serde_json::Value) -> Reply {
    let mut reply = json_bytes(Bytes::from(body.to_string()));
    *reply.status_mut() = status;
    reply
}

pub(super) fn error(status: StatusCode, error_type: &str, message: &str) -> Reply {
    json_reply(status, &json!({ "errorMessage": message, "errorType": error_type }))
}

pub(super) fn forbidden(error_type: &str, message: &str) -> Reply {
    error(StatusCode::FORBIDDEN, error_type, message)
}

pub(super) fn ok(body: &serde_json::Value) -> Reply {
    json_reply(StatusCode::OK, body)
}

/// A reply of what is JSON already.
pub(super) fn json_bytes(body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    reply
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

pub(super) fn accepted() -> Reply {
    json_reply(StatusCode::ACCEPTED, &json!({ "status": "OK" }))
}

pub(super) fn restored() -> Reply {
    Response::new(Full::new(Bytes::new()))
}

pub(super) fn pong() -> Reply {
    Response::new(Full::new(Bytes::from_static(b"pong")))
}

pub(super) fn not_found() -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from_static(b"404 page not found\n")));
    *reply.status_mut() = StatusCode::NOT_FOUND;
    reply
}

pub(super) fn method_not_allowed() -> Reply {
    let mut reply = Response::new(Full::new(Bytes::new()));
    *reply.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    reply
}

pub(super) fn refused(refusal: Refusal) -> Reply {
    match refusal {
        Refusal::RequestId => error(StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID"),
        Refusal::Transition { from, to } => {
            let message = format!(
                "State transition from {} to {to} failed for runtime. Error: State transition is not allowed",
                from.name()
            );
            error(StatusCode::FORBIDDEN, "InvalidStateTransition", &message)
        }
    }
}

pub(super) fn too_large() -> Reply {
    let message = format!("Exceeded maximum allowed payload size ({SYNC_RESPONSE_BYTES} bytes).");
    error(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", &message)
}

pub(super) fn truncated() -> Reply {
    error(
        StatusCode::BAD_REQUEST,
        "TruncatedHTTPRequest",
        "HTTP request detected as truncated",
    )
}

pub(super) fn invalid_mode() -> Reply {
    error(
        StatusCode::BAD_REQUEST,
        "InvalidFunctionResponseMode",
        "Invalid function response mode",
    )
}
