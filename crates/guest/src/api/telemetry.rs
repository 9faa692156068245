//! Subscribing to the Telemetry API and to the Logs API.

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;

use super::Shared;
use super::extension::{Refusal, identifier};
use super::reply::{self, Reply};
use super::server::read_small;
use crate::telemetry::{self, Api, REQUEST_BYTES};
use crate::watch::now_ms;

/// Serves a request by its whole path.
pub(super) async fn route(shared: &Shared, path: &str, request: Request<Incoming>) -> Reply {
    let api = match path.trim_end_matches('/') {
        "/2020-08-15/logs" => Api::Logs,
        "/2022-07-01/telemetry" => Api::Telemetry,
        _ => return reply::not_found(),
    };
    if request.method() != Method::PUT {
        return reply::method_not_allowed();
    }
    subscribe(shared, api, request)
        .await
        .unwrap_or_else(Refusal::into_reply)
}

async fn subscribe(shared: &Shared, api: Api, request: Request<Incoming>) -> Result<Reply, Refusal> {
    let id = identifier(request.headers())?;
    let name = shared.extensions.lock().name_of(id)?.to_owned();
    let (invalid, closed, message) = match api {
        Api::Logs => (
            "Logs.ValidationError",
            "Logs.SubscriptionClosed",
            "Logs API subscription is closed already",
        ),
        Api::Telemetry => (
            "ValidationError",
            "Telemetry.SubscriptionClosed",
            "Telemetry API subscription is closed already",
        ),
    };
    let Some(body) = read_small(shared, request.into_body(), REQUEST_BYTES).await else {
        return Ok(reply::error(
            StatusCode::BAD_REQUEST,
            invalid,
            "the request is too long",
        ));
    };
    Ok(match shared.hub.subscribe(&name, api, &body, now_ms()) {
        Ok(()) => reply::ok(&"OK".into()),
        Err(telemetry::Refusal::Closed) => reply::forbidden(closed, message),
        Err(telemetry::Refusal::Invalid(why)) => reply::error(StatusCode::BAD_REQUEST, invalid, &why),
    })
}
