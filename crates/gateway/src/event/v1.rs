//! Payload format 1.0: that of HTTP APIs which were made for functions of REST APIs.

use std::borrow::Cow;

use bytes::Bytes;
use http::HeaderName;
use http::header::USER_AGENT;

use super::{Authorizer, each_own_header, estimate, is_left_out, json, text, write_body};
use crate::request::HttpRequest;

/// What stands in an event besides the request.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The account that owns the API.
    pub account_id: &'a str,
    /// The API's identifier.
    pub api_id: &'a str,
    /// The host under which the API is known.
    pub domain_name: &'a str,
    /// Its first label.
    pub domain_prefix: &'a str,
    /// The path of the route that was chosen, such as `/pets/{id}`, or `$default`.
    pub resource: &'a str,
    /// The stage.
    pub stage: &'a str,
    /// The request's identifier.
    pub request_id: &'a str,
    /// The request's trace: the value of `X-Amzn-Trace-Id`.
    pub trace_id: &'a str,
    /// When it came, in milliseconds since 1970.
    pub time_ms: i64,
    /// Who may call.
    pub authorizer: Option<Authorizer<'a>>,
    /// What the path said for the route's parameters, decoded.
    pub path_parameters: &'a [(Cow<'a, str>, Cow<'a, str>)],
    /// The stage's variables as a JSON object.
    pub stage_variables: Option<&'a str>,
}

/// The event of a request.
pub fn event(request: &HttpRequest<'_>, context: &Context<'_>) -> Bytes {
    let rest = context.stage_variables.map_or(0, str::len)
        + context.authorizer.map_or(0, |authorizer| match authorizer {
            Authorizer::Iam(_) => 0,
            Authorizer::Jwt { claims, .. } => claims.len() + 512,
            Authorizer::Lambda(said) => said.len(),
        });
    // Headers and parameters stand in it twice.
    let twice = estimate(request, rest) - request.body.len();
    let mut out = Vec::with_capacity(estimate(request, rest) + twice);
    out.extend_from_slice(b"{\"version\":\"1.0\",");
    json::member(&mut out, "resource", context.resource);
    json::member(&mut out, "path", request.path);
    json::member(&mut out, "httpMethod", request.method.as_str());
    write_headers(&mut out, request, context);
    write_parameters(&mut out, request);
    write_context(&mut out, request, context);
    json::name(&mut out, "pathParameters");
    if context.path_parameters.is_empty() {
        out.extend_from_slice(b"null,");
    } else {
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
    json::name(&mut out, "stageVariables");
    out.extend_from_slice(context.stage_variables.unwrap_or("null").as_bytes());
    out.push(b',');
    write_body(&mut out, request, true);
    out.push(b'}');
    out.into()
}

/// All headers: with their last values, and with all.
fn write_headers(out: &mut Vec<u8>, request: &HttpRequest<'_>, context: &Context<'_>) {
    let is_signed = matches!(context.authorizer, Some(Authorizer::Iam(_)));
    let names = || {
        request
            .headers
            .keys()
            .filter(move |name: &&HeaderName| !is_left_out(name, is_signed))
    };
    out.extend_from_slice(b"\"headers\":{");
    for name in names() {
        if let Some(last) = request.headers.get_all(name).iter().next_back() {
            json::member(out, name.as_str(), &text(last));
        }
    }
    each_own_header(request, context.trace_id, |name, value| json::member(out, name, value));
    json::close(out, b'}');
    out.extend_from_slice(b",\"multiValueHeaders\":{");
    for name in names() {
        json::name(out, name.as_str());
        out.push(b'[');
        for value in request.headers.get_all(name) {
            json::string(out, &text(value));
            out.push(b',');
        }
        json::close(out, b']');
        out.push(b',');
    }
    each_own_header(request, context.trace_id, |name, value| {
        json::name(out, name);
        out.push(b'[');
        json::string(out, value);
        out.extend_from_slice(b"],");
    });
    json::close(out, b'}');
    out.push(b',');
}

/// The query's parameters: with their last values, and with all.
fn write_parameters(out: &mut Vec<u8>, request: &HttpRequest<'_>) {
    let parameters = request.parameters();
    if parameters.is_empty() {
        out.extend_from_slice(b"\"queryStringParameters\":null,\"multiValueQueryStringParameters\":null,");
        return;
    }
    let groups = || parameters.chunk_by(|(a, _), (b, _)| a == b);
    out.extend_from_slice(b"\"queryStringParameters\":{");
    for (name, value) in groups().filter_map(<[_]>::last) {
        json::string(out, name);
        out.push(b':');
        json::string(out, value);
        out.push(b',');
    }
    json::close(out, b'}');
    out.extend_from_slice(b",\"multiValueQueryStringParameters\":{");
    for group in groups() {
        for (at, (name, value)) in group.iter().enumerate() {
            if at == 0 {
                json::string(out, name);
                out.extend_from_slice(b":[");
            }
            json::string(out, value);
            out.push(b',');
        }
        json::close(out, b']');
        out.push(b',');
    }
    json::close(out, b'}');
    out.push(b',');
}

fn write_context(out: &mut Vec<u8>, request: &HttpRequest<'_>, context: &Context<'_>) {
    out.extend_from_slice(b"\"requestContext\":{");
    json::member(out, "accountId", context.account_id);
    json::member(out, "apiId", context.api_id);
    write_authorizer(out, context.authorizer.as_ref());
    json::member(out, "domainName", context.domain_name);
    json::member(out, "domainPrefix", context.domain_prefix);
    json::member(out, "extendedRequestId", context.request_id);
    json::member(out, "httpMethod", request.method.as_str());
    write_identity(out, request, context);
    json::member(out, "path", request.path);
    json::member(out, "protocol", request.protocol());
    json::member(out, "requestId", context.request_id);
    json::name(out, "requestTime");
    out.push(b'"');
    json::log_time(out, context.time_ms);
    out.extend_from_slice(b"\",\"requestTimeEpoch\":");
    json::number(out, context.time_ms.unsigned_abs());
    out.extend_from_slice(b",\"resourceId\":null,");
    json::member(out, "resourcePath", context.resource);
    json::member(out, "stage", context.stage);
    json::close(out, b'}');
    out.push(b',');
}

fn write_authorizer(out: &mut Vec<u8>, authorizer: Option<&Authorizer<'_>>) {
    json::name(out, "authorizer");
    match authorizer {
        // A signature's is in the identity.
        None | Some(Authorizer::Iam(_)) => out.extend_from_slice(b"{\"claims\":null,\"scopes\":null}"),
        Some(Authorizer::Jwt { claims, scopes }) => {
            out.extend_from_slice(b"{\"claims\":");
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
        Some(Authorizer::Lambda(said)) => out.extend_from_slice(said.as_bytes()),
    }
    out.push(b',');
}

fn write_identity(out: &mut Vec<u8>, request: &HttpRequest<'_>, context: &Context<'_>) {
    let iam = match context.authorizer {
        Some(Authorizer::Iam(iam)) => Some(iam),
        _ => None,
    };
    let optional = |out: &mut Vec<u8>, key: &str, value: Option<&str>| match value {
        Some(value) => json::member(out, key, value),
        None => {
            json::name(out, key);
            out.extend_from_slice(b"null,");
        }
    };
    out.extend_from_slice(b"\"identity\":{");
    optional(out, "accessKey", iam.map(|iam| iam.access_key));
    optional(out, "accountId", iam.map(|iam| iam.account_id));
    optional(out, "caller", iam.map(|iam| iam.user_id));
    // There is no Cognito and no organisation here.
    for key in [
        "cognitoAuthenticationProvider",
        "cognitoAuthenticationType",
        "cognitoIdentityId",
        "cognitoIdentityPoolId",
        "principalOrgId",
    ] {
        optional(out, key, None);
    }
    json::member(out, "sourceIp", json::Address::new(request.peer.address.ip()).as_str());
    optional(out, "user", iam.map(|iam| iam.user_id));
    json::member(out, "userAgent", request.header(USER_AGENT).unwrap_or_default());
    optional(out, "userArn", iam.map(|iam| iam.user_arn));
    json::close(out, b'}');
    out.push(b',');
}
