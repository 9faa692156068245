//! Answers that are made here, and what all answers have.

use bytes::Bytes;
use ephyra_core::id::RequestId;
use ephyra_wire::front::Refused;
use ephyra_wire::service::{Body, Response};
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::jwt::Refusal;
use crate::answer::Answer;

/// The header that names a request.
const REQUEST_ID: HeaderName = HeaderName::from_static("apigw-requestid");

/// What a client is told when something is amiss: AWS's words, and nothing about the inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The request cannot be passed on as it is.
    BadRequest,
    /// Credentials are missing.
    Unauthorized,
    /// A token is not good.
    BadToken(Refusal),
    /// The caller may not.
    Forbidden,
    /// A token does not allow it.
    MissingScope,
    /// There is no such API, stage or route.
    NotFound,
    /// The request took too long to come.
    TimeOut,
    /// The request is larger than may be.
    TooLarge,
    /// There are too many requests.
    TooMany,
    /// Something failed.
    Internal,
    /// The back end cannot be reached, or not in time; or the platform is going down.
    Unavailable,
}

impl Failure {
    /// The status.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized | Self::BadToken(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden | Self::MissingScope => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::TimeOut => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The words.
    pub fn message(self) -> &'static str {
        match self {
            Self::BadRequest => "Bad Request",
            Self::Unauthorized | Self::BadToken(_) => "Unauthorized",
            Self::Forbidden | Self::MissingScope => "Forbidden",
            Self::NotFound => "Not Found",
            Self::TimeOut => "Request Timeout",
            Self::TooLarge => "Request Entity Too Large",
            Self::TooMany => "Too Many Requests",
            Self::Internal => "Internal Server Error",
            Self::Unavailable => "Service Unavailable",
        }
    }

    fn body(self) -> Bytes {
        Bytes::from_static(match self {
            Self::BadRequest => br#"{"message":"Bad Request"}"#,
            Self::Unauthorized | Self::BadToken(_) => br#"{"message":"Unauthorized"}"#,
            Self::Forbidden | Self::MissingScope => br#"{"message":"Forbidden"}"#,
            Self::NotFound => br#"{"message":"Not Found"}"#,
            Self::TimeOut => br#"{"message":"Request Timeout"}"#,
            Self::TooLarge => br#"{"message":"Request Entity Too Large"}"#,
            Self::TooMany => br#"{"message":"Too Many Requests"}"#,
            Self::Internal => br#"{"message":"Internal Server Error"}"#,
            Self::Unavailable => br#"{"message":"Service Unavailable"}"#,
        })
    }

    /// The answer. `scopes` are those that would have let a token through.
    pub fn answer(self, scopes: &[String]) -> Answer {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let challenge = match self {
            Self::BadToken(Refusal::Missing) => Some("Bearer".to_owned()),
            Self::BadToken(why) => Some(format!(
                r#"Bearer scope="" error="invalid_token" error_description="{why}""#
            )),
            Self::MissingScope => Some(format!(
                r#"Bearer scope="{}" error="insufficient_scope""#,
                scopes.join(" ")
            )),
            _ => None,
        };
        if let Some(challenge) = challenge.and_then(|text| HeaderValue::try_from(text).ok()) {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        Answer {
            status: self.status(),
            headers,
            body: self.body(),
        }
    }
}

/// A request's identifier as API Gateway writes it: 16 characters.
pub fn request_id(id: RequestId) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE.encode(&id.as_bytes()[..11])
}

/// An answer on its way out.
pub fn response(answer: Answer, request_id: &str) -> Response {
    let Answer {
        status,
        mut headers,
        body,
    } = answer;
    if let Ok(id) = HeaderValue::try_from(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    Response {
        status,
        headers,
        body: Body::Full(body),
    }
}

/// The answer to a request that did not get as far.
pub fn refused(why: Refused, id: RequestId) -> Response {
    let failure = match why {
        Refused::TooLarge => Failure::TooLarge,
        Refused::TooSlow => Failure::TimeOut,
        Refused::NoRoom | Refused::Draining => Failure::Unavailable,
    };
    response(failure.answer(&[]), &request_id(id))
}
