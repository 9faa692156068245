//! What clients of function URLs are told.

use bytes::Bytes;
use ephyra_core::invocation::{InvokeError, Outcome};
use ephyra_core::limits;
use ephyra_wire::error::ApiError;
use ephyra_wire::front::Refused;
use ephyra_wire::service::{Body, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::Failure;
use super::stream::split_prelude;
use crate::answer::{Answer, Malformed, v2};

const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The response that a buffered outcome means.
pub(super) fn buffered(outcome: Outcome) -> Result<Response, Failure> {
    // What went wrong stands in the function's log; whoever called is not told.
    let payload = outcome.result.map_err(|_| Failure::Function)?;
    let answer = match v2::read(&payload, JSON) {
        Err(Malformed::NotJson(_)) => streamed(payload),
        read => read,
    };
    let answer = answer.map_err(Failure::Malformed)?;
    Ok(Response {
        status: answer.status,
        headers: answer.headers,
        body: Body::Full(answer.body),
    })
}

/// An answer that is no JSON: that of a function which streams, with a prelude or without, or which has a runtime of its own.
fn streamed(payload: Bytes) -> Result<Answer, Malformed> {
    let Some((prelude, body)) = split_prelude(&payload, 0) else {
        return Ok(Answer {
            status: StatusCode::OK,
            headers: HeaderMap::from_iter([(CONTENT_TYPE, JSON)]),
            body: payload,
        });
    };
    let (status, headers) = v2::read_prelude(&prelude, JSON)?;
    Ok(Answer { status, headers, body })
}

impl Failure {
    /// The answer, in AWS's words.
    pub(super) fn into_response(self) -> Response {
        match self {
            Self::Unknown => error(StatusCode::FORBIDDEN, "AccessDeniedException", r#"{"Message":null}"#),
            Self::Forbidden => error(
                StatusCode::FORBIDDEN,
                "AccessDeniedException",
                concat!(
                    r#"{"Message":"Forbidden. For troubleshooting Function URL authorization issues, see: "#,
                    r#"https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"}"#
                ),
            ),
            Self::Signature(error) => ApiError::from(error).into_response(),
            Self::TooLarge => too_large(),
            Self::Store(_) => internal(StatusCode::INTERNAL_SERVER_ERROR),
            Self::NotRun(InvokeError::Throttled(_)) => error(
                StatusCode::TOO_MANY_REQUESTS,
                "TooManyRequestsException",
                r#"{"message":"Rate Exceeded."}"#,
            ),
            Self::NotReady | Self::NotRun(InvokeError::Draining) => unavailable(),
            Self::NotRun(InvokeError::RuntimeAbsent { .. } | InvokeError::Launch(_))
            | Self::Function
            | Self::Malformed(_) => internal(StatusCode::BAD_GATEWAY),
        }
    }
}

/// The answer to a request that was not read.
pub(super) fn refused(why: Refused) -> Response {
    match why {
        Refused::TooLarge => too_large(),
        Refused::TooSlow => error(
            StatusCode::REQUEST_TIMEOUT,
            "RequestTimeoutException",
            r#"{"message":"Your request was not read in time."}"#,
        ),
        Refused::NoRoom | Refused::Draining => unavailable(),
    }
}

fn too_large() -> Response {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "RequestEntityTooLargeException",
        format!(
            "Request must be smaller than {} bytes for the InvokeFunction operation",
            limits::SYNC_REQUEST_BYTES
        ),
    )
    .with("Type", "User")
    .into_response()
}

fn unavailable() -> Response {
    error(
        StatusCode::SERVICE_UNAVAILABLE,
        "ServiceUnavailableException",
        r#"{"message":"Service Unavailable"}"#,
    )
}

/// As AWS says it: no JSON, though it says so.
fn internal(status: StatusCode) -> Response {
    Response {
        status,
        headers: HeaderMap::from_iter([(CONTENT_TYPE, JSON)]),
        body: Body::Full(Bytes::from_static(b"Internal Server Error")),
    }
}

fn error(status: StatusCode, kind: &'static str, body: &'static str) -> Response {
    Response {
        status,
        headers: HeaderMap::from_iter([(CONTENT_TYPE, JSON), (ERROR_TYPE, HeaderValue::from_static(kind))]),
        body: Body::Full(Bytes::from_static(body.as_bytes())),
    }
}

/// Takes the body from an answer to HEAD, and says how long it would have been.
pub(super) fn behead(response: &mut Response) {
    if let Body::Full(body) = &response.body
        && !body.is_empty()
    {
        response.headers.insert(CONTENT_LENGTH, body.len().into());
    }
    response.body = Body::Full(Bytes::new());
}
