//! Bodies: read within bounds of size, time and memory; written whole or in parts.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::FrontOptions;
use super::connection::Running;
use crate::service::{Body, BrokenBody};

/// How much is thrown away of a body that does not say its length.
const UNDECLARED_BYTES: usize = 8 * 1024 * 1024;
/// How long a client may pause in a body that is thrown away before it gets its answer.
const DISCARD_PAUSE: Duration = Duration::from_secs(1);

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReadBodyError {
    #[error("the body is larger than the limit")]
    TooLarge,
    #[error("the body came too slowly")]
    TooSlow,
    #[error("there is no room for the body")]
    NoRoom,
    #[error("the client broke the body off")]
    Broken,
}

/// A body together with the room that was reserved for it; the room is given back with its last reference.
struct Held<T> {
    bytes: T,
    _room: OwnedSemaphorePermit,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Held<T> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// Reads a body of at most `limit` bytes; `see` is shown each part of it in turn.
pub(super) async fn read_body(
    body: &mut Incoming,
    limit: usize,
    options: &FrontOptions,
    bodies: &Arc<Semaphore>,
    mut see: impl FnMut(&[u8]),
) -> Result<Bytes, ReadBodyError> {
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if declared > limit {
        return Err(ReadBodyError::TooLarge);
    }
    let mut pace = Pace::start(options);
    let Some(first) = pace.next(body).await? else {
        return Ok(Bytes::new());
    };
    see(&first);
    if first.len() > limit {
        return Err(ReadBodyError::TooLarge);
    }
    let mut room = reserve(bodies, first.len(), options.body_grace).await?;
    // Most bodies come in one piece, which then need not be copied.
    if body.is_end_stream() {
        let held = Held {
            bytes: first,
            _room: room,
        };
        return Ok(Bytes::from_owner(held));
    }
    // Memory that is promised and not sent is never touched, so it costs nothing.
    let mut whole = BytesMut::with_capacity(declared.max(first.len() * 2).min(limit));
    whole.extend_from_slice(&first);
    drop(first);
    while let Some(part) = pace.next(body).await? {
        if part.len() > limit - whole.len() {
            return Err(ReadBodyError::TooLarge);
        }
        room.merge(reserve(bodies, part.len(), options.body_grace).await?);
        see(&part);
        whole.extend_from_slice(&part);
    }
    let held = Held {
        bytes: whole.freeze(),
        _room: room,
    };
    Ok(Bytes::from_owner(held))
}

/// Reads and forgets what is left of a body, within the same bounds of time, up to `discarded_bytes`. Whether the end
/// was reached.
pub(super) async fn discard_body(mut body: Incoming, options: &FrontOptions) -> bool {
    let mut left = options.discarded_bytes;
    let declared = body.size_hint();
    if declared.lower() > u64::try_from(left).unwrap_or(u64::MAX) {
        return false;
    }
    if declared.upper().is_none() {
        // It may have no end.
        left = left.min(UNDECLARED_BYTES);
    }
    let mut pace = Pace::start(options);
    loop {
        // Who sends nothing may be waiting for the answer.
        match timeout(DISCARD_PAUSE, pace.next(&mut body)).await {
            Ok(Ok(None)) => return true,
            Ok(Ok(Some(part))) if part.len() <= left => left -= part.len(),
            Ok(Ok(Some(_)) | Err(_)) | Err(_) => return false,
        }
    }
}

async fn reserve(bodies: &Arc<Semaphore>, bytes: usize, wait: Duration) -> Result<OwnedSemaphorePermit, ReadBodyError> {
    // A part of a body is never larger than a connection's buffer.
    let bytes = u32::try_from(bytes).map_err(|_| ReadBodyError::NoRoom)?;
    if let Ok(room) = bodies.clone().try_acquire_many_owned(bytes) {
        return Ok(room);
    }
    // Bodies that hold room and wait for more could wait for one another: the bound of time undoes that knot.
    let room = timeout_at(Instant::now() + wait, bodies.clone().acquire_many_owned(bytes)).await;
    room.ok().and_then(Result::ok).ok_or(ReadBodyError::NoRoom)
}

/// How fast a body must come: all of it before `end`, and never less than the rate after the grace.
struct Pace<'a> {
    options: &'a FrontOptions,
    start: Instant,
    received: u64,
}

impl<'a> Pace<'a> {
    fn start(options: &'a FrontOptions) -> Self {
        Self {
            options,
            start: Instant::now(),
            received: 0,
        }
    }

    fn deadline(&self) -> Instant {
        let rate = u64::from(self.options.body_bytes_per_second.max(1));
        let earned = Duration::from_millis(self.received.saturating_mul(1000) / rate);
        self.start
            + self
                .options
                .body_time
                .min(self.options.body_grace.saturating_add(earned))
    }

    /// The next part; trailers are skipped.
    async fn next(&mut self, body: &mut Incoming) -> Result<Option<Bytes>, ReadBodyError> {
        loop {
            let frame = timeout_at(self.deadline(), body.frame())
                .await
                .map_err(|_| ReadBodyError::TooSlow)?;
            match frame {
                None => return Ok(None),
                Some(Err(_)) => return Err(ReadBodyError::Broken),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.received += u64::try_from(data.len()).unwrap_or(u64::MAX);
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

/// An answer's body as hyper takes it. While it exists the connection counts as busy.
#[derive(Debug)]
pub struct ResponseBody {
    body: Body,
    _running: Option<Running>,
}

impl ResponseBody {
    pub(super) fn new(body: Body, mut running: Running) -> Self {
        running.has_answer();
        Self {
            body,
            _running: Some(running),
        }
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        match &mut self.body {
            Body::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Body::Stream(parts) => parts
                .poll_recv(context)
                .map(|part| part.map(|part| part.map(Frame::data))),
            Body::Parts(parts) => parts
                .as_mut()
                .poll_next(context)
                .map(|part| part.map(|part| part.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.body, Body::Full(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Body::Full(bytes) => SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX)),
            Body::Stream(_) | Body::Parts(_) => SizeHint::default(),
        }
    }
}
