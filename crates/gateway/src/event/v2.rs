//! Payload format 2.0: that of function URLs, and of HTTP APIs unless they say 1.0.

use std::borrow::Cow;

use bytes::Bytes;
use http::HeaderName;
use http::header::{COOKIE, USER_AGENT};

use super::{Authorizer, Iam, divider, each_own_header, estimate, is_left_out, json, text, write_body};
use crate::request::HttpRequest;

/// What stands in an event besides the request.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The account that owns the API. For a function URL the account of who signed, or `anonymous`.
    pub account_id: &'a str,
    /// The API's or the URL's identifier.
    pub api_id: &'a str,
    /// The host under which the API or URL is known.
    pub domain_name: &'a str,
    /// Its first label.
    pub domain_prefix: &'a str,
    /// The route that was chosen, such as `GET /pets/{id}`; `$default` for a function URL.
    pub route_key: &'a str,
    /// The stage; `$default` for a function URL.
    pub stage: &'a str,
    /// The request's identifier.
    pub request_id: &'a str,
    /// The request's trace: the value of `X-Amzn-Trace-Id`.
    pub trace_id: &'a str,
    /// When it came, in milliseconds since 1970.
    pub time_ms: i64,
    /// Who may call.
    pub authorizer: Option<Authorizer<'a>>,
    /// What the path said for the route's parameters, decoded; left out where there are none.
    pub path_parameters: &'a [(Cow<'a, str>, Cow<'a, str>)],
    /// The stage's variables as a JSON object; left out where there are none.
    pub stage_variables: Option<&'a str>,
    /// Whether the headers have the cookies too, as those of function URLs do.
    pub keeps_cookie_header: bool,
}

/// The event of a request.
pub fn event(request: &HttpRequest<'_>, context: &Context<'_>) -> Bytes {
    let rest = context.stage_variables.map_or(0, str::len)
        + context.authorizer.map_or(0, |authorizer| match authorizer {
            Authorizer::Iam(_) => 512,
            Authorizer::Jwt { claims, .. } => claims.len() + 512,
            Authorizer::Lambda(said) => said.len(),
        });
    let mut out = Vec::with_capacity(estimate(request, rest));
    out.extend_from_slice(b"{\"version\":\"2.0\",");
    json::member(&mut out, "routeKey", context.route_key);
    json::member(&mut out, "rawPath", request.path);
    json::member(&mut out, "rawQueryString", request.query);
    write_cookies(&mut out, request);
    write_headers(&mut out, request, context);
    write_parameters(&mut out, request);
    write_context(&mut out, request, context);
    if !context.path_parameters.is_empty() {
        json::name(&mut out, "pathParameters");
        out.push(b'{');
        for (name, value) in context.path_parameters {
            json::string(&mut out, name);
            out.push(b':');
            json::string(&mut out, value);
            out.push(b',');
        }
        json::close(&mut out, b'}');
        out.push(b',');
    }
    if let Some(variables) = context.stage_variables {
        json::name(&mut out, "stageVariables");
        out.extend_from_slice(variables.as_bytes());
        out.push(b',');
    }
    write_body(&mut out, request, false);
    out.push(b'}');
    out.into()
}

fn write_cookies(out: &mut Vec<u8>, request: &HttpRequest<'_>) {
    let mut cookies = request.cookies().peekable();
    if cookies.peek().is_none() {
        return;
    }
    out.extend_from_slice(b"\"cookies\":[");
    for cookie in cookies {
        json::string(out, cookie);
        out.push(b',');
    }
    json::close(out, b']');
    out.push(b',');
}

/// All headers, each once.
fn write_headers(out: &mut Vec<u8>, request: &HttpRequest<'_>, context: &Context<'_>) {
    let is_signed = matches!(context.authorizer, Some(Authorizer::Iam(_)));
    out.extend_from_slice(b"\"headers\":{");
    // Values of one name come one after another.
    let mut before: Option<&HeaderName> = None;
    for (name, value) in request.headers {
        if before == Some(name) {
            // Without `",`: the string goes on.
            out.truncate(out.len() - 2);
            out.extend_from_slice(divider(name).as_bytes());
        } else {
            if is_left_out(name, is_signed) || (*name == COOKIE && !context.keeps_cookie_header) {
                continue;
            }
            json::name(out, name.as_str());
            out.push(b'"');
            before = Some(name);
        }
        json::escaped(out, &text(value));
        out.extend_from_slice(b"\",");
    }
    each_own_header(request, context.trace_id, |name, value| json::member(out, name, value));
    json::close(out, b'}');
    out.push(b',');
}

/// The query's parameters, each once: those that come several times joined by commas.
fn write_parameters(out: &mut Vec<u8>, request: &HttpRequest<'_>) {
    if request.query.is_empty() {
        return;
    }
    let parameters = request.parameters();
    let mut before = None;
    for (name, value) in &parameters {
        if before == Some(name) {
            out.truncate(out.len() - 2);
            out.push(b',');
        } else {
            out.extend_from_slice(if before.is_none() {
                b"\"queryStringParameters\":{"
            } else {
                b""
            });
            json::string(out, name);
            out.extend_from_slice(b":\"");
            before = Some(name);
        }
        json::escaped(out, value);
        out.extend_from_slice(b"\",");
    }
    if before.is_some() {
        json::close(out, b'}');
        out.push(b',');
    }
}

fn write_context(out: &mut Vec<u8>, request: &HttpRequest<'_>, context: &Context<'_>) {
    out.extend_from_slice(b"\"requestContext\":{");
    json::member(out, "accountId", context.account_id);
    json::member(out, "apiId", context.api_id);
    if let Some(authorizer) = &context.authorizer {
        write_authorizer(out, authorizer);
    }
    json::member(out, "domainName", context.domain_name);
    json::member(out, "domainPrefix", context.domain_prefix);
    out.extend_from_slice(b"\"http\":{");
    json::member(out, "method", request.method.as_str());
    json::member(out, "path", request.path);
    json::member(out, "protocol", request.protocol());
    json::member(out, "sourceIp", json::Address::new(request.peer.address.ip()).as_str());
    json::member(out, "userAgent", request.header(USER_AGENT).unwrap_or_default());
    json::close(out, b'}');
    out.push(b',');
    json::member(out, "requestId", context.request_id);
    json::member(out, "routeKey", context.route_key);
    json::member(out, "stage", context.stage);
    json::name(out, "time");
    out.push(b'"');
    json::log_time(out, context.time_ms);
    out.extend_from_slice(b"\",\"timeEpoch\":");
    json::number(out, context.time_ms.unsigned_abs());
    out.extend_from_slice(b"},");
}

fn write_authorizer(out: &mut Vec<u8>, authorizer: &Authorizer<'_>) {
    out.extend_from_slice(b"\"authorizer\":{");
    match authorizer {
        Authorizer::Iam(iam) => write_iam(out, iam),
        Authorizer::Jwt { claims, scopes } => {
            out.extend_from_slice(b"\"jwt\":{\"claims\":");
            out.extend_from_slice(claims.as_bytes());
            out.extend_from_slice(b",\"scopes\":");
            match scopes {
                None => out.extend_from_slice(b"null"),
                Some(scopes) => {
                    out.push(b'[');
                    for scope in *scopes {
                        json::string(out, scope);
                        out.push(b',');
                    }
                    json::close(out, b']');
                }
            }
            out.push(b'}');
        }
        Authorizer::Lambda(said) => {
            out.extend_from_slice(b"\"lambda\":");
            out.extend_from_slice(said.as_bytes());
        }
    }
    out.extend_from_slice(b"},");
}

/// There is no Cognito and no organisation here.
fn write_iam(out: &mut Vec<u8>, iam: &Iam<'_>) {
    out.extend_from_slice(b"\"iam\":{");
    json::member(out, "accessKey", iam.access_key);
    json::member(out, "accountId", iam.account_id);
    json::member(out, "callerId", iam.user_id);
    out.extend_from_slice(b"\"cognitoIdentity\":null,\"principalOrgId\":null,");
    json::member(out, "userArn", iam.user_arn);
    json::member(out, "userId", iam.user_id);
    json::close(out, b'}');
}
