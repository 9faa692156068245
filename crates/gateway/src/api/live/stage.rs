//! A stage compiled: everything that a request needs to know of its API, without reading anything.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ephyra_core::arn::Place;
use ephyra_core::url::Cors;

use super::authorize::lambda;
use super::expression::{Expression, Template};
use super::fetch::Client;
use super::integrate::function::Function;
use super::integrate::mapping::Mapping;
use super::integrate::proxy::Target;
use super::jwt;
use super::jwt::claims::Rule;
use super::log::StageLog;
use super::route::Routes;
use super::route::key::RouteKey;
use super::throttle::Bucket;
use crate::api::model::{
    self, AuthorizationType, AuthorizerType, Content, IntegrationType, LiveStage, PayloadFormat, RouteSettings,
};

/// What a throttled route may have beside the limit that was given, when only one of the two was: AWS's account limits.
const RATE: f64 = 10_000.0;
const BURST: i32 = 5_000;

/// A stage.
#[derive(Debug)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// Its variables.
    pub variables: BTreeMap<String, String>,
    /// The same as JSON, when there are any.
    pub variables_json: Option<String>,
    /// Which route takes a request: its place in `ends`.
    pub routes: Routes,
    /// What is behind the routes.
    pub ends: Vec<End>,
    /// Which pages of other origins may call.
    pub cors: Option<Cors>,
    /// Where access is logged.
    pub log: Option<StageLog>,
    /// Whether only custom domain names lead here.
    pub is_endpoint_disabled: bool,
}

/// What is behind a route.
#[derive(Debug)]
pub struct End {
    /// The route's key.
    pub key: String,
    /// Its path, or `$default`.
    pub resource: String,
    /// How many requests it takes.
    pub throttle: Option<Arc<Bucket>>,
    /// Who may call.
    pub guard: Guard,
    /// Where it leads. An error is for the operator.
    pub back: Result<Arc<BackEnd>, String>,
}

impl End {
    /// Whether it is the route for what no other takes.
    pub fn is_default(&self) -> bool {
        self.key == "$default"
    }
}

/// Who may call a route.
#[derive(Debug)]
pub enum Guard {
    /// Everybody.
    Open,
    /// Who signs.
    Iam,
    /// Who has a token.
    Jwt {
        /// Which.
        authorizer: Arc<jwt::Authorizer>,
        /// Where it is.
        source: Expression,
        /// One of which it has to allow; none: nothing is asked.
        scopes: Vec<String>,
    },
    /// Whom a function lets in.
    Lambda(Arc<lambda::Authorizer>),
    /// Nobody: what was configured cannot be obeyed. For the operator.
    Nobody(String),
}

/// What a route leads to.
#[derive(Debug)]
pub struct BackEnd {
    /// What kind it is.
    pub kind: Kind,
    /// How long it may take.
    pub time: Duration,
    /// How requests are changed.
    pub requests: Mapping,
    /// How answers of a status are changed.
    pub answers: BTreeMap<u16, Mapping>,
}

/// What kind of back end there is.
#[derive(Debug)]
pub enum Kind {
    /// A function.
    Function(Function, PayloadFormat),
    /// Another server.
    Server(Box<(Target, Client)>),
}

/// What compiling takes from outside.
pub struct Workshop<'a> {
    /// The region and account that are served.
    pub place: &'a Place,
    /// The issuer of a URL.
    pub issuer: &'a dyn Fn(&str) -> Arc<jwt::issuer::Issuer>,
    /// The client for servers whose certificate is for this name, or for their own.
    pub client: &'a dyn Fn(Option<&str>) -> Client,
    /// Now.
    pub now: Instant,
}

impl Stage {
    /// Compiles a stage.
    pub fn new(live: &LiveStage, workshop: &Workshop<'_>) -> Self {
        let stage = &live.stage;
        let nothing = Content::default();
        let content = live.content.as_deref().unwrap_or(&nothing);
        let variables = stage.stage_variables.clone();
        let guards: HashMap<&str, CompiledGuard> = content
            .authorizers
            .iter()
            .map(|(id, authorizer)| (id.as_str(), CompiledGuard::new(authorizer, workshop)))
            .collect();
        let backs: HashMap<&str, Result<Arc<BackEnd>, String>> = content
            .integrations
            .iter()
            .map(|(id, integration)| {
                (
                    id.as_str(),
                    BackEnd::new(integration, &variables, workshop).map(Arc::new),
                )
            })
            .collect();
        let shared = bucket(&stage.default_route_settings, workshop.now);
        let mut keys = Vec::with_capacity(content.routes.len());
        let mut ends = Vec::with_capacity(content.routes.len());
        for route in &content.routes {
            let key: RouteKey = match route.route_key.parse() {
                Ok(key) => key,
                Err(error) => {
                    // The control plane takes only what this reads.
                    tracing::warn!(key = route.route_key, %error, "a route cannot be read and is left out");
                    continue;
                }
            };
            let own = stage
                .route_settings
                .get(&route.route_key)
                .filter(|settings| has_limit(settings));
            let back = match route.integration_id() {
                None => Err("the route has no integration".to_owned()),
                Some(id) => backs
                    .get(id)
                    .cloned()
                    .unwrap_or_else(|| Err(format!("the integration {id} is missing"))),
            };
            let resource = route
                .route_key
                .split_once(' ')
                .map_or(route.route_key.as_str(), |(_, path)| path);
            ends.push(End {
                key: route.route_key.clone(),
                resource: resource.to_owned(),
                throttle: own.map_or_else(|| shared.clone(), |own| bucket(own, workshop.now)),
                guard: guard(route, &guards),
                back,
            });
            keys.push(key);
        }
        let settings = stage.access_log_settings.as_ref();
        Self {
            name: stage.stage_name.clone(),
            variables_json: (!variables.is_empty()).then(|| serde_json::json!(variables).to_string()),
            variables,
            routes: Routes::new(keys),
            ends,
            cors: content.cors.as_ref().map(cors),
            log: settings.and_then(|log| StageLog::new(log.destination_arn.as_deref()?, log.format.as_deref()?)),
            is_endpoint_disabled: content.is_endpoint_disabled,
        }
    }

    /// About how much memory it takes.
    pub fn bytes(&self) -> usize {
        1024 + self.ends.iter().map(|end| 512 + 4 * end.key.len()).sum::<usize>()
    }
}

fn has_limit(settings: &RouteSettings) -> bool {
    settings.throttling_burst_limit.is_some() || settings.throttling_rate_limit.is_some()
}

fn bucket(settings: &RouteSettings, now: Instant) -> Option<Arc<Bucket>> {
    let burst = settings.throttling_burst_limit.unwrap_or(BURST);
    let rate = settings.throttling_rate_limit.unwrap_or(RATE);
    let burst = u32::try_from(burst).unwrap_or(0);
    has_limit(settings).then(|| Arc::new(Bucket::new(rate, burst, now)))
}

fn cors(cors: &model::Cors) -> Cors {
    let list = |values: &Option<Vec<String>>| values.clone().unwrap_or_default();
    Cors {
        allow_credentials: cors.allow_credentials.unwrap_or(false),
        allow_headers: list(&cors.allow_headers),
        allow_methods: list(&cors.allow_methods),
        allow_origins: list(&cors.allow_origins),
        expose_headers: list(&cors.expose_headers),
        max_age: u32::try_from(cors.max_age.unwrap_or(0)).unwrap_or(0),
    }
}

/// An authorizer, before it is known for which route.
enum CompiledGuard {
    Jwt(Arc<jwt::Authorizer>, Expression),
    Lambda(Arc<lambda::Authorizer>),
    Nobody(String),
}

impl CompiledGuard {
    fn new(authorizer: &model::Authorizer, workshop: &Workshop<'_>) -> Self {
        if authorizer.authorizer_type == AuthorizerType::Request {
            return match lambda::Authorizer::new(authorizer, workshop.place) {
                Ok(authorizer) => Self::Lambda(Arc::new(authorizer)),
                Err(error) => Self::Nobody(error.to_string()),
            };
        }
        let source = authorizer
            .identity_source
            .first()
            .map_or("$request.header.Authorization", String::as_str);
        match (&authorizer.jwt_configuration, Expression::parse(source)) {
            (Some(of), Ok(source)) => {
                let rule = Rule {
                    issuer: of.issuer.clone(),
                    audiences: of.audience.clone(),
                };
                let issuer = (workshop.issuer)(&of.issuer);
                Self::Jwt(Arc::new(jwt::Authorizer::new(rule, issuer)), source)
            }
            (None, _) => Self::Nobody("the authorizer has no issuer".to_owned()),
            (_, Err(error)) => Self::Nobody(error.to_string()),
        }
    }
}

fn guard(route: &model::Route, guards: &HashMap<&str, CompiledGuard>) -> Guard {
    let found = route.authorizer_id.as_deref().and_then(|id| guards.get(id));
    match (route.authorization_type, found) {
        (AuthorizationType::None, _) => Guard::Open,
        (AuthorizationType::AwsIam, _) => Guard::Iam,
        (AuthorizationType::Jwt, Some(CompiledGuard::Jwt(authorizer, source))) => Guard::Jwt {
            authorizer: Arc::clone(authorizer),
            source: source.clone(),
            scopes: route.authorization_scopes.clone(),
        },
        (AuthorizationType::Custom, Some(CompiledGuard::Lambda(authorizer))) => Guard::Lambda(Arc::clone(authorizer)),
        (_, Some(CompiledGuard::Nobody(why))) => Guard::Nobody(why.clone()),
        _ => Guard::Nobody("the route has no authorizer of its kind".to_owned()),
    }
}

impl BackEnd {
    fn new(
        integration: &model::Integration,
        variables: &BTreeMap<String, String>,
        workshop: &Workshop<'_>,
    ) -> Result<Self, String> {
        let uri = Template::fixed(&integration.integration_uri, variables);
        let kind = match integration.integration_type {
            IntegrationType::AwsProxy => {
                let function = Function::parse(&uri, workshop.place);
                let function = function.ok_or("the integration's address is not that of a function here")?;
                Kind::Function(function, integration.payload_format_version)
            }
            IntegrationType::HttpProxy => {
                let target = Target::new(&uri, integration.integration_method.as_deref());
                let tls = integration.tls_config.as_ref();
                let name = tls.and_then(|tls| tls.server_name_to_verify.as_deref());
                Kind::Server(Box::new((
                    target.map_err(|error| error.to_string())?,
                    (workshop.client)(name),
                )))
            }
        };
        let requests = Mapping::of_requests(&integration.request_parameters).map_err(|error| error.to_string())?;
        let mut answers = BTreeMap::new();
        for (status, parameters) in &integration.response_parameters {
            let status = status.parse().map_err(|_| format!("{status:?} is not a status"))?;
            answers.insert(
                status,
                Mapping::of_answers(parameters).map_err(|error| error.to_string())?,
            );
        }
        let time = Duration::from_millis(integration.timeout_in_millis.clamp(50, 30_000).into());
        Ok(Self {
            kind,
            time,
            requests,
            answers,
        })
    }
}
