//! What a document makes of an API.

use std::collections::{BTreeMap, HashMap, HashSet};

use ephyra_wire::error::ApiError;
use serde_json::{Map, Value};

use super::{ANY_METHOD, DEFAULT_PATH, METHODS};
use crate::api::check;
use crate::api::error::{bad_request, not_available, quoted, too_many};
use crate::api::model::{
    AuthorizationType, Authorizer, AuthorizerType, Cors, Integration, IntegrationType, JwtConfiguration, Route,
    TlsConfig,
};
use crate::api::operation::{integration_format, integration_kind, new_authorizer, new_integration};
use crate::api::store::Parts;

/// How many warnings are told.
const WARNINGS: usize = 100;

/// What becomes of the path of the document's server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BasePath {
    /// Nothing.
    Ignore,
    /// Every path begins with it.
    Prepend,
    /// Every path begins with it, but for its first part, which is the stage's.
    Split,
}

/// What a document says of an API.
#[derive(Debug, Default)]
pub(crate) struct Imported {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) cors: Option<Cors>,
    pub(crate) disable_execute_api_endpoint: Option<bool>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) parts: Parts,
    pub(crate) warnings: Vec<String>,
}

/// What a security scheme means.
#[derive(Clone, Debug)]
enum Scheme {
    Authorizer(String, AuthorizerType),
    Iam,
    /// One that API Gateway leaves to the back end.
    Other,
}

struct Import<'d> {
    document: &'d Value,
    new_id: &'d dyn Fn(usize) -> String,
    taken: HashSet<String>,
    schemes: HashMap<String, Scheme>,
    /// The ids of integrations that several operations may share, by their names.
    shared: HashMap<String, String>,
    kinds: HashMap<String, AuthorizerType>,
    integrations: HashSet<String>,
    keys: HashSet<String>,
    done: Imported,
}

/// Reads a document; `new_id` gives random identifiers of a length.
pub(crate) fn import(
    document: &Value,
    base_path: BasePath,
    new_id: &dyn Fn(usize) -> String,
) -> Result<Imported, ApiError> {
    let version = document.get("openapi").and_then(text).unwrap_or_default();
    if !(version == "3.0" || version.starts_with("3.0.")) {
        return Err(bad_request(format!(
            "Invalid OpenAPI input. HTTP APIs are made of OpenAPI 3.0 documents, not of version {:?}",
            quoted(&version)
        )));
    }
    let mut import = Import {
        document,
        new_id,
        taken: HashSet::new(),
        schemes: HashMap::new(),
        shared: HashMap::new(),
        kinds: HashMap::new(),
        integrations: HashSet::new(),
        keys: HashSet::new(),
        done: Imported::default(),
    };
    import.info()?;
    import.schemes()?;
    import.paths(&prefix(document, base_path)?)?;
    Ok(import.done)
}

/// A text, or a number or truth value that stands where a text belongs.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn object<'v>(value: &'v Value, place: &str) -> Result<&'v Map<String, Value>, ApiError> {
    value
        .as_object()
        .ok_or_else(|| bad_request(format!("Invalid OpenAPI input. {} must be an object", quoted(place))))
}

fn at(place: &str, mut error: ApiError) -> ApiError {
    error.message = format!("{}: {}", quoted(place), error.message);
    error
}

/// What every path begins with.
fn prefix(document: &Value, base_path: BasePath) -> Result<String, ApiError> {
    if base_path == BasePath::Ignore {
        return Ok(String::new());
    }
    let server = &document["servers"][0];
    let mut url = server["url"].as_str().unwrap_or_default().to_owned();
    if url.len() > 2048 {
        return Err(bad_request("Invalid OpenAPI input. The URL of the server is too long"));
    }
    for (name, variable) in server["variables"].as_object().into_iter().flatten() {
        let default = variable.get("default").and_then(text).unwrap_or_default();
        url = url.replace(&format!("{{{name}}}"), default.trim_matches('/'));
        if url.len() > 4096 {
            return Err(bad_request("Invalid OpenAPI input. The URL of the server is too long"));
        }
    }
    let path = match url.split_once("://") {
        None => url.as_str(),
        Some((_, rest)) => rest.find('/').map_or("", |start| &rest[start..]),
    };
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    if base_path == BasePath::Split {
        parts.next();
    }
    Ok(parts.map(|part| format!("/{part}")).collect())
}

impl Import<'_> {
    fn warn(&mut self, warning: String) {
        if self.done.warnings.len() < WARNINGS {
            self.done.warnings.push(quoted(&warning));
        }
    }

    fn id(&mut self, length: usize) -> String {
        loop {
            let id = (self.new_id)(length);
            if self.taken.insert(id.clone()) {
                return id;
            }
        }
    }

    fn info(&mut self) -> Result<(), ApiError> {
        let document = self.document;
        let info = &document["info"];
        self.done.name = info
            .get("title")
            .and_then(text)
            .ok_or_else(|| bad_request("Invalid OpenAPI input. info.title is missing"))?;
        self.done.version = info.get("version").and_then(text);
        self.done.description = info.get("description").and_then(text);
        if let Some(cors) = document.get("x-amazon-apigateway-cors") {
            let place = "x-amazon-apigateway-cors";
            object(cors, place)?;
            let cors: Cors = serde_json::from_value(cors.clone())
                .map_err(|error| bad_request(format!("Invalid OpenAPI input. {place}: {error}")))?;
            self.done.cors = Some(cors);
        }
        let endpoint = &document["x-amazon-apigateway-endpoint-configuration"];
        self.done.disable_execute_api_endpoint = endpoint["disableExecuteApiEndpoint"].as_bool();
        for tag in document["tags"].as_array().into_iter().flatten() {
            let value = tag.get("x-amazon-apigateway-tag-value").and_then(text);
            if let (Some(name), Some(value)) = (tag.get("name").and_then(text), value) {
                self.done.tags.insert(name, value);
            }
        }
        Ok(())
    }

    fn schemes(&mut self) -> Result<(), ApiError> {
        let Some(schemes) = self.document["components"].get("securitySchemes") else {
            return Ok(());
        };
        for (name, scheme) in object(schemes, "components.securitySchemes")? {
            let place = format!("components.securitySchemes.{}", quoted(name));
            let extension = scheme.get("x-amazon-apigateway-authorizer");
            let is_iam = scheme["x-amazon-apigateway-authtype"]
                .as_str()
                .is_some_and(|kind| kind.eq_ignore_ascii_case("awsSigv4"));
            let found = match extension {
                Some(extension) => {
                    if self.done.parts.authorizers.len() >= check::AUTHORIZERS {
                        return Err(too_many("Authorizers", "API", check::AUTHORIZERS));
                    }
                    let id = self.id(6);
                    let authorizer = authorizer(id, name, extension).map_err(|error| at(&place, error))?;
                    let found = Scheme::Authorizer(authorizer.authorizer_id.clone(), authorizer.authorizer_type);
                    self.kinds
                        .insert(authorizer.authorizer_id.clone(), authorizer.authorizer_type);
                    self.done.parts.authorizers.push(authorizer);
                    found
                }
                None if is_iam => Scheme::Iam,
                None => Scheme::Other,
            };
            self.schemes.insert(name.clone(), found);
        }
        Ok(())
    }

    fn paths(&mut self, prefix: &str) -> Result<(), ApiError> {
        let Some(paths) = self.document.get("paths") else {
            return Ok(());
        };
        for (path, item) in object(paths, "paths")? {
            if path.starts_with("x-") {
                continue;
            }
            let item = object(item, &format!("paths.'{path}'"))?;
            if item.contains_key("$ref") {
                self.warn(format!("Parse issue: attribute paths.'{path}'.$ref is not supported"));
            }
            for (method, operation) in item {
                let is_any = method == ANY_METHOD;
                if method == "trace" {
                    self.warn(format!("Ignoring paths.'{path}'(trace): routes have no such method"));
                }
                if !is_any && !METHODS.contains(&method.as_str()) {
                    continue;
                }
                let place = format!("paths.'{path}'({method})");
                object(operation, &place)?;
                let is_default =
                    is_any && (path == DEFAULT_PATH || operation["isDefaultRoute"].as_bool() == Some(true));
                let key = if is_default {
                    "$default".to_owned()
                } else if is_any {
                    format!("ANY {prefix}{path}")
                } else {
                    format!("{} {prefix}{path}", method.to_ascii_uppercase())
                };
                self.operation(key, operation, &place)
                    .map_err(|error| at(&place, error))?;
            }
        }
        Ok(())
    }

    fn operation(&mut self, key: String, operation: &Value, place: &str) -> Result<(), ApiError> {
        if self.done.parts.routes.len() >= check::ROUTES {
            return Err(too_many("Routes", "API", check::ROUTES));
        }
        self.look_for_models(operation, place);
        let mut route = Route {
            route_id: self.id(7),
            route_key: key,
            operation_name: operation.get("operationId").and_then(text),
            ..Route::default()
        };
        if let Some(integration) = operation.get("x-amazon-apigateway-integration") {
            let id = self.integration(integration)?;
            route.target = Some(format!("integrations/{id}"));
        }
        self.secure(&mut route, operation, place)?;
        check::route(
            &route,
            |id| self.integrations.contains(id),
            |id| self.kinds.get(id).copied(),
        )?;
        if !self.keys.insert(route.route_key.clone()) {
            return Err(bad_request(format!(
                "Route with key {} comes twice",
                quoted(&route.route_key)
            )));
        }
        self.done.parts.routes.push(route);
        Ok(())
    }

    /// The id of an integration that stands here, or of the one that is named here.
    fn integration(&mut self, value: &Value) -> Result<String, ApiError> {
        const SHARED: &str = "#/components/x-amazon-apigateway-integrations/";
        let Some(reference) = value.get("$ref") else {
            return self.add_integration(value);
        };
        let name = reference.as_str().and_then(|text| text.strip_prefix(SHARED));
        let known = name.and_then(|name| self.shared.get(name));
        if let Some(id) = known {
            return Ok(id.clone());
        }
        let missing = || bad_request("The integration that $ref names is not there");
        let name = name.ok_or_else(missing)?;
        let shared = &self.document["components"]["x-amazon-apigateway-integrations"];
        let value = shared.get(name).ok_or_else(missing)?;
        let id = self.add_integration(value)?;
        self.shared.insert(name.to_owned(), id.clone());
        Ok(id)
    }

    fn add_integration(&mut self, value: &Value) -> Result<String, ApiError> {
        if self.done.parts.integrations.len() >= check::INTEGRATIONS {
            return Err(too_many("Integrations", "API", check::INTEGRATIONS));
        }
        let id = self.id(7);
        let integration = integration(id.clone(), value)?;
        self.done.parts.integrations.push(integration);
        self.integrations.insert(id.clone());
        Ok(id)
    }

    /// Who may come, by the operation's own requirement or the document's.
    fn secure(&mut self, route: &mut Route, operation: &Value, place: &str) -> Result<(), ApiError> {
        let auth = &operation["x-amazon-apigateway-auth"]["type"];
        if auth.as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("AWS_IAM")) {
            route.authorization_type = AuthorizationType::AwsIam;
            return Ok(());
        }
        let required = operation.get("security").or_else(|| self.document.get("security"));
        let alternatives = required.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if alternatives.len() > 1 {
            self.warn(format!(
                "{place}: a route has one requirement; the first of security counts"
            ));
        }
        let Some(requirement) = alternatives.first() else {
            return Ok(());
        };
        let requirement = object(requirement, "security")?;
        if requirement.len() > 1 {
            return Err(bad_request("A route has one authorizer, but security asks for several"));
        }
        let Some((name, scopes)) = requirement.iter().next() else {
            return Ok(());
        };
        match self.schemes.get(name) {
            // Nobody may come to a route that was meant to be closed.
            None => Err(bad_request(format!(
                "The security scheme {} is not defined",
                quoted(name)
            ))),
            Some(Scheme::Iam) => {
                route.authorization_type = AuthorizationType::AwsIam;
                Ok(())
            }
            Some(Scheme::Authorizer(id, AuthorizerType::Request)) => {
                route.authorization_type = AuthorizationType::Custom;
                route.authorizer_id = Some(id.clone());
                Ok(())
            }
            Some(Scheme::Authorizer(id, AuthorizerType::Jwt)) => {
                route.authorization_type = AuthorizationType::Jwt;
                route.authorizer_id = Some(id.clone());
                let scopes = scopes.as_array().into_iter().flatten().filter_map(text);
                route.authorization_scopes = scopes.collect();
                Ok(())
            }
            Some(Scheme::Other) => {
                self.warn(format!(
                    "{place}: the security scheme {name} has no x-amazon-apigateway-authorizer and is left to the back end"
                ));
                Ok(())
            }
        }
    }

    /// Warns of schemas that are not there, as AWS does, which makes models of them.
    fn look_for_models(&mut self, operation: &Value, place: &str) {
        let mut missing = Vec::new();
        let mut look = |what: &str, content: &Value| {
            for media in content.as_object().into_iter().flat_map(|content| content.values()) {
                let reference = media["schema"]["$ref"].as_str();
                let pointer = reference.and_then(|text| text.strip_prefix('#'));
                if let (Some(reference), Some(pointer)) = (reference, pointer)
                    && self.document.pointer(pointer).is_none()
                {
                    missing.push(format!(
                        "Parse issue: attribute {place}.{what}.content.schema.{} is missing",
                        quoted(reference)
                    ));
                }
            }
        };
        look("requestBody", &operation["requestBody"]["content"]);
        for (status, response) in operation["responses"].as_object().into_iter().flatten() {
            look(&format!("responses.{status}"), &response["content"]);
        }
        for warning in missing {
            self.warn(warning);
        }
    }
}

/// An integration of `x-amazon-apigateway-integration`.
fn integration(id: String, value: &Value) -> Result<Integration, ApiError> {
    object(value, "x-amazon-apigateway-integration")?;
    let member = |name: &str| value.get(name).and_then(text);
    let required = |name: &str| member(name).ok_or_else(|| bad_request(format!("{name} is missing")));
    let kind = integration_kind(&required("type")?.to_ascii_uppercase())?;
    if member("connectionType").is_some_and(|kind| !kind.eq_ignore_ascii_case("INTERNET")) {
        return Err(not_available("Private integrations (connectionType)"));
    }
    if let Some(subtype) = member("integrationSubtype") {
        let what = format!("AWS service integrations (integrationSubtype {})", quoted(&subtype));
        return Err(not_available(&what));
    }
    let is_function = kind == IntegrationType::AwsProxy;
    let mut integration = new_integration(id, is_function, required("uri")?);
    match member("payloadFormatVersion") {
        Some(version) => integration.payload_format_version = integration_format(&decimal(version))?,
        None if is_function => return Err(bad_request("payloadFormatVersion is missing")),
        None => {}
    }
    match member("httpMethod") {
        Some(method) => {
            let method = method.to_ascii_uppercase();
            let is_any = method == "X-AMAZON-APIGATEWAY-ANY-METHOD";
            integration.integration_method = Some(if is_any { "ANY".to_owned() } else { method });
        }
        None if is_function => {}
        None => integration.integration_method = None,
    }
    if let Some(timeout) = value.get("timeoutInMillis") {
        let millis = timeout.as_u64().and_then(|millis| u32::try_from(millis).ok());
        integration.timeout_in_millis = millis.unwrap_or(0);
    }
    integration.credentials_arn = member("credentials");
    integration.description = member("description");
    let server_name_to_verify = value["tlsConfig"].get("serverNameToVerify").and_then(text);
    if server_name_to_verify.is_some() {
        integration.tls_config = Some(TlsConfig { server_name_to_verify });
    }
    if let Some(changes) = value.get("requestParameters") {
        integration.request_parameters = texts(changes, "requestParameters")?;
    }
    if let Some(changes) = value.get("responseParameters") {
        for (status, changes) in object(changes, "responseParameters")? {
            let changes = texts(changes, "responseParameters")?;
            if !changes.is_empty() {
                integration.response_parameters.insert(status.clone(), changes);
            }
        }
    }
    check::integration(&integration)?;
    Ok(integration)
}

/// `2` written as a number is `2.0`.
fn decimal(version: String) -> String {
    match version.as_str() {
        "1" | "2" => format!("{version}.0"),
        _ => version,
    }
}

fn texts(value: &Value, place: &str) -> Result<BTreeMap<String, String>, ApiError> {
    let entries = object(value, place)?.iter();
    let entries = entries.map(|(key, value)| Some((key.clone(), text(value)?)));
    let entries: Option<BTreeMap<String, String>> = entries.collect();
    entries.ok_or_else(|| bad_request(format!("{place} must hold texts")))
}

/// An authorizer of `x-amazon-apigateway-authorizer`.
fn authorizer(id: String, name: &str, value: &Value) -> Result<Authorizer, ApiError> {
    let member = |name: &str| value.get(name).and_then(text);
    let kind = match member("type").unwrap_or_default().to_ascii_lowercase().as_str() {
        "jwt" => AuthorizerType::Jwt,
        "request" => AuthorizerType::Request,
        other => {
            return Err(bad_request(format!(
                "Invalid authorizer type specified: {}. Must be one of [request, jwt]",
                quoted(other)
            )));
        }
    };
    let mut authorizer = new_authorizer(id, name.to_owned(), kind);
    let sources = member("identitySource").unwrap_or_default();
    let sources = sources.split(',').map(str::trim).filter(|source| !source.is_empty());
    authorizer.identity_source = sources.map(str::to_owned).collect();
    match kind {
        AuthorizerType::Jwt => {
            if authorizer.identity_source.is_empty() {
                authorizer.identity_source = vec!["$request.header.Authorization".to_owned()];
            }
            let configuration = &value["jwtConfiguration"];
            let audience = match &configuration["audience"] {
                Value::Array(all) => all.iter().filter_map(text).collect(),
                one => text(one).into_iter().collect(),
            };
            authorizer.jwt_configuration = Some(JwtConfiguration {
                audience,
                issuer: configuration.get("issuer").and_then(text).unwrap_or_default(),
            });
        }
        AuthorizerType::Request => {
            authorizer.authorizer_uri = member("authorizerUri");
            authorizer.authorizer_credentials_arn = member("authorizerCredentials");
            let version = member("authorizerPayloadFormatVersion").map(decimal);
            let version = version.map(|version| integration_format(&version)).transpose()?;
            authorizer.authorizer_payload_format_version = version;
            authorizer.enable_simple_responses = value["enableSimpleResponses"].as_bool();
            if let Some(ttl) = value.get("authorizerResultTtlInSeconds") {
                let seconds = ttl.as_u64().and_then(|seconds| u32::try_from(seconds).ok());
                authorizer.authorizer_result_ttl_in_seconds = Some(seconds.unwrap_or(u32::MAX));
            }
        }
    }
    check::authorizer(&authorizer)?;
    Ok(authorizer)
}
