//! Addresses that are a customer's and not AWS's API: function URLs and HTTP APIs.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use ephyra_core::id::RequestId;
use futures_util::future::BoxFuture;
use http::request;

use crate::service::Response;

/// Answers requests for such addresses. They need no signature; who wants one checks it.
pub trait Site: Send + Sync + 'static {
    /// How large a body this request may have, in bytes, when it is for this site by its host and path; None when it is not. Asked
    /// before any of the body is read, of every request: it has to be quick.
    fn body_limit(&self, head: &request::Parts) -> Option<usize>;

    /// Answers a request. Dropped when the client goes away.
    fn call(&self, request: SiteRequest) -> BoxFuture<'_, Response>;

    /// The answer to a request that does not get as far as [`Site::call`].
    fn refuse(&self, head: &request::Parts, id: RequestId, why: Refused) -> Response;
}

/// A request for a site, whole.
#[derive(Debug)]
pub struct SiteRequest {
    /// Names the request. The site says it to the client, in a header of its protocol.
    pub id: RequestId,
    /// Method, address and headers as they were sent: nothing in them is to be believed. `X-Forwarded-*` and `Forwarded`
    /// are gone.
    pub head: request::Parts,
    /// The whole body, no longer than [`Site::body_limit`].
    pub body: Bytes,
    /// Who sent it: the client, where a trusted proxy is in between.
    pub peer: Peer,
    /// When the whole request had arrived.
    pub received: Instant,
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Whether it speaks TLS.
    pub is_tls: bool,
}

/// Why a request is not answered by a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The body is larger than the limit.
    TooLarge,
    /// The body came too slowly, or was broken off.
    TooSlow,
    /// There are too many large requests at once.
    NoRoom,
    /// The platform is going down.
    Draining,
}
