//! The Runtime API: what a runtime asks for and answers.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use ephyra_core::limits::SYNC_RESPONSE_BYTES;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use serde_json::json;

use super::reply::{self, Reply};
use super::state::{self, Refusal, error_type};
use super::{Message, Shared};
use crate::frame::{CHUNK_BYTES, Document, NAME_BYTES};
use crate::protocol::Answer;

/// What is read of a body that is refused, in bytes, before the connection is given up.
const FORGOTTEN_BYTES: usize = 64 << 20;

const MODE: &str = "lambda-runtime-function-response-mode";
const ERROR_TYPE: &str = "lambda-runtime-function-error-type";
const ERROR_BODY: &str = "lambda-runtime-function-error-body";

/// Serves a request whose path is behind `/2018-06-01/`.
pub(super) async fn route(shared: &Arc<Shared>, path: &str, request: Request<Incoming>) -> Reply {
    let is_get = request.method() == Method::GET;
    let is_post = request.method() == Method::POST;
    let found = match path {
        "ping" if is_get => Ok(reply::pong()),
        "runtime/invocation/next" if is_get => next(shared).await,
        "runtime/init/error" | "runtime/restore/error" if is_post => init_error(shared, request).await,
        "runtime/restore/next" if is_get => restore_next(shared).await,
        "ping"
        | "runtime/invocation/next"
        | "runtime/init/error"
        | "runtime/restore/next"
        | "runtime/restore/error" => Ok(reply::method_not_allowed()),
        _ => match path
            .strip_prefix("runtime/invocation/")
            .and_then(|rest| rest.split_once('/'))
        {
            Some((id, "response")) if is_post => response(shared, id, request).await,
            Some((id, "error")) if is_post => error(shared, id, request).await,
            Some((_, "response" | "error")) => Ok(reply::method_not_allowed()),
            _ => Ok(reply::not_found()),
        },
    };
    found.unwrap_or_else(reply::refused)
}

/// Waits for an event.
async fn next(shared: &Shared) -> Result<Reply, Refusal> {
    let is_news = shared.turn.lock().state.ask()?;
    if is_news {
        shared.tell(Message::Ready).await;
    }
    loop {
        let woken = shared.event.notified();
        if let Some(event) = shared.fetch() {
            return Ok(event);
        }
        woken.await;
    }
}

/// Waits until the template is restored.
async fn restore_next(shared: &Shared) -> Result<Reply, Refusal> {
    let is_news = shared.turn.lock().state.await_restore()?;
    if is_news {
        shared.tell(Message::Ready).await;
    }
    loop {
        let woken = shared.event.notified();
        if shared.turn.lock().state != state::State::Template {
            return Ok(reply::restored());
        }
        woken.await;
    }
}

/// Takes the whole answer, or passes a streamed one on.
async fn response(shared: &Arc<Shared>, id: &str, request: Request<Incoming>) -> Result<Reply, Refusal> {
    let mode = request
        .headers()
        .get(MODE)
        .map(|mode| mode.as_bytes().eq_ignore_ascii_case(b"streaming"));
    let begun = shared.turn.lock().state.answer(id, state::RESPONSE);
    if let Err(refusal) = begun {
        forget(shared, request.into_body()).await;
        return Err(refusal);
    }
    let answering = Answering { shared: shared.clone() };
    match mode {
        None => {}
        Some(true) => {
            // On its own, so that it sees the end of the body even when the connection breaks.
            let streaming = tokio::spawn(stream(answering, request));
            return Ok(streaming.await.unwrap_or_else(|_| reply::truncated()));
        }
        Some(false) => {
            let failure = document("Runtime.InvalidResponseModeHeader", &Bytes::new());
            forget(shared, request.into_body()).await;
            answering.finish(Answer::Failed(failure)).await;
            return Ok(reply::invalid_mode());
        }
    }
    let content_type = content_type(request.headers(), "application/json");
    Ok(match read(shared, request.into_body()).await {
        Read::Whole(body) => {
            answering.finish(Answer::Whole(body, content_type)).await;
            reply::accepted()
        }
        Read::TooLarge => {
            answering.finish(Answer::Oversized).await;
            reply::too_large()
        }
        Read::Truncated => reply::truncated(),
    })
}

async fn stream(answering: Answering, request: Request<Incoming>) -> Reply {
    let content_type = content_type(request.headers(), "application/octet-stream");
    answering.shared.tell(Message::Answer(Answer::Head(content_type))).await;
    let mut body = request.into_body();
    loop {
        match body.frame().await {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(mut bytes) => {
                    answering.shared.paced(bytes.len()).await;
                    while !bytes.is_empty() {
                        let part = bytes.split_to(bytes.len().min(CHUNK_BYTES));
                        answering.shared.tell(Message::Answer(Answer::Chunk(part))).await;
                    }
                }
                Err(frame) => {
                    let failure = frame.into_trailers().ok().and_then(|trailers| failure_of(&trailers));
                    answering.finish(failure.map_or(Answer::End, Answer::Failed)).await;
                    return reply::accepted();
                }
            },
            Some(Err(_)) => {
                answering
                    .finish(Answer::Failed(document("Runtime.TruncatedResponse", &Bytes::new())))
                    .await;
                return reply::truncated();
            }
            None => {
                answering.finish(Answer::End).await;
                return reply::accepted();
            }
        }
    }
}

/// A failure in the middle of a stream.
fn failure_of(trailers: &HeaderMap) -> Option<Document> {
    let given = trailers.get(ERROR_TYPE)?;
    let body = trailers
        .get(ERROR_BODY)
        .and_then(|body| STANDARD.decode(body.as_bytes()).ok())
        .unwrap_or_default();
    Some(document(
        error_type(given.to_str().ok(), "Function.Unknown"),
        &Bytes::from(body),
    ))
}

/// Takes an invocation's failure.
async fn error(shared: &Arc<Shared>, id: &str, request: Request<Incoming>) -> Result<Reply, Refusal> {
    let begun = shared.turn.lock().state.answer(id, state::ERROR);
    if let Err(refusal) = begun {
        forget(shared, request.into_body()).await;
        return Err(refusal);
    }
    let answering = Answering { shared: shared.clone() };
    let given = request
        .headers()
        .get(ERROR_TYPE)
        .and_then(|given| given.to_str().ok())
        .map(str::to_owned);
    Ok(match read(shared, request.into_body()).await {
        Read::Whole(body) => {
            let failure = document(error_type(given.as_deref(), "Function.Unknown"), &body);
            answering.finish(Answer::Failed(failure)).await;
            reply::accepted()
        }
        Read::TooLarge => {
            answering.finish(Answer::Oversized).await;
            reply::too_large()
        }
        Read::Truncated => reply::truncated(),
    })
}

/// Takes the failure to initialise.
async fn init_error(shared: &Arc<Shared>, request: Request<Incoming>) -> Result<Reply, Refusal> {
    let begun = shared.turn.lock().state.fail();
    if let Err(refusal) = begun {
        forget(shared, request.into_body()).await;
        return Err(refusal);
    }
    let given = request
        .headers()
        .get(ERROR_TYPE)
        .and_then(|given| given.to_str().ok())
        .map(str::to_owned);
    let kind = error_type(given.as_deref(), "Runtime.Unknown");
    let (body, reply) = match read(shared, request.into_body()).await {
        Read::Whole(body) => (body, reply::accepted()),
        Read::TooLarge => (Bytes::new(), reply::too_large()),
        Read::Truncated => (Bytes::new(), reply::truncated()),
    };
    shared.tell(Message::InitError(document(kind, &body))).await;
    Ok(reply)
}

impl Shared {
    /// Hands the event over, if there is one and the runtime waits for it.
    fn fetch(&self) -> Option<Reply> {
        let mut turn = self.turn.lock();
        let event = turn.event.take()?;
        if !turn.state.deliver(event.id) {
            turn.event = Some(event);
            return None;
        }
        let mut reply = Response::new(Full::new(event.payload));
        for (name, value) in event.headers {
            reply.headers_mut().insert(name, value);
        }
        Some(reply)
    }

    /// Tells the invocation. When nobody listens any more, the environment is at its end.
    async fn tell(&self, message: Message) {
        if let Some(messages) = &self.messages {
            let _nobody_listens = messages.send(message).await;
        }
    }
}

/// An answer that is being read. When it breaks off, the runtime may try again.
struct Answering {
    shared: Arc<Shared>,
}

impl Answering {
    async fn finish(self, answer: Answer) {
        self.shared.turn.lock().state.finish();
        self.shared.tell(Message::Answer(answer)).await;
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.shared.turn.lock().state.abandon();
    }
}

enum Read {
    Whole(Bytes),
    TooLarge,
    Truncated,
}

/// Reads a body of at most the size of an answer; what is beyond is read and forgotten, up to a bound, so that the
/// client gets to read the reply.
async fn read(shared: &Shared, mut body: Incoming) -> Read {
    let mut whole = BytesMut::new();
    let mut is_too_large = body.size_hint().lower() > SYNC_RESPONSE_BYTES as u64;
    let mut forgotten = 0;
    loop {
        match body.frame().await {
            Some(Ok(frame)) => {
                let Ok(bytes) = frame.into_data() else { continue };
                shared.paced(bytes.len()).await;
                is_too_large |= whole.len() + bytes.len() > SYNC_RESPONSE_BYTES;
                if is_too_large {
                    whole = BytesMut::new();
                    forgotten += bytes.len();
                    if forgotten > FORGOTTEN_BYTES {
                        return Read::TooLarge;
                    }
                } else {
                    whole.extend_from_slice(&bytes);
                }
            }
            Some(Err(_)) => return Read::Truncated,
            None if is_too_large => return Read::TooLarge,
            None => return Read::Whole(whole.freeze()),
        }
    }
}

/// Reads a body that is of no interest, so that the connection can be used again.
async fn forget(shared: &Shared, mut body: Incoming) {
    let mut forgotten = 0;
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        shared.paced(bytes).await;
        forgotten += bytes;
        if forgotten > FORGOTTEN_BYTES {
            return;
        }
    }
}

fn content_type(headers: &HeaderMap, otherwise: &str) -> String {
    let given = headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|given| given.to_str().ok());
    given
        .filter(|given| given.len() <= NAME_BYTES)
        .unwrap_or(otherwise)
        .to_owned()
}

/// The runtime's error document, or one around what it sent instead of JSON.
fn document(error_type: &str, body: &Bytes) -> Document {
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    let json = if is_json {
        body.clone()
    } else {
        let message = String::from_utf8_lossy(body);
        Bytes::from(json!({ "errorType": error_type, "errorMessage": message }).to_string())
    };
    Document {
        error_type: error_type.to_owned(),
        json,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    /// Any bytes that a header may have.
    fn value() -> impl Strategy<Value = HeaderValue> {
        let byte = (0x20..=0xff_u8).prop_filter("none of a header's", |byte| *byte != 0x7f);
        proptest::collection::vec(byte, 0..300).prop_map(|bytes| HeaderValue::from_bytes(&bytes).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_failure_becomes_a_document(
            kind in value(),
            body in proptest::collection::vec(any::<u8>(), 0..200),
            encoded in value(),
        ) {
            let kind_of = |document: &Document| {
                let name = document.error_type.strip_prefix("Function.").or_else(|| document.error_type.strip_prefix("Runtime."));
                name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_alphabetic()))
            };
            let is_json = |document: &Document| serde_json::from_slice::<serde_json::Value>(&document.json).is_ok();
            let told = document(error_type(kind.to_str().ok(), "Function.Unknown"), &Bytes::from(body.clone()));
            prop_assert!(kind_of(&told) && is_json(&told));
            for body in [encoded, HeaderValue::from_str(&STANDARD.encode(&body)).unwrap()] {
                let trailers = HeaderMap::from_iter([
                    (ERROR_TYPE.parse().unwrap(), kind.clone()),
                    (ERROR_BODY.parse().unwrap(), body),
                ]);
                let told: Document = failure_of(&trailers).unwrap();
                prop_assert!(kind_of(&told) && is_json(&told));
            }
        }

        #[test]
        fn any_content_type_is_short_text(given in value()) {
            let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, given)]);
            prop_assert!(content_type(&headers, "a/b").len() <= NAME_BYTES);
        }
    }
}
