//! The back end's part of a request's way.

use std::time::Instant;

use bytes::Bytes;
use ephyra_core::id::RequestId;
use ephyra_core::invocation::InvokeError;
use ephyra_core::limits::SYNC_REQUEST_BYTES;
use http::HeaderValue;

use super::event::{self, Surroundings};
use super::expression::Sources;
use super::fetch::{Client, FetchError};
use super::guard::Entry;
use super::integrate::function::{Call, CallError, Function, Functions};
use super::integrate::mapping::Outgoing;
use super::integrate::proxy::{self, Onward, Target};
use super::reply::Failure;
use super::route::path::Path;
use super::stage::{BackEnd, End, Kind};
use crate::answer::{Answer, v1, v2};
use crate::api::model::PayloadFormat;
use crate::request::HttpRequest;

/// The type of an answer that names none.
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Why a back end's answer cannot be had: what the client is told, and what the operator is.
#[derive(Debug)]
pub struct NoAnswer {
    /// For the client.
    pub failure: Failure,
    /// For the operator.
    pub reason: String,
    /// The status of the back end, when it had one.
    pub status: Option<u16>,
}

/// A request that was let in, and all that goes on with it.
pub struct Errand<'a> {
    /// Runs functions.
    pub functions: &'a Functions,
    /// Names the request.
    pub id: RequestId,
    /// When it had arrived.
    pub received: Instant,
    /// The route.
    pub end: &'a End,
    /// Who was let in.
    pub entry: &'a Entry<'a>,
    /// The path without the stage.
    pub path: &'a Path<'a>,
    /// The same as sent.
    pub raw_path: &'a str,
    /// What the greedy variable stands for, as sent.
    pub rest: Option<&'a str>,
    /// What events say of it.
    pub surroundings: Surroundings<'a>,
}

impl Errand<'_> {
    /// Takes a request to its back end, and brings back the answer with the back end's own status.
    pub async fn run(&self, back: &BackEnd, sources: &Sources<'_>) -> Result<(Answer, u16), NoAnswer> {
        let mut request = sources.record.request;
        let kept;
        if matches!(back.kind, Kind::Server(_)) {
            kept = proxy::end_to_end(request.headers);
            request.headers = &kept;
        }
        let outgoing = if back.requests.is_empty() {
            None
        } else {
            let unfit = |unfit: super::integrate::mapping::Unfit| bad_request(unfit.to_string());
            Some(back.requests.request(&request, sources).map_err(unfit)?)
        };
        let mut answer = match &back.kind {
            Kind::Function(function, format) => self.call(function, *format, back, &request, outgoing.as_ref()).await?,
            Kind::Server(server) => self.send(server, back, &request, outgoing).await?,
        };
        let status = answer.status.as_u16();
        if let Some(mapping) = back.answers.get(&status) {
            let Answer {
                status: mapped,
                headers,
                body,
            } = &mut answer;
            // Values are those of the answer as it came.
            let came = headers.clone();
            let sources = Sources {
                response: Some((&came, body)),
                ..*sources
            };
            let done = mapping.answer(mapped, headers, &sources);
            done.map_err(|unfit| NoAnswer {
                failure: Failure::Internal,
                reason: unfit.to_string(),
                status: Some(status),
            })?;
        }
        Ok((answer, status))
    }

    async fn call(
        &self,
        function: &Function,
        format: PayloadFormat,
        back: &BackEnd,
        request: &HttpRequest<'_>,
        outgoing: Option<&Outgoing>,
    ) -> Result<Answer, NoAnswer> {
        let mut request = *request;
        if let Some(outgoing) = outgoing {
            request.headers = &outgoing.headers;
            request.query = &outgoing.query;
            request.path = outgoing.path.as_deref().unwrap_or(request.path);
        }
        let payload = event::of(format, &request, self.end, &self.surroundings, self.entry.authorizer());
        if payload.len() > SYNC_REQUEST_BYTES {
            return Err(NoAnswer {
                failure: Failure::TooLarge,
                reason: format!("the event would be {} bytes, more than a function takes", payload.len()),
                status: None,
            });
        }
        let call = Call {
            function,
            payload,
            id: self.id,
            trace_id: self.surroundings.trace_id.to_owned(),
            received: self.received,
            time: back.time,
        };
        let answer = self.functions.call(call).await.map_err(call_failed)?;
        read(format, &answer)
    }

    async fn send(
        &self,
        (target, client): &(Target, Client),
        back: &BackEnd,
        request: &HttpRequest<'_>,
        outgoing: Option<Outgoing>,
    ) -> Result<Answer, NoAnswer> {
        // What a server behind takes for another path must not get past the routes.
        if self.path.has_dots() {
            return Err(bad_request("the path has segments that mean other folders".to_owned()));
        }
        let outgoing = outgoing.unwrap_or_else(|| Outgoing {
            headers: request.headers.clone(),
            query: request.query.to_owned(),
            path: None,
        });
        if outgoing.path.as_deref().is_some_and(|path| Path::new(path).has_dots()) {
            return Err(bad_request(
                "the mapped path has segments that mean other folders".to_owned(),
            ));
        }
        let onward = Onward {
            outgoing: &outgoing,
            parameters: self.surroundings.parameters,
            rest: self.rest,
            whole_path: self.end.is_default().then_some(self.raw_path),
            is_signed: self.entry.is_signed(),
            trace_id: self.surroundings.trace_id,
        };
        let sent = target
            .request(request, &onward)
            .map_err(|error| bad_request(error.to_string()))?;
        proxy::send(client, sent, back.time).await.map_err(fetch_failed)
    }
}

fn bad_request(reason: String) -> NoAnswer {
    NoAnswer {
        failure: Failure::BadRequest,
        reason,
        status: None,
    }
}

/// What a function's answer means.
fn read(format: PayloadFormat, answer: &Bytes) -> Result<Answer, NoAnswer> {
    let read = match format {
        PayloadFormat::V1 => v1::read(answer, PLAIN),
        PayloadFormat::V2 => v2::read(answer, PLAIN),
    };
    read.map_err(|malformed| NoAnswer {
        failure: Failure::Internal,
        reason: format!("the function's answer is no response: {malformed}"),
        status: Some(200),
    })
}

fn call_failed(error: CallError) -> NoAnswer {
    let (failure, status) = match &error {
        CallError::Function(_) => (Failure::Internal, Some(200)),
        CallError::Invoke(InvokeError::Throttled(_)) => (Failure::Unavailable, Some(429)),
        CallError::TimeOut(_) | CallError::Invoke(InvokeError::Draining) => (Failure::Unavailable, None),
        CallError::Resolve(_) | CallError::Invoke(_) => (Failure::Internal, None),
    };
    NoAnswer {
        failure,
        reason: error.to_string(),
        status,
    }
}

fn fetch_failed(error: FetchError) -> NoAnswer {
    let failure = match &error {
        FetchError::TooLarge(_) => Failure::Internal,
        _ => Failure::Unavailable,
    };
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        reason = format!("{reason}: {cause}");
        source = cause.source();
    }
    NoAnswer {
        failure,
        reason,
        status: None,
    }
}
