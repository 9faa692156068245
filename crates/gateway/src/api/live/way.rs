//! The way of a request: API, stage, route, throttle, authorizer, back end, answer, access log.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ephyra_core::arn::Place;
use ephyra_core::id::RequestId;
use ephyra_core::logs::LogSink;
use ephyra_core::trace;
use ephyra_store::StoreError;
use ephyra_store::clock::Clock;
use ephyra_wire::front::{Refused, SiteRequest};
use ephyra_wire::service::Response;
use ephyra_wire::sigv4::Verifier;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode, request};

use super::authorize::iam::Iam;
use super::back::Errand;
use super::event::Surroundings;
use super::expression::Sources;
use super::fetch::Client;
use super::find::Finder;
use super::guard::{Entry, Gate};
use super::integrate::function::Functions;
use super::log::sink::AccessLog;
use super::moment::Moment;
use super::record::{Identity, Record};
use super::reply::{self, Failure};
use super::route::path::Path;
use super::stage::{End, Stage};
use crate::answer::Answer;
use crate::api::store::ApiStore;
use crate::cors;
use crate::door::{self, ApiAddress, ApiName};
use crate::gateway;
use crate::request::{HttpRequest, decode_path, split_authority};

/// The largest body of a request, in bytes, as on AWS.
pub const BODY_BYTES: usize = 10 << 20;

/// How many custom domain names are read at once.
const DOMAINS_A_PAGE: usize = 500;

/// Answers requests for HTTP APIs.
pub struct DataPlane {
    finder: Arc<Finder>,
    functions: Functions,
    iam: Iam,
    log: AccessLog,
    place: Place,
    clock: Arc<dyn Clock>,
}

/// What [`DataPlane`] needs of other rooms.
pub struct Dependencies {
    /// The APIs.
    pub store: Arc<ApiStore>,
    /// Runs functions.
    pub functions: Functions,
    /// Knows who may sign.
    pub verifier: Verifier,
    /// Where access is logged.
    pub logs: Arc<dyn LogSink>,
    /// Reaches other servers.
    pub client: Client,
    /// The region and account that are served.
    pub place: Place,
    /// What the time is.
    pub clock: Arc<dyn Clock>,
}

/// Where a request turned out to lead.
struct Found<'a> {
    api_id: Cow<'a, str>,
    stage: Arc<Stage>,
    base_path: Option<String>,
    /// What the function sees of the path, as sent.
    shown: &'a str,
    /// The path without what names API and stage, as sent.
    path: &'a str,
}

impl DataPlane {
    /// Answers requests for the APIs of a store from now on.
    pub async fn open(parts: Dependencies) -> Result<Self, StoreError> {
        let finder = Arc::new(Finder::new(Arc::clone(&parts.store), parts.place.clone(), parts.client));
        let told = Arc::clone(&finder);
        parts.store.on_change(Box::new(move |changed| told.forget(changed)));
        let mut after: Option<String> = None;
        loop {
            let page = parts.store.domains(after.as_deref(), DOMAINS_A_PAGE).await?;
            let Some(last) = page.last() else {
                break;
            };
            after = Some(last.domain.domain_name.clone());
            page.iter().for_each(|record| finder.learn(&record.domain.domain_name));
        }
        Ok(Self {
            finder,
            functions: parts.functions,
            iam: Iam::new(parts.verifier, parts.place.region.clone()),
            log: AccessLog::new(parts.logs),
            place: parts.place,
            clock: parts.clock,
        })
    }

    /// Answers a request. Reads nothing and waits for nothing but authorizer and back end once the API is known.
    pub async fn answer(&self, request: &SiteRequest, address: &ApiAddress<'_>) -> Response {
        let now = Moment {
            at: Instant::now(),
            unix_ms: self.clock.now_ms(),
        };
        let request_id = reply::request_id(request.id);
        let head = &request.head;
        // Hosts name an API too, and take nothing from the path.
        let is_by_path = address.path.len() < head.uri.path().len();
        let found = match self.find(address, is_by_path, now.at).await {
            Ok(Some(found)) => found,
            Ok(None) => return reply::response(Failure::NotFound.answer(&[]), &request_id),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "an API could not be read");
                return reply::response(Failure::Internal.answer(&[]), &request_id);
            }
        };
        let stage = &*found.stage;
        let authority = door::authority(head);
        let shown = decode_path(found.shown);
        let host = split_authority(authority).0;
        let own_name;
        let domain = match &address.name {
            ApiName::Id(id) if is_by_path => {
                own_name = format!("{id}.execute-api.{}.{host}", self.place.region);
                (own_name.as_str(), id.as_ref())
            }
            _ => (host, host.split('.').next().unwrap_or_default()),
        };
        let mut record = Record {
            request: HttpRequest {
                method: &head.method,
                path: &shown,
                query: head.uri.query().unwrap_or_default(),
                version: head.version,
                headers: &head.headers,
                authority,
                body: &request.body,
                peer: request.peer,
            },
            account_id: self.place.account.as_str(),
            api_id: &found.api_id,
            domain,
            base_path: found.base_path.as_deref(),
            stage: &stage.name,
            route_key: None,
            request_id: &request_id,
            time_ms: now.unix_ms,
            identity: Identity::Unknown,
            authorizer_error: None,
            error: None,
            integration_error: None,
            integration_status: None,
            integration_latency: None,
            status: None,
            response_length: 0,
            response_latency: Duration::ZERO,
        };
        let trip = Trip {
            plane: self,
            request,
            found: &found,
            now,
        };
        let mut entry = Entry::Open;
        let mut answer = trip.run(&mut record, &mut entry).await;
        if let Some(cors) = &stage.cors {
            cors::apply(cors, &head.headers, &mut answer.headers);
            if answer.status == StatusCode::NO_CONTENT && record.route_key.is_none() {
                answer.headers = cors::preflight(cors, &head.headers);
            }
        }
        if let Some(log) = &stage.log {
            record.status = Some(answer.status);
            record.response_length = answer.body.len();
            record.response_latency = request.received.elapsed();
            record.identity = entry.identity();
            self.log.write(&log.group, now.unix_ms, log.format.line(&record));
        }
        reply::response(answer, &request_id)
    }

    /// Serves an API that is not in the store.
    #[cfg(test)]
    pub(super) fn plant(&self, api_id: &str, live: &crate::api::model::LiveApi) {
        self.finder.plant(api_id, live);
    }

    /// Serves a custom domain name that is not in the store.
    #[cfg(test)]
    pub(super) fn plant_domain(&self, host: &str, live: crate::api::model::LiveDomain) {
        self.finder.plant_domain(host, live);
    }

    /// API, stage and path of a request.
    async fn find<'a>(
        &self,
        address: &'a ApiAddress<'a>,
        is_by_path: bool,
        now: Instant,
    ) -> Result<Option<Found<'a>>, StoreError> {
        let path = address.path;
        let host = match &address.name {
            ApiName::Id(id) => return self.find_stage(id, path, is_by_path, now).await,
            ApiName::Domain(host) => host,
        };
        let Some(domain) = self.finder.domain(host).await? else {
            return Ok(None);
        };
        // The longest base path comes first.
        let mut mappings = domain.mappings.iter();
        let mapped = mappings.find_map(|mapping| Some((mapping, below(path, &mapping.api_mapping_key)?)));
        let Some((mapping, rest)) = mapped else {
            return Ok(None);
        };
        let api = self.finder.api(&mapping.api_id, now).await?;
        let stage = api.and_then(|api| api.stages.get(&mapping.stage).cloned());
        Ok(stage.map(|stage| Found {
            api_id: Cow::Owned(mapping.api_id.clone()),
            stage,
            base_path: Some(mapping.api_mapping_key.clone()).filter(|key| !key.is_empty()),
            shown: path,
            path: rest,
        }))
    }

    /// The stage that a path names, or else the one that has no name in paths.
    async fn find_stage<'a>(
        &self,
        api_id: &'a str,
        path: &'a str,
        may_say_default: bool,
        now: Instant,
    ) -> Result<Option<Found<'a>>, StoreError> {
        let Some(api) = self.finder.api(api_id, now).await? else {
            return Ok(None);
        };
        let shown = if path.is_empty() { "/" } else { path };
        let first = shown.strip_prefix('/').unwrap_or(shown);
        let first = &first[..first.find('/').unwrap_or(first.len())];
        let name = decode_path(first);
        let named = api
            .stages
            .get(name.as_ref())
            .filter(|_| may_say_default || name != "$default");
        let found = match named {
            Some(stage) => {
                let rest = &shown[(first.len() + 1).min(shown.len())..];
                Some((stage, if rest.is_empty() { "/" } else { rest }))
            }
            None => api.stages.get("$default").map(|stage| (stage, shown)),
        };
        Ok(found
            .filter(|(stage, _)| !stage.is_endpoint_disabled)
            .map(|(stage, path)| Found {
                api_id: Cow::Borrowed(api_id),
                stage: Arc::clone(stage),
                base_path: None,
                shown,
                path,
            }))
    }
}

impl gateway::Apis for DataPlane {
    fn is_domain(&self, host: &str) -> bool {
        self.finder.is_domain(host)
    }

    fn body_limit(&self) -> usize {
        BODY_BYTES
    }

    fn call<'a>(&'a self, request: &'a SiteRequest, address: ApiAddress<'a>) -> BoxFuture<'a, Response> {
        Box::pin(async move { self.answer(request, &address).await })
    }

    fn refuse(&self, _: &request::Parts, id: RequestId, why: Refused) -> Response {
        reply::refused(why, id)
    }
}

impl std::fmt::Debug for DataPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataPlane").finish_non_exhaustive()
    }
}

/// What is left of a path below a base path; `None`: it is not below.
fn below<'a>(path: &'a str, base: &str) -> Option<&'a str> {
    if base.is_empty() {
        return Some(path);
    }
    let rest = path.strip_prefix('/')?.strip_prefix(base)?;
    match rest {
        "" => Some("/"),
        _ => rest.starts_with('/').then_some(rest),
    }
}

/// A request whose stage is known.
struct Trip<'a> {
    plane: &'a DataPlane,
    request: &'a SiteRequest,
    found: &'a Found<'a>,
    now: Moment,
}

impl<'a> Trip<'a> {
    async fn run<'r>(&'r self, record: &mut Record<'r>, entry: &mut Entry<'r>) -> Answer {
        let Found {
            stage, path: raw_path, ..
        } = self.found;
        let path = Path::new(raw_path);
        let method = &self.request.head.method;
        let Some(route) = stage.routes.select(method, &path) else {
            if *method == Method::OPTIONS && stage.cors.is_some() {
                return Answer {
                    status: StatusCode::NO_CONTENT,
                    headers: HeaderMap::new(),
                    body: bytes::Bytes::new(),
                };
            }
            record.error = Some(Cow::Borrowed("there is no route for the method and path"));
            return Failure::NotFound.answer(&[]);
        };
        let end: &End = &stage.ends[route as usize];
        record.route_key = Some(&end.key);
        if end.throttle.as_ref().is_some_and(|bucket| !bucket.take(self.now.at)) {
            record.error = Some(Cow::Borrowed("the route or its stage takes no more requests"));
            return Failure::TooMany.answer(&[]);
        }
        let parameters: Vec<(Cow<'_, str>, Cow<'_, str>)> = stage
            .routes
            .parameters(route, &path)
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        let given = self.request.head.headers.get("x-amzn-trace-id");
        let given = given
            .and_then(|value| value.to_str().ok())
            .filter(|text| trace::is_trace(text));
        let trace_id = given.map_or_else(|| Cow::Owned(trace::new_trace(self.now.unix_ms)), Cow::Borrowed);
        let surroundings = Surroundings {
            account_id: record.account_id,
            api_id: record.api_id,
            domain: record.domain,
            stage: record.stage,
            request_id: record.request_id,
            trace_id: &trace_id,
            time_ms: record.time_ms,
            parameters: &parameters,
            variables: stage.variables_json.as_deref(),
        };
        let done = self.serve(end, route, &path, surroundings, record, entry).await;
        done.unwrap_or_else(|failure| {
            let scopes = match &end.guard {
                super::stage::Guard::Jwt { scopes, .. } => scopes.as_slice(),
                _ => &[],
            };
            record.error.get_or_insert_with(|| Cow::Borrowed(failure.message()));
            failure.answer(scopes)
        })
    }

    async fn serve<'r>(
        &'r self,
        end: &'r End,
        route: super::route::RouteIndex,
        path: &Path<'_>,
        surroundings: Surroundings<'_>,
        record: &mut Record<'r>,
        entry: &mut Entry<'r>,
    ) -> Result<Answer, Failure> {
        let stage = &*self.found.stage;
        let gate = Gate {
            iam: &self.plane.iam,
            functions: &self.plane.functions,
            head: &self.request.head,
            body: &self.request.body,
            surroundings,
            route_arn: &|| self.route_arn(),
            now: self.now,
        };
        let parameters = surroundings.parameters;
        let passed = gate.pass(end, &self.sources(record, parameters)).await;
        *entry = passed.map_err(|denied| {
            record.authorizer_error = Some(denied.reason);
            denied.failure
        })?;
        let back = end.back.as_ref().map_err(|why| {
            record.integration_error = Some(why.clone());
            Failure::Internal
        })?;
        let started = Instant::now();
        let errand = Errand {
            functions: &self.plane.functions,
            id: self.request.id,
            received: self.request.received,
            end,
            entry,
            path,
            raw_path: self.found.path,
            rest: stage.routes.greedy_rest(route, path),
            surroundings,
        };
        let outcome = {
            let known = Record {
                identity: entry.identity(),
                ..record.clone()
            };
            errand.run(back, &self.sources(&known, parameters)).await
        };
        record.integration_latency = Some(started.elapsed());
        match outcome {
            Ok((answer, status)) => {
                record.integration_status = Some(status);
                Ok(answer)
            }
            Err(no) => {
                record.integration_status = no.status;
                record.integration_error = Some(no.reason);
                Err(no.failure)
            }
        }
    }

    /// What values are taken from.
    fn sources<'s>(&'s self, record: &'s Record<'s>, parameters: &'s [(Cow<'s, str>, Cow<'s, str>)]) -> Sources<'s> {
        Sources {
            record,
            path: self.found.path,
            parameters,
            variables: &self.found.stage.variables,
            response: None,
        }
    }

    /// `arn:aws:execute-api:REGION:ACCOUNT:API/STAGE/METHOD/PATH`.
    fn route_arn(&self) -> String {
        let Place { region, account } = &self.plane.place;
        let Found {
            api_id, stage, path, ..
        } = self.found;
        let path = decode_path(path.strip_prefix('/').unwrap_or(path));
        let method = self.request.head.method.as_str();
        format!(
            "arn:aws:execute-api:{region}:{account}:{api_id}/{}/{method}/{path}",
            stage.name
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_paths_are_whole_segments() {
        assert_eq!(below("/a/b", ""), Some("/a/b"));
        assert_eq!(below("/a/b", "a"), Some("/b"));
        assert_eq!(below("/a/b", "a/b"), Some("/"));
        assert_eq!(below("/a/", "a"), Some("/"));
        assert_eq!(below("/ab", "a"), None);
        assert_eq!(below("/", "a"), None);
        assert_eq!(below("", "a"), None);
    }
}
