//! One request, from its headers to its answer.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use ephyra_core::id::RequestId;
use futures_util::FutureExt;
use http::request;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use hyper::body::{Body as _, Incoming};
use serde_json::json;
use tokio::sync::Semaphore;

use super::body::{ReadBodyError, ResponseBody, discard_body, read_body};
use super::compress::{Compressor, Wanted};
use super::connection::Running;
use super::site::{Peer, Refused, Site, SiteRequest};
use super::{FrontOptions, PLAIN_PREFIX, Plain, Services, Tls, forwarded};
use crate::error::ApiError;
use crate::rest::json_response;
use crate::service::{Caller, Request, Response, Service};
use crate::sigv4::{BodyHasher, Claim, Parts, Scope, SigningTime, Verifier, decode_query, is_presigned_parameter};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// What all connections share.
pub(super) struct House {
    pub(super) options: FrontOptions,
    pub(super) region: String,
    pub(super) verifier: Verifier,
    pub(super) services: Services,
    pub(super) plain: Arc<dyn Plain>,
    pub(super) site: Option<Arc<dyn Site>>,
    pub(super) tls: Option<Tls>,
    pub(super) compressor: Compressor,
    pub(super) clock: fn() -> SystemTime,
    pub(super) bodies: Arc<Semaphore>,
    pub(super) is_refusing: AtomicBool,
}

impl fmt::Debug for House {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("House")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// An answer that is no service's.
struct Refusal {
    error: ApiError,
    /// What is still to come from the client.
    rest: Option<Incoming>,
}

impl House {
    /// Answers a request. Dropped when the client goes away.
    pub(super) async fn answer(
        &self,
        request: http::Request<Incoming>,
        peer: Peer,
        running: Running,
    ) -> http::Response<ResponseBody> {
        let id = RequestId::new();
        let is_waiting = request.headers().contains_key(http::header::EXPECT);
        let (mut head, incoming) = request.into_parts();
        let limit = self
            .site
            .as_ref()
            .and_then(|site| Some((site, site.body_limit(&head)?)));
        let answer = if let Some((site, limit)) = limit {
            let wanted = Wanted::read(&head.method, &head.headers);
            let peer = forwarded::settle(&mut head, peer, &self.options.trusted_proxies);
            match self.answer_site(&**site, limit, id, head, incoming, peer).await {
                Ok(response) => Ok(self.compressor.compress(wanted, response).await),
                refused => refused,
            }
        } else {
            let answer = match self.answer_plain(&head).await {
                Some(response) => Ok(response),
                None => self.answer_signed(id, head, incoming).await,
            };
            let mut answer = answer.map_err(|Refusal { error, rest }| (error.into_response(), rest));
            let (Ok(response) | Err((response, _))) = &mut answer;
            if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(id.to_string())) {
                response.headers.insert(REQUEST_ID, value);
            }
            answer
        };
        let (response, is_last) = match answer {
            Ok(response) | Err((response, None)) => (response, false),
            Err((response, Some(rest))) => {
                // A client that still sends when the connection is closed may never get to read its answer. One
                // that waits to be told to go on has not begun to send.
                let is_whole = rest.is_end_stream() || (!is_waiting && discard_body(rest, &self.options).await);
                (response, !is_whole)
            }
        };
        let mut answer = http::Response::new(ResponseBody::new(response.body, running));
        *answer.status_mut() = response.status;
        *answer.headers_mut() = response.headers;
        if is_last {
            answer
                .headers_mut()
                .insert(http::header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    /// What may be asked without a signature; everything else below [`PLAIN_PREFIX`] is a service's, as elsewhere.
    async fn answer_plain(&self, head: &request::Parts) -> Option<Response> {
        let path = head.uri.path();
        let is_get = matches!(head.method, Method::GET | Method::HEAD);
        if is_get && path.starts_with(PLAIN_PREFIX) {
            self.plain.get(path).await
        } else {
            None
        }
    }

    /// An error is the answer together with what is still to come from the client.
    async fn answer_site(
        &self,
        site: &dyn Site,
        limit: usize,
        id: RequestId,
        head: request::Parts,
        mut incoming: Incoming,
        peer: Peer,
    ) -> Result<Response, (Response, Option<Incoming>)> {
        if self.is_refusing.load(Relaxed) {
            return Err((site.refuse(&head, id, Refused::Draining), Some(incoming)));
        }
        let read = read_body(&mut incoming, limit, &self.options, &self.bodies, |_| ()).await;
        let body = match read {
            Ok(body) => body,
            Err(ReadBodyError::TooLarge) => return Err((site.refuse(&head, id, Refused::TooLarge), Some(incoming))),
            Err(ReadBodyError::NoRoom) => return Err((site.refuse(&head, id, Refused::NoRoom), Some(incoming))),
            Err(ReadBodyError::TooSlow | ReadBodyError::Broken) => {
                return Err((site.refuse(&head, id, Refused::TooSlow), None));
            }
        };
        let request = SiteRequest {
            id,
            head,
            body,
            peer,
            received: Instant::now(),
        };
        match AssertUnwindSafe(async { site.call(request).await })
            .catch_unwind()
            .await
        {
            Ok(response) => Ok(response),
            Err(_) => {
                tracing::error!(%id, "a site panicked");
                let message = json!({ "message": "Internal Server Error" });
                Ok(json_response(StatusCode::INTERNAL_SERVER_ERROR, &message))
            }
        }
    }

    async fn answer_signed(
        &self,
        id: RequestId,
        head: request::Parts,
        incoming: Incoming,
    ) -> Result<Response, Refusal> {
        if self.is_refusing.load(Relaxed) {
            return Err(Refusal {
                error: draining(),
                rest: Some(incoming),
            });
        }
        let (service, caller, body) = self.receive(&head, incoming).await?;
        let request = Request {
            id,
            query: query(head.uri.query().unwrap_or_default()),
            path: head.uri.path().to_owned(),
            method: head.method,
            headers: head.headers,
            body,
            caller,
            received: Instant::now(),
        };
        // A service that panics has a fault; its other clients, on this connection too, need not pay for it.
        match AssertUnwindSafe(async { service.call(request).await })
            .catch_unwind()
            .await
        {
            Ok(response) => Ok(response),
            Err(_) => {
                tracing::error!(%id, service = service.signing_name(), "a service panicked");
                let message = "The service encountered an internal error.";
                let error = ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "ServiceException", message);
                Err(Refusal { error, rest: None })
            }
        }
    }

    /// Finds the service, reads the body and proves the signature.
    async fn receive(
        &self,
        head: &request::Parts,
        mut incoming: Incoming,
    ) -> Result<(&Arc<dyn Service>, Caller, Bytes), Refusal> {
        let parts = Parts::of(head);
        let admitted = Claim::read(&parts).map_err(ApiError::from).and_then(|claim| {
            let service = self.services.find(claim.service(), &parts)?;
            let scope = Scope {
                region: &self.region,
                service: service.signing_name(),
            };
            let now = SigningTime::from_clock((self.clock)());
            let credential = self.verifier.admit(&claim, scope, now)?;
            Ok((claim, service, credential))
        });
        let (claim, service, credential) = match admitted {
            Ok(admitted) => admitted,
            Err(error) => {
                return Err(Refusal {
                    error,
                    rest: Some(incoming),
                });
            }
        };
        let limit = service.body_limit(&head.method, head.uri.path());
        if incoming.size_hint().lower() > u64::try_from(limit.bytes).unwrap_or(u64::MAX) {
            let error = (limit.error)(limit.bytes);
            return Err(Refusal {
                error,
                rest: Some(incoming),
            });
        }
        let mut hasher = BodyHasher::default();
        let see = |part: &[u8]| hasher.update(part);
        let read = read_body(&mut incoming, limit.bytes, &self.options, &self.bodies, see).await;
        let body = read.map_err(|error| match error {
            ReadBodyError::TooLarge => Refusal {
                error: (limit.error)(limit.bytes),
                rest: Some(incoming),
            },
            ReadBodyError::NoRoom => Refusal {
                error: unavailable("Too many large requests at once. Try again."),
                rest: Some(incoming),
            },
            ReadBodyError::TooSlow | ReadBodyError::Broken => Refusal {
                error: ApiError::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "RequestTimeoutException",
                    format!("Your request was not read: {error}."),
                ),
                rest: None,
            },
        })?;
        let caller = self.verifier.verify(&parts, &claim, &credential, &hasher.finish());
        let caller = caller.map_err(|error| Refusal {
            error: error.into(),
            rest: None,
        })?;
        Ok((service, caller, body))
    }
}

fn draining() -> ApiError {
    unavailable("The server is shutting down. Try again.")
}

fn unavailable(message: &str) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
}

/// The query's parameters, decoded, without those of a presigned URL.
fn query(text: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| String::from_utf8_lossy(&decode_query(text)).into_owned();
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .filter(|(name, _)| !is_presigned_parameter(name))
        .collect()
}
