//! What may be asked without a signature: is the platform well, and its metrics.

use bytes::Bytes;
use ephyra_engine::Engine;
use ephyra_observe::metrics::Metrics;
use ephyra_wire::front::Plain;
use ephyra_wire::service::{Body, Response};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;
use tokio::sync::watch;

/// `/_ephyra/health` and `/_ephyra/metrics`.
pub(crate) struct PlainPages {
    pub(crate) engine: Engine,
    pub(crate) metrics: Metrics,
    pub(crate) is_draining: watch::Receiver<bool>,
}

impl PlainPages {
    fn health(&self) -> Response {
        let is_draining = *self.is_draining.borrow();
        let snapshot = self.engine.snapshot();
        let document = json!({
            "status": if is_draining { "draining" } else { "ok" },
            "version": env!("CARGO_PKG_VERSION"),
            "environments": { "idle": snapshot.idle, "busy": snapshot.busy, "starting": snapshot.starting },
        });
        let status = if is_draining {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::OK
        };
        page(status, "application/json", document.to_string())
    }
}

fn page(status: StatusCode, content_type: &'static str, text: String) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static(content_type));
    Response {
        status,
        headers,
        body: Body::Full(Bytes::from(text)),
    }
}

impl Plain for PlainPages {
    fn get<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Option<Response>> {
        Box::pin(async move {
            match path {
                "/_ephyra/health" => Some(self.health()),
                "/_ephyra/metrics" => Some(page(
                    StatusCode::OK,
                    "text/plain; version=0.0.4; charset=utf-8",
                    self.metrics.render(),
                )),
                _ => None,
            }
        })
    }
}
