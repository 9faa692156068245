//! Answers that are sent as the function writes them.
//!
//! The connection asks for each part when it has room for it, straight from where the environment puts them: there is no task between
//! the two, and little in memory. A client that does not read makes the function wait.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use ephyra_core::compute::Invoke;
use ephyra_core::invocation::{Invocation, InvokeError, Outcome, StreamPart};
use ephyra_wire::service::{Body, BrokenBody, Response};
use futures_util::{FutureExt as _, Stream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Failure;
use crate::answer::{Malformed, v2};

/// How many parts, of 1 MiB at most, may wait for the client before the function is slowed down.
pub(super) const PARTS: usize = 4;
/// The content type by which a function says that status and headers come before the body.
const INTEGRATION: &str = "application/vnd.awslambda.http-integration-response";
/// What divides them from it.
const DELIMITER: [u8; 8] = [0; 8];
/// The most that may come before it, in bytes.
const PRELUDE_BYTES: usize = 256 * 1024;
/// The content type of what a function streams without saying what it is.
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

type Running = JoinHandle<Result<Outcome, InvokeError>>;

/// Runs the function, and answers as soon as its status is known.
pub(super) async fn answer(
    invoke: Arc<dyn Invoke>,
    invocation: Invocation,
    mut received: mpsc::Receiver<StreamPart>,
) -> Result<Response, Failure> {
    let running: Running = tokio::spawn(async move { invoke.invoke(invocation).await });
    // The channel ends with the invocation, so either the first part or the end comes.
    let (status, headers, first) = match received.recv().await {
        Some(StreamPart::Head { content_type }) if content_type == INTEGRATION => {
            let Some((prelude, rest)) = read_prelude(&mut received).await? else {
                // It ended before it had said its status: by its own failure, or because it forgot.
                let outcome = ended(running.await)?;
                outcome.result.map_err(|_| Failure::Function)?;
                return Err(Failure::Malformed(Malformed::NoStatus));
            };
            let (status, headers) = v2::read_prelude(&prelude, BYTES).map_err(Failure::Malformed)?;
            (status, headers, rest)
        }
        Some(first) => {
            let (content_type, first) = match first {
                StreamPart::Head { content_type } => (HeaderValue::try_from(content_type).ok(), Bytes::new()),
                StreamPart::Chunk(chunk) => (None, chunk),
            };
            // A function that fails has often begun to stream, and said nothing yet.
            let first = if first.is_empty() {
                next_chunk(&mut received).await
            } else {
                Some(first)
            };
            let Some(first) = first else {
                let outcome = ended(running.await)?;
                outcome.result.map_err(|_| Failure::Function)?;
                return Ok(plain(content_type, Body::Full(Bytes::new())));
            };
            let headers = type_header(content_type);
            (StatusCode::OK, headers, first)
        }
        None => {
            let answer = ended(running.await)?.result.map_err(|_| Failure::Function)?;
            return Ok(plain(None, Body::Full(answer)));
        }
    };
    if crate::answer::is_bodiless(status) {
        let body = Body::Full(Bytes::new());
        return Ok(Response { status, headers, body });
    }
    let body = Parts {
        first,
        received,
        running: Some(running),
    };
    Ok(Response {
        status,
        headers,
        body: Body::Parts(Box::pin(body)),
    })
}

fn plain(content_type: Option<HeaderValue>, body: Body) -> Response {
    Response {
        status: StatusCode::OK,
        headers: type_header(content_type),
        body,
    }
}

fn type_header(content_type: Option<HeaderValue>) -> HeaderMap {
    let content_type = content_type.filter(|value| !value.is_empty()).unwrap_or(BYTES);
    HeaderMap::from_iter([(CONTENT_TYPE, content_type)])
}

/// The next bytes; `None` at the end.
async fn next_chunk(received: &mut mpsc::Receiver<StreamPart>) -> Option<Bytes> {
    loop {
        match received.recv().await? {
            StreamPart::Chunk(chunk) if !chunk.is_empty() => return Some(chunk),
            StreamPart::Chunk(_) | StreamPart::Head { .. } => {}
        }
    }
}

/// What comes before the delimiter, and what has come behind it; `None` when the answer ends before.
async fn read_prelude(received: &mut mpsc::Receiver<StreamPart>) -> Result<Option<(Bytes, Bytes)>, Failure> {
    let Some(first) = next_chunk(received).await else {
        return Ok(None);
    };
    // Nearly always it comes in one part.
    if let Some(split) = split_prelude(&first, 0) {
        return Ok(Some(split));
    }
    let mut prelude = BytesMut::from(&*first);
    while prelude.len() < PRELUDE_BYTES + DELIMITER.len() {
        let Some(chunk) = next_chunk(received).await else {
            return Ok(None);
        };
        let seen = prelude.len().saturating_sub(DELIMITER.len() - 1);
        prelude.extend_from_slice(&chunk);
        if let Some(at) = find_delimiter(&prelude, seen) {
            let whole = prelude.freeze();
            return Ok(Some(split_at(&whole, at)));
        }
    }
    Err(Failure::Malformed(Malformed::TooManyHeaders))
}

/// Divides an answer at its first delimiter from `seen` on, if that comes early enough. Nothing is copied.
pub(super) fn split_prelude(bytes: &Bytes, seen: usize) -> Option<(Bytes, Bytes)> {
    find_delimiter(bytes, seen).map(|at| split_at(bytes, at))
}

fn split_at(bytes: &Bytes, at: usize) -> (Bytes, Bytes) {
    (bytes.slice(..at), bytes.slice(at + DELIMITER.len()..))
}

/// JSON has no such bytes, so that the first ones are it.
fn find_delimiter(bytes: &[u8], seen: usize) -> Option<usize> {
    let end = bytes.len().min(PRELUDE_BYTES + DELIMITER.len());
    let at = bytes
        .get(seen..end)?
        .windows(DELIMITER.len())
        .position(|window| window == DELIMITER)?;
    Some(seen + at)
}

fn ended(result: Result<Result<Outcome, InvokeError>, tokio::task::JoinError>) -> Result<Outcome, Failure> {
    match result {
        Ok(outcome) => outcome.map_err(Failure::NotRun),
        Err(error) => {
            tracing::error!(%error, "an invocation broke off");
            Err(Failure::Function)
        }
    }
}

/// The parts of an answer, as the connection asks for them.
struct Parts {
    /// What came with the status.
    first: Bytes,
    received: mpsc::Receiver<StreamPart>,
    /// How the invocation ends; `None` once that is known.
    running: Option<Running>,
}

impl Stream for Parts {
    type Item = Result<Bytes, BrokenBody>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.first.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.first))));
        }
        while let Some(part) = ready!(self.received.poll_recv(context)) {
            if let StreamPart::Chunk(chunk) = part
                && !chunk.is_empty()
            {
                return Poll::Ready(Some(Ok(chunk)));
            }
        }
        let Some(running) = &mut self.running else {
            return Poll::Ready(None);
        };
        let outcome = ended(ready!(running.poll_unpin(context)));
        self.running = None;
        // The status is said: to break off is all that is left to say.
        let is_whole = outcome.is_ok_and(|outcome| outcome.result.is_ok());
        Poll::Ready((!is_whole).then_some(Err(BrokenBody)))
    }
}
