//! Requests as functions see them: the events of payload formats 1.0 and 2.0.
//!
//! They are written straight into one buffer, without a tree of values in between: this is on the way of every request.
//!
//! Sources: <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>,
//! <https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html>, and events that AWS's own libraries have recorded.

mod json;
#[cfg(test)]
mod tests;
pub mod v1;
pub mod v2;

use std::borrow::Cow;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST};
use http::{HeaderName, HeaderValue};

use crate::request::{HttpRequest, is_hop_by_hop};

/// Who may call, as an authorizer has said it.
#[derive(Clone, Copy, Debug)]
pub enum Authorizer<'a> {
    /// A signature proved who calls.
    Iam(Iam<'a>),
    /// A token did.
    Jwt {
        /// A JSON object of the token's claims, each as text.
        claims: &'a str,
        /// The route's scopes, when it has any.
        scopes: Option<&'a [String]>,
    },
    /// A function did: a JSON object of what it has to say of the caller.
    Lambda(&'a str),
}

/// A caller who signed.
#[derive(Clone, Copy, Debug)]
pub struct Iam<'a> {
    /// The access key.
    pub access_key: &'a str,
    /// The caller's account.
    pub account_id: &'a str,
    /// The caller's ARN.
    pub user_arn: &'a str,
    /// The caller's unique identifier.
    pub user_id: &'a str,
}

/// Whether bodies of a content type are passed on as text; all others, forms and no type at all among them, are in base64.
/// So it was seen on AWS; its documentation does not say which types count as text.
pub fn is_text(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let is = |wanted: &str| essence.eq_ignore_ascii_case(wanted);
    let is_any_text = essence
        .get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("text/"));
    is_any_text || is("application/json") || is("application/xml") || is("application/javascript")
}

/// The body as text, if it is text by its type and its bytes.
fn text_of<'a>(request: &HttpRequest<'a>) -> Option<&'a str> {
    let content_type = request.headers.get(CONTENT_TYPE)?.to_str().ok()?;
    // What is compressed may look like text, and is none.
    let is_plain = !request.headers.contains_key(http::header::CONTENT_ENCODING);
    let is_text = is_plain && is_text(content_type);
    is_text.then(|| std::str::from_utf8(request.body).ok()).flatten()
}

/// Writes `"body":…,"isBase64Encoded":…`; the body may be left out.
fn write_body(out: &mut Vec<u8>, request: &HttpRequest<'_>, wants_null: bool) {
    if request.body.is_empty() {
        if wants_null {
            out.extend_from_slice(b"\"body\":null,");
        }
        out.extend_from_slice(b"\"isBase64Encoded\":false");
    } else if let Some(text) = text_of(request) {
        out.extend_from_slice(b"\"body\":");
        json::string(out, text);
        out.extend_from_slice(b",\"isBase64Encoded\":false");
    } else {
        out.extend_from_slice(b"\"body\":\"");
        json::base64(out, request.body);
        out.extend_from_slice(b"\",\"isBase64Encoded\":true");
    }
}

/// About how long an event will be, so that its buffer is made once.
fn estimate(request: &HttpRequest<'_>, rest: usize) -> usize {
    let headers: usize = request
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 8)
        .sum();
    let body = request.body.len() + request.body.len() / 3 + 8;
    1024 + headers + request.path.len() * 2 + request.query.len() * 3 + rest + body
}

/// Headers that the event does not take from the client.
fn is_left_out(name: &HeaderName, is_signed: bool) -> bool {
    let text = name.as_str();
    // What a proxy says of a client is not to be believed of a client.
    text.starts_with("x-forwarded-")
        || matches!(
            text,
            "forwarded" | "expect" | "x-amzn-trace-id" | "x-amzn-tls-version" | "x-amzn-tls-cipher-suite"
        )
        || (is_signed && *name == AUTHORIZATION)
        || is_hop_by_hop(name)
}

/// Headers that the platform sets: of the connection, and what the client left out.
fn each_own_header(request: &HttpRequest<'_>, trace_id: &str, mut each: impl FnMut(&str, &str)) {
    // HTTP/2 names the host elsewhere, and says the length of a body by its end.
    if !request.headers.contains_key(HOST) {
        each("host", request.authority);
    }
    if !request.body.is_empty() && !request.headers.contains_key(CONTENT_LENGTH) {
        each("content-length", json::Number::new(request.body.len() as u64).as_str());
    }
    each("x-amzn-trace-id", trace_id);
    each(
        "x-forwarded-for",
        json::Address::new(request.peer.address.ip()).as_str(),
    );
    each("x-forwarded-port", json::Number::new(request.port().into()).as_str());
    each("x-forwarded-proto", request.scheme());
}

/// A header's value as text; what is no UTF-8 is replaced.
fn text(value: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

/// What divides the values of a header that came several times.
fn divider(name: &HeaderName) -> &'static str {
    if *name == COOKIE { "; " } else { "," }
}
