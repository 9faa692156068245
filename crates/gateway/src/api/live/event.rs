//! Events of APIs, in either format.

use std::borrow::Cow;

use bytes::Bytes;

use super::stage::End;
use crate::api::model::PayloadFormat;
use crate::event::{Authorizer, v1, v2};
use crate::request::HttpRequest;

/// What events say besides the request and its route.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The account that owns the API.
    pub account_id: &'a str,
    /// The API.
    pub api_id: &'a str,
    /// The host under which it was asked for, and its first label.
    pub domain: (&'a str, &'a str),
    /// The stage.
    pub stage: &'a str,
    /// The request's identifier.
    pub request_id: &'a str,
    /// Its trace.
    pub trace_id: &'a str,
    /// When it came, in milliseconds since 1970.
    pub time_ms: i64,
    /// The route's parameters.
    pub parameters: &'a [(Cow<'a, str>, Cow<'a, str>)],
    /// The stage's variables as JSON.
    pub variables: Option<&'a str>,
}

/// The event of a request.
pub fn of(
    format: PayloadFormat,
    request: &HttpRequest<'_>,
    end: &End,
    around: &Surroundings<'_>,
    authorizer: Option<Authorizer<'_>>,
) -> Bytes {
    let (domain_name, domain_prefix) = around.domain;
    match format {
        PayloadFormat::V1 => v1::event(
            request,
            &v1::Context {
                account_id: around.account_id,
                api_id: around.api_id,
                domain_name,
                domain_prefix,
                resource: &end.resource,
                stage: around.stage,
                request_id: around.request_id,
                trace_id: around.trace_id,
                time_ms: around.time_ms,
                authorizer,
                path_parameters: around.parameters,
                stage_variables: around.variables,
            },
        ),
        PayloadFormat::V2 => v2::event(
            request,
            &v2::Context {
                account_id: around.account_id,
                api_id: around.api_id,
                domain_name,
                domain_prefix,
                route_key: &end.key,
                stage: around.stage,
                request_id: around.request_id,
                trace_id: around.trace_id,
                time_ms: around.time_ms,
                authorizer,
                path_parameters: around.parameters,
                stage_variables: around.variables,
                keeps_cookie_header: false,
            },
        ),
    }
}
