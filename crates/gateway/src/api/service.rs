//! The control plane: which operation a request is for, and what operations share.

use std::sync::Arc;

use ephyra_core::arn::Place;
use ephyra_core::url::Origin;
use ephyra_store::clock::Clock;
use ephyra_wire::error::ApiError;
use ephyra_wire::rest::{Labels, Router};
use ephyra_wire::service::{BodyLimit, Request, Response, Service};
use futures_util::future::BoxFuture;
use http::Method;

use super::error;
use super::model::Time;
use super::operation::{self, Operation};
use super::store::{ApiStore, Turn};

/// The largest OpenAPI document, in bytes; a request has a little more around it.
pub(crate) const IMPORT_BYTES: usize = 6 * 1024 * 1024;
/// The largest body of every other operation, in bytes.
const BODY_BYTES: usize = 1024 * 1024;

/// OpenAPI documents that are read or written at once.
const DOCUMENTS: usize = 2;

/// What an operator decides.
#[derive(Clone, Debug)]
pub struct ApiOptions {
    /// The region and account of the APIs.
    pub place: Place,
    /// Where clients reach the platform.
    pub origin: Origin,
}

impl ApiOptions {
    /// Where an API is reached, without a slash at its end.
    pub fn endpoint(&self, api_id: &str) -> String {
        let name = format!("{api_id}.execute-api.{}", self.place.region);
        let mut address = self.origin.address(&name, &format!("_api/{api_id}"));
        address.truncate(address.trim_end_matches('/').len());
        address
    }
}

/// API Gateway's API, as far as HTTP APIs go.
pub struct ApiService {
    inner: Arc<Inner>,
}

/// What all requests share.
pub(crate) struct Inner {
    pub(crate) options: ApiOptions,
    pub(crate) store: Arc<ApiStore>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Fn() -> u64 + Send + Sync>,
    router: Router<Operation>,
    /// Who holds one of these reads or writes an OpenAPI document: a large one takes some hundred MB.
    pub(crate) documents: tokio::sync::Semaphore,
}

/// A request at its operation.
pub(crate) struct Call {
    pub(crate) inner: Arc<Inner>,
    pub(crate) request: Request,
    pub(crate) labels: Labels,
}

impl std::fmt::Debug for ApiService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiService").finish_non_exhaustive()
    }
}

impl ApiService {
    /// The service; `random` gives a number that nobody can guess.
    pub fn new(
        options: ApiOptions,
        store: Arc<ApiStore>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Fn() -> u64 + Send + Sync>,
    ) -> Self {
        let inner = Arc::new(Inner {
            options,
            store,
            clock,
            random,
            router: Router::new(operation::rows()),
            documents: tokio::sync::Semaphore::new(DOCUMENTS),
        });
        Self { inner }
    }

    async fn answer(&self, request: Request) -> Result<Response, ApiError> {
        if !request.path.starts_with("/v2/") {
            return Err(error::not_available("REST APIs (API Gateway v1)"));
        }
        let found = self.inner.router.find(&request.method, &request.path)?;
        let call = Call {
            inner: Arc::clone(&self.inner),
            request,
            labels: found.labels,
        };
        // A change runs to its end, whether or not the client waits for it.
        let running = tokio::spawn(Box::pin(operation::dispatch(found.operation, call)));
        running.await.unwrap_or_else(|failure| {
            tracing::error!(operation = ?found.operation, %failure, "an operation broke off");
            Err(error::internal("The operation broke off. Please try again."))
        })
    }
}

impl Service for ApiService {
    fn signing_name(&self) -> &'static str {
        "apigateway"
    }

    fn body_limit(&self, method: &Method, path: &str) -> BodyLimit {
        let operation = self.inner.router.find(method, path).map(|found| found.operation);
        let bytes = match operation {
            // The document is a JSON string: every character may take two bytes.
            Ok(Operation::ImportApi | Operation::ReimportApi) => 2 * IMPORT_BYTES,
            _ => BODY_BYTES,
        };
        BodyLimit {
            bytes,
            error: error::too_large,
        }
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Response> {
        Box::pin(async move { self.answer(request).await.unwrap_or_else(ApiError::into_response) })
    }
}

impl Inner {
    pub(crate) fn now(&self) -> Time {
        Time(self.clock.now_ms().div_euclid(1000))
    }

    /// A new identifier of `length` (at most 12) of `[a-z0-9]` that is not `taken`.
    pub(crate) fn new_id(&self, length: usize, taken: impl Fn(&str) -> bool) -> String {
        loop {
            let id = spell((self.random)(), length);
            if !taken(&id) {
                return id;
            }
        }
    }

    /// The turn of the API that the path names.
    pub(crate) async fn turn(&self, api_id: &str) -> Result<Turn<'_>, ApiError> {
        let found = if is_id(api_id) {
            self.store.turn(api_id).await.map_err(error::store)?
        } else {
            None
        };
        found.ok_or_else(|| error::api_not_found(&self.options.place.account, api_id))
    }
}

/// Whether a text may be an identifier, so that it may be part of a key.
pub(crate) fn is_id(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// The last digits of a number in base 36.
fn spell(mut number: u64, length: usize) -> String {
    const DIGITS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut id = String::with_capacity(length);
    for _ in 0..length {
        let digit = usize::try_from(number % 36).unwrap_or_default();
        id.push(char::from(DIGITS[digit]));
        number /= 36;
    }
    id
}

impl Call {
    /// The turn of the API that the path names.
    pub(crate) async fn turn(&self) -> Result<Turn<'_>, ApiError> {
        self.inner.turn(self.labels.get("apiId")).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_of_their_length_and_alphabet() {
        for number in [0, 1, 35, 36, u64::MAX] {
            let id = spell(number, 10);
            assert_eq!(id.len(), 10);
            assert!(is_id(&id));
        }
        assert_ne!(spell(1, 10), spell(2, 10));
        assert!(!is_id("a/b") && !is_id("") && !is_id("A"));
    }

    #[test]
    fn endpoints_have_no_slash_at_their_end() {
        let options = |origin: &str| ApiOptions {
            place: Place {
                region: "eu-central-1".parse().unwrap(),
                account: "111111111111".parse().unwrap(),
            },
            origin: origin.parse().unwrap(),
        };
        assert_eq!(
            options("http://localhost:4566").endpoint("abc"),
            "http://abc.execute-api.eu-central-1.localhost:4566"
        );
        assert_eq!(options("http://10.0.0.1").endpoint("abc"), "http://10.0.0.1/_api/abc");
    }
}
