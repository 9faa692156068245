//! Function URLs: a request becomes an event of payload format 2.0, and the function's answer the response.
//!
//! Read [`Urls::call`]; `answer` holds AWS's words for what goes wrong, `stream` the answers that are sent as they are written.
//!
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html>.

mod answer;
mod stream;
mod tell;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use ephyra_core::compute::{ResolveError, Resolved};
use ephyra_core::id::RequestId;
use ephyra_core::invocation::{Invocation, StreamPart};
use ephyra_core::limits;
use ephyra_core::trace;
use ephyra_core::url::{FunctionUrl, InvokeMode, UrlAuth};
use ephyra_wire::front::{Refused, SiteRequest};
use ephyra_wire::service::{Body, Caller, Response};
use ephyra_wire::sigv4::{Scope, SigningTime, Verifier, VerifyError};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::sync::mpsc;

use self::tell::Teller;
use crate::answer::Malformed;
use crate::cors;
use crate::door::{self, UrlAddress};
use crate::event::{Authorizer, Iam, v2};
use crate::gateway::Dependencies;
use crate::request::HttpRequest;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
/// The service that requests to function URLs are signed for.
const SIGNING_NAME: &str = "lambda";
/// How an event says that nobody signed.
const ANONYMOUS: &str = "anonymous";
/// How an event calls the only route and the only stage of a function URL.
const DEFAULT: &str = "$default";

/// Answers requests for function URLs.
pub(crate) struct Urls {
    dependencies: Dependencies,
    verifier: Verifier,
    teller: Teller,
}

/// What a request is called, in the event and in the answer.
struct Names {
    id: String,
    trace: String,
}

impl Names {
    fn of(request: &SiteRequest, now_ms: i64) -> Self {
        let given = request.head.headers.get(TRACE_ID).and_then(|value| value.to_str().ok());
        Self {
            id: request.id.to_string(),
            trace: match given.filter(|text| trace::is_trace(text)) {
                Some(given) => given.to_owned(),
                None => trace::new_trace(now_ms),
            },
        }
    }
}

/// Why a request is not answered by the function.
#[derive(Debug)]
enum Failure {
    /// There is no such URL, or what it leads to is gone.
    Unknown,
    /// Nobody who did not sign may call it, or nobody at all.
    Forbidden,
    /// The signature is not good.
    Signature(VerifyError),
    /// The event would be too large.
    TooLarge,
    /// The function is not ready yet.
    NotReady,
    /// What it means could not be read.
    Store(Box<dyn std::error::Error + Send + Sync>),
    /// It was not run.
    NotRun(ephyra_core::invocation::InvokeError),
    /// It failed.
    Function,
    /// Its answer means nothing.
    Malformed(Malformed),
}

impl Urls {
    pub(crate) fn new(dependencies: Dependencies, verifier: Verifier) -> Self {
        Self {
            dependencies,
            verifier,
            teller: Teller::default(),
        }
    }

    /// Answers a request.
    pub(crate) async fn call(&self, request: &SiteRequest, address: &UrlAddress<'_>) -> Response {
        let now_ms = self.dependencies.clock.now_ms();
        let names = Names::of(request, now_ms);
        let headers = &request.head.headers;
        let (response, cors) = match self.dependencies.urls.find(&address.id).await {
            Ok(Some(url)) => {
                let response = match &url.cors {
                    Some(allowed) if cors::is_preflight(&request.head.method, headers) => Ok(Response {
                        status: StatusCode::OK,
                        headers: cors::preflight(allowed, headers),
                        body: Body::Full(Bytes::new()),
                    }),
                    allowed => {
                        let answered = self.answer(request, address, &url, &names, now_ms).await;
                        answered.map(|mut response| {
                            if let Some(allowed) = allowed {
                                cors::apply(allowed, headers, &mut response.headers);
                            }
                            response
                        })
                    }
                };
                (response, url.cors.is_some().then_some(url))
            }
            Ok(None) => (Err(Failure::Unknown), None),
            Err(error) => (Err(Failure::of(error)), None),
        };
        // A page is to see why it was refused, too.
        let mut response = response.unwrap_or_else(|failure| {
            self.teller.tell(&failure, &address.id, &names.id, now_ms);
            let mut response = failure.into_response();
            if let Some(allowed) = cors.as_ref().and_then(|url| url.cors.as_ref()) {
                cors::apply(allowed, headers, &mut response.headers);
            }
            response
        });
        set(&mut response.headers, REQUEST_ID, names.id);
        set(&mut response.headers, TRACE_ID, names.trace);
        if request.head.method == Method::HEAD {
            answer::behead(&mut response);
        }
        response
    }

    async fn answer(
        &self,
        request: &SiteRequest,
        address: &UrlAddress<'_>,
        url: &FunctionUrl,
        names: &Names,
        now_ms: i64,
    ) -> Result<Response, Failure> {
        let caller = match url.auth {
            UrlAuth::AwsIam => Some(self.verify(request, now_ms)?),
            UrlAuth::None if url.is_open => None,
            UrlAuth::None => return Err(Failure::Forbidden),
        };
        let resolved = self
            .dependencies
            .resolve
            .resolve(&url.function, url.qualifier.as_ref())
            .await;
        let resolved = resolved.map_err(Failure::of)?;
        let payload = event(request, address, url, names, caller.as_ref(), now_ms);
        if payload.len() > limits::SYNC_REQUEST_BYTES {
            return Err(Failure::TooLarge);
        }
        match url.invoke_mode {
            InvokeMode::Buffered => {
                let invocation = invocation(request, resolved, payload, names, None);
                let outcome = self.dependencies.invoke.invoke(invocation).await;
                answer::buffered(outcome.map_err(Failure::NotRun)?)
            }
            InvokeMode::ResponseStream => {
                let (parts, received) = mpsc::channel(stream::PARTS);
                let invocation = invocation(request, resolved, payload, names, Some(parts));
                stream::answer(Arc::clone(&self.dependencies.invoke), invocation, received).await
            }
        }
    }

    /// Proves who signed, over what the client sent: host and path are those that it used.
    fn verify(&self, request: &SiteRequest, now_ms: i64) -> Result<Caller, Failure> {
        let scope = Scope {
            region: self.dependencies.place.region.as_str(),
            service: SIGNING_NAME,
        };
        let now = SigningTime::from_unix_ms(now_ms);
        let proven = self.verifier.prove(&request.head, &request.body, scope, now);
        proven.map_err(|error| match error {
            // Who does not sign at all is simply not allowed.
            VerifyError::MissingToken => Failure::Forbidden,
            error => Failure::Signature(error),
        })
    }

    /// The answer where there is no URL.
    pub(crate) fn unknown(&self, id: RequestId) -> Response {
        let mut response = Failure::Unknown.into_response();
        set(&mut response.headers, REQUEST_ID, id.to_string());
        response
    }

    /// The answer to a request that was not read.
    pub(crate) fn refuse(&self, id: RequestId, why: Refused) -> Response {
        let mut response = answer::refused(why);
        set(&mut response.headers, REQUEST_ID, id.to_string());
        response
    }
}

impl Failure {
    fn of(error: ResolveError) -> Self {
        match error {
            ResolveError::NotFound(_) => Self::Unknown,
            ResolveError::NotReady { .. } => Self::NotReady,
            ResolveError::Store(cause) => Self::Store(cause),
        }
    }
}

/// The event of a request.
fn event(
    request: &SiteRequest,
    address: &UrlAddress<'_>,
    url: &FunctionUrl,
    names: &Names,
    caller: Option<&Caller>,
    now_ms: i64,
) -> Bytes {
    let head = &request.head;
    let http = HttpRequest {
        method: &head.method,
        path: address.path,
        query: head.uri.query().unwrap_or_default(),
        version: head.version,
        headers: &head.headers,
        authority: door::authority(head),
        body: &request.body,
        peer: request.peer,
    };
    let arn = caller.map(|caller| format!("arn:aws:iam::{}:root", caller.account));
    let iam = caller.map(|caller| Iam {
        access_key: &caller.access_key,
        account_id: caller.account.as_str(),
        user_arn: arn.as_deref().unwrap_or_default(),
        user_id: caller.account.as_str(),
    });
    let context = v2::Context {
        account_id: caller.map_or(ANONYMOUS, |caller| caller.account.as_str()),
        api_id: &url.id,
        domain_name: http.host(),
        domain_prefix: &url.id,
        route_key: DEFAULT,
        stage: DEFAULT,
        request_id: &names.id,
        trace_id: &names.trace,
        time_ms: now_ms,
        authorizer: iam.map(Authorizer::Iam),
        path_parameters: &[],
        stage_variables: None,
        keeps_cookie_header: true,
    };
    v2::event(&http, &context)
}

fn invocation(
    request: &SiteRequest,
    resolved: Resolved,
    payload: Bytes,
    names: &Names,
    stream: Option<mpsc::Sender<StreamPart>>,
) -> Invocation {
    Invocation {
        request_id: request.id,
        revision: resolved.revision,
        invoked_arn: resolved.invoked_arn,
        payload,
        client_context: None,
        trace_id: Some(names.trace.clone()),
        wants_log_tail: false,
        stream,
        received: request.received,
    }
}

/// Sets a header to a text of our own making.
fn set(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(value)) {
        headers.insert(name, value);
    }
}
