//! All doors together: what the front asks for requests that are not AWS's.

use std::fmt;
use std::sync::Arc;

use ephyra_core::arn::Place;
use ephyra_core::compute::{Invoke, Resolve};
use ephyra_core::id::RequestId;
use ephyra_core::limits;
use ephyra_core::url::FunctionUrls;
use ephyra_store::clock::Clock;
use ephyra_wire::front::{Refused, Site, SiteRequest};
use ephyra_wire::service::Response;
use ephyra_wire::sigv4::{Credentials, Verifier};
use futures_util::future::BoxFuture;
use http::request;

use crate::door::{self, ApiAddress, Door, UrlAddress};
use crate::url::Urls;

/// What function URLs need of other rooms.
#[derive(Clone)]
pub struct Dependencies {
    /// Where the platform is.
    pub place: Place,
    /// Who knows the URLs.
    pub urls: Arc<dyn FunctionUrls>,
    /// Who knows what their functions mean.
    pub resolve: Arc<dyn Resolve>,
    /// Who runs them.
    pub invoke: Arc<dyn Invoke>,
    /// Who knows the secrets of those who sign.
    pub credentials: Arc<dyn Credentials>,
    /// What the time is.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for Dependencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dependencies")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// Who answers for HTTP APIs.
pub trait Apis: Send + Sync + 'static {
    /// Whether a host, in lower case and without a port, is the domain name of an API. Asked of nearly every request: from memory.
    fn is_domain(&self, host: &str) -> bool;

    /// How large a body may be, in bytes.
    fn body_limit(&self) -> usize;

    /// Answers a request. Dropped when the client goes away.
    fn call<'a>(&'a self, request: &'a SiteRequest, address: ApiAddress<'a>) -> BoxFuture<'a, Response>;

    /// The answer to a request that does not get as far.
    fn refuse(&self, head: &request::Parts, id: RequestId, why: Refused) -> Response;
}

/// The front door.
pub struct Gateway {
    place: Place,
    urls: Urls,
    apis: Option<Arc<dyn Apis>>,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// Who answers at an address.
enum Found<'a, 'g> {
    Url(UrlAddress<'a>),
    Api(&'g dyn Apis, ApiAddress<'a>),
}

impl Gateway {
    /// A gateway for function URLs, and for HTTP APIs where there is somebody to answer for them.
    pub fn new(dependencies: Dependencies, apis: Option<Arc<dyn Apis>>) -> Self {
        let verifier = Verifier::new(Arc::clone(&dependencies.credentials));
        Self {
            place: dependencies.place.clone(),
            urls: Urls::new(dependencies, verifier),
            apis,
        }
    }

    fn find<'a>(&self, head: &'a request::Parts) -> Option<Found<'a, '_>> {
        let is_domain = |host: &str| self.apis.as_ref().is_some_and(|apis| apis.is_domain(host));
        match door::find(head, self.place.region.as_str(), is_domain)? {
            Door::Url(address) => Some(Found::Url(address)),
            Door::Api(address) => Some(Found::Api(self.apis.as_deref()?, address)),
        }
    }
}

impl Site for Gateway {
    fn body_limit(&self, head: &request::Parts) -> Option<usize> {
        Some(match self.find(head)? {
            Found::Url(_) => limits::SYNC_REQUEST_BYTES,
            Found::Api(apis, _) => apis.body_limit(),
        })
    }

    fn call(&self, request: SiteRequest) -> BoxFuture<'_, Response> {
        Box::pin(async move {
            match self.find(&request.head) {
                Some(Found::Url(address)) => self.urls.call(&request, &address).await,
                Some(Found::Api(apis, address)) => apis.call(&request, address).await,
                // Its domain name was taken from it meanwhile.
                None => self.urls.unknown(request.id),
            }
        })
    }

    fn refuse(&self, head: &request::Parts, id: RequestId, why: Refused) -> Response {
        match self.find(head) {
            Some(Found::Api(apis, _)) => apis.refuse(head, id, why),
            Some(Found::Url(_)) | None => self.urls.refuse(id, why),
        }
    }
}
