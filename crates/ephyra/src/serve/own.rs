//! The service of our own that the command line uses: runtimes, logs and answers as they come. Signed for `ephyra`, like any AWS service.

use std::sync::Arc;

use bytes::Bytes;
use ephyra_core::compute::Resolve;
use ephyra_core::id::FunctionName;
use ephyra_observe::logs::{Followed, LogEvent, LogStore};
use ephyra_sandbox::runtimes::Runtime;
use ephyra_store::clock::Clock;
use ephyra_wire::error::ApiError;
use ephyra_wire::rest::{Router, json_response, query_boolean, query_integer};
use ephyra_wire::service::{Body, BodyLimit, BrokenBody, Request, Response, Service};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::tap::{Tap, Watched};

/// The most lines of the past that one request gets.
const LINES: i64 = 10_000;
/// Parts of an answer that may wait for a slow reader.
const PARTS: usize = 16;

#[derive(Clone, Copy)]
enum Operation {
    ListRuntimes,
    ReadLogs,
    WatchAnswers,
}

/// The service.
pub(crate) struct Own {
    router: Router<Operation>,
    runtimes: Vec<Runtime>,
    account: String,
    resolve: Arc<dyn Resolve>,
    logs: Arc<LogStore>,
    tap: Arc<Tap>,
    clock: Arc<dyn Clock>,
    /// True once the platform goes down: who follows a log is then told that it ends.
    is_draining: watch::Receiver<bool>,
}

impl Own {
    pub(crate) fn new(
        runtimes: Vec<Runtime>,
        account: String,
        resolve: Arc<dyn Resolve>,
        logs: Arc<LogStore>,
        tap: Arc<Tap>,
        clock: Arc<dyn Clock>,
        is_draining: watch::Receiver<bool>,
    ) -> Self {
        let router = Router::new([
            (Method::GET, "/_ephyra/runtimes", Operation::ListRuntimes),
            (Method::GET, "/_ephyra/logs/{Name}", Operation::ReadLogs),
            (Method::GET, "/_ephyra/answers/{Name}", Operation::WatchAnswers),
        ]);
        Self {
            router,
            runtimes,
            account,
            resolve,
            logs,
            tap,
            clock,
            is_draining,
        }
    }

    async fn answer(&self, request: Request) -> Result<Response, ApiError> {
        let mut found = self.router.find(&request.method, &request.path)?;
        match found.operation {
            Operation::ListRuntimes => Ok(json_response(
                StatusCode::OK,
                &json!({ "account": self.account, "runtimes": self.runtimes }),
            )),
            Operation::ReadLogs => self.read_logs(&request, &found.labels.take("Name")).await,
            Operation::WatchAnswers => self.watch_answers(&found.labels.take("Name")),
        }
    }

    async fn read_logs(&self, request: &Request, name: &str) -> Result<Response, ApiError> {
        let group = self.group(name).await?;
        let since_ms = query_integer(request, "since")?.unwrap_or(3_600_000).max(0);
        let limit = query_integer(request, "limit")?.unwrap_or(1000).clamp(0, LINES);
        let follow = query_boolean(request, "follow")?.unwrap_or(false);
        let since = self.clock.now_ms().saturating_sub(since_ms);
        let limit = usize::try_from(limit).unwrap_or_default();

        let (past, following) = if follow {
            let (past, following) = self
                .logs
                .tail_and_follow(&group, since, limit)
                .await
                .map_err(|e| internal(&e))?;
            (past, Some(following))
        } else {
            (
                self.logs.tail(&group, since, limit).await.map_err(|e| internal(&e))?,
                None,
            )
        };
        let (parts, body) = mpsc::channel(PARTS);
        let mut is_draining = self.is_draining.clone();
        tokio::spawn(async move {
            for event in past {
                if parts.send(Ok(line(&event))).await.is_err() {
                    return;
                }
            }
            let Some(mut following) = following else { return };
            loop {
                let followed = tokio::select! {
                    () = parts.closed() => return,
                    _ = is_draining.wait_for(|is_draining| *is_draining) => return,
                    followed = following.next() => followed,
                };
                let part = match followed {
                    Some(Followed::Event(event)) => line(&event),
                    Some(Followed::Skipped(count)) => skipped(count),
                    None => return,
                };
                if parts.send(Ok(part)).await.is_err() {
                    return;
                }
            }
        });
        Ok(lines(body))
    }

    /// The answers of a function from now on; it need not be there yet.
    fn watch_answers(&self, name: &str) -> Result<Response, ApiError> {
        let mut watch = self.tap.watch(function_name(name)?);
        let (parts, body) = mpsc::channel(PARTS);
        let mut is_draining = self.is_draining.clone();
        tokio::spawn(async move {
            loop {
                let watched = tokio::select! {
                    () = parts.closed() => return,
                    _ = is_draining.wait_for(|is_draining| *is_draining) => return,
                    watched = watch.next() => watched,
                };
                let part = match watched {
                    Some(Watched::Answer(answer)) => json_line(&json!(&*answer)),
                    Some(Watched::Skipped(count)) => skipped(count),
                    None => return,
                };
                if parts.send(Ok(part)).await.is_err() {
                    return;
                }
            }
        });
        Ok(lines(body))
    }

    /// The log group that a name means: that of a function that is there, one that is gone keeps its default group; or else
    /// the group of that very name, such as one that an API logs access to.
    async fn group(&self, name: &str) -> Result<String, ApiError> {
        let has_streams = async |group: &str| {
            let streams = self.logs.streams(group).await;
            streams.map(|streams| !streams.is_empty()).map_err(|e| internal(&e))
        };
        let function = function_name(name);
        if function.is_err() && has_streams(name).await? {
            return Ok(name.to_owned());
        }
        let name = function?;
        match self.resolve.resolve(&name, None).await {
            Ok(resolved) => Ok(resolved.revision.logging.group.clone()),
            Err(error) => {
                let group = format!("/aws/lambda/{name}");
                if !has_streams(&group).await? {
                    if has_streams(name.as_str()).await? {
                        return Ok(name.to_string());
                    }
                    return Err(ApiError::new(
                        StatusCode::NOT_FOUND,
                        "ResourceNotFoundException",
                        format!("{error}, and there is no log of it"),
                    ));
                }
                Ok(group)
            }
        }
    }
}

fn internal(error: &dyn std::error::Error) -> ApiError {
    tracing::error!(error = super::builder::chain(error), "the logs could not be read");
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "ServiceException",
        "The logs could not be read; the platform's own log says why.",
    )
}

fn function_name(text: &str) -> Result<FunctionName, ApiError> {
    text.parse().map_err(|error: ephyra_core::id::ParseIdError| {
        ApiError::new(StatusCode::BAD_REQUEST, "ValidationException", error.to_string())
    })
}

/// An answer of lines of JSON, as they come.
fn lines(body: mpsc::Receiver<Result<Bytes, BrokenBody>>) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/x-ndjson"));
    Response {
        status: StatusCode::OK,
        headers,
        body: Body::Stream(body),
    }
}

fn json_line(document: &Value) -> Bytes {
    let mut text = document.to_string();
    text.push('\n');
    text.into()
}

fn line(event: &LogEvent) -> Bytes {
    json_line(&json!({
        "timestamp": event.timestamp_ms,
        "stream": &*event.stream,
        "message": String::from_utf8_lossy(&event.message),
    }))
}

/// What a reader is told who was too slow for the function.
fn skipped(count: u64) -> Bytes {
    json_line(&json!({ "skipped": count }))
}

impl Service for Own {
    fn signing_name(&self) -> &'static str {
        "ephyra"
    }

    fn body_limit(&self, _: &Method, _: &str) -> BodyLimit {
        BodyLimit {
            bytes: 0,
            error: |_| {
                ApiError::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "RequestEntityTooLargeException",
                    "This operation takes no body.",
                )
            },
        }
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Response> {
        Box::pin(async move { self.answer(request).await.unwrap_or_else(ApiError::into_response) })
    }
}
