//! What a protocol front end and a service say to each other.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use ephyra_core::id::{AccountId, RequestId};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use http::{HeaderMap, Method, StatusCode};
use tokio::sync::mpsc;

/// A verified request.
#[derive(Debug)]
pub struct Request {
    /// Names the request; goes back as `x-amzn-RequestId`.
    pub id: RequestId,
    /// The method.
    pub method: Method,
    /// The path as sent, still percent-encoded, without the query.
    pub path: String,
    /// The query, decoded, in the order sent, without the parameters of a presigned URL.
    pub query: Vec<(String, String)>,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body, no longer than [`Service::body_limit`].
    pub body: Bytes,
    /// Who signed it.
    pub caller: Caller,
    /// When the whole request had arrived.
    pub received: Instant,
}

impl Request {
    /// The first value of a query parameter.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// A header's value, when it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Who signed a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The access key.
    pub access_key: String,
    /// The account it belongs to.
    pub account: AccountId,
    /// The region in the signature's scope.
    pub region: String,
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers; `x-amzn-RequestId` and `Date` are added by the front end.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
}

/// A body, whole or in parts.
pub enum Body {
    /// All of it.
    Full(Bytes),
    /// Parts as they come; the end of the channel is the end of the body. An `Err` breaks the connection off.
    Stream(mpsc::Receiver<Result<Bytes, BrokenBody>>),
    /// The same from anything that has parts: they are asked for when there is room for them, without a task between.
    Parts(BoxStream<'static, Result<Bytes, BrokenBody>>),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(bytes) => f.debug_tuple("Full").field(&bytes.len()).finish(),
            Self::Stream(_) => f.write_str("Stream"),
            Self::Parts(_) => f.write_str("Parts"),
        }
    }
}

/// A streamed body that ended before its end; the connection is closed so that the client notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body ended early")]
pub struct BrokenBody;

/// How large a body a service takes.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimit {
    /// In bytes.
    pub bytes: usize,
    /// What a larger one is answered with.
    pub error: fn(limit: usize) -> crate::error::ApiError,
}

/// One AWS service, or one of our own.
pub trait Service: Send + Sync + 'static {
    /// The name in the signature's scope, such as `lambda`.
    fn signing_name(&self) -> &'static str;

    /// How large a body this request may have; asked before any of it is read.
    fn body_limit(&self, method: &Method, path: &str) -> BodyLimit;

    /// Answers a verified request. Dropped when the client goes away.
    fn call(&self, request: Request) -> BoxFuture<'_, Response>;
}
