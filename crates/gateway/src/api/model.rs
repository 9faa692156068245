//! The documents of HTTP APIs, with the members and spellings that AWS's API has; kept in the same form.
//! Source: <https://docs.aws.amazon.com/apigatewayv2/latest/api-reference/>.
//!
//! [`Api`], [`Route`], [`Integration`], [`Authorizer`] are what a person edits; a [`Deployment`] freezes them as
//! [`Content`], and a [`Stage`] serves one deployment. [`LiveApi`] is all of that at one moment, as requests see it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A time, in seconds since 1970; `2026-11-23T18:40:00Z` in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Time(pub i64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_second(self.0).unwrap_or_default();
        write!(f, "{time}")
    }
}

impl From<Time> for String {
    fn from(time: Time) -> Self {
        time.to_string()
    }
}

impl TryFrom<String> for Time {
    type Error = jiff::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse::<jiff::Timestamp>().map(|time| Self(time.as_second()))
    }
}

/// An API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Api {
    /// Ten of `[a-z0-9]`.
    pub api_id: String,
    /// Its name; several may have the same.
    pub name: String,
    /// Always `HTTP` for now.
    pub protocol_type: ProtocolType,
    /// Always `$request.method $request.path` for HTTP APIs.
    pub route_selection_expression: String,
    /// Means nothing for HTTP APIs; kept as given.
    pub api_key_selection_expression: String,
    /// A description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A version of the caller's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Which pages of other origins may call; what is deployed counts, see [`Content`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors_configuration: Option<Cors>,
    /// Whether only custom domain names lead here; what is deployed counts, see [`Content`].
    #[serde(default)]
    pub disable_execute_api_endpoint: bool,
    /// `ipv4` or `dualstack`; kept as given.
    pub ip_address_type: String,
    /// What an import could not take over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub import_info: Vec<String>,
    /// What was doubtful about an import.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// When it was made.
    pub created_date: Time,
}

/// What an API speaks. WebSocket APIs come later; they are refused by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ProtocolType {
    /// HTTP.
    Http,
}

/// Cross-origin resource sharing of an API. What was not given is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cors {
    /// Whether pages may send cookies and the like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_credentials: Option<bool>,
    /// Headers that pages may send; `*` is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_headers: Option<Vec<String>>,
    /// Methods that pages may use; `*` is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_methods: Option<Vec<String>>,
    /// Origins of the pages: `https://example.com`, `*`, `https://*`, `http://*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_origins: Option<Vec<String>>,
    /// Headers that pages may read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expose_headers: Option<Vec<String>>,
    /// How long a browser may remember what it was told, in seconds: −1 to 86,400.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<i32>,
}

/// A route: a method and a path, who may come, and where it leads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Route {
    /// Its id, of `[a-z0-9]`.
    pub route_id: String,
    /// `GET /pets/{id}`, `ANY /{proxy+}` or `$default`: valid, and the only one in its API.
    pub route_key: String,
    /// `integrations/ID`. Without one the route answers with an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Who may come.
    pub authorization_type: AuthorizationType,
    /// The authorizer, for JWT and CUSTOM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorizer_id: Option<String>,
    /// One of these scopes must be in the token; none: no scope is needed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authorization_scopes: Vec<String>,
    /// A name for the operation, `operationId` in OpenAPI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_name: Option<String>,
    /// Means nothing for HTTP APIs; always false.
    pub api_key_required: bool,
    /// For WebSocket APIs; empty.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub request_parameters: BTreeMap<String, ParameterConstraints>,
    /// Whether the API's `Target` made it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub api_gateway_managed: bool,
}

impl Route {
    /// The id of the integration that it leads to.
    pub fn integration_id(&self) -> Option<&str> {
        self.target.as_deref()?.strip_prefix("integrations/")
    }
}

/// What is asked of a parameter of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ParameterConstraints {
    /// Whether it must be there.
    pub required: bool,
}

/// Who may call a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AuthorizationType {
    /// Everybody.
    #[default]
    None,
    /// Who signs for `execute-api`.
    AwsIam,
    /// Whom a Lambda authorizer lets in.
    Custom,
    /// Who has a token.
    Jwt,
}

impl AuthorizationType {
    /// AWS's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::AwsIam => "AWS_IAM",
            Self::Custom => "CUSTOM",
            Self::Jwt => "JWT",
        }
    }
}

/// What a route leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Integration {
    /// Its id, of `[a-z0-9]`.
    pub integration_id: String,
    /// A function or another server.
    pub integration_type: IntegrationType,
    /// Of a function: its ARN, or `arn:aws:apigateway:REGION:lambda:path/2015-03-31/functions/ARN/invocations`. Of a
    /// server: its URL. `${stageVariables.NAME}` stands for a variable of the stage, `{name}` in a URL for a path
    /// variable of the route.
    pub integration_uri: String,
    /// The method by which a server is called; `ANY` is the request's own. Of a function `POST`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integration_method: Option<String>,
    /// How the two are connected.
    pub connection_type: ConnectionType,
    /// The format of a function's event; of a server `1.0`.
    pub payload_format_version: PayloadFormat,
    /// How long it may take, in ms: 50 to 30,000.
    pub timeout_in_millis: u32,
    /// A description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The role that calls it; kept as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_arn: Option<String>,
    /// How a request is changed on its way: `append:header.NAME`, `overwrite:querystring.NAME`, `remove:header.NAME`,
    /// `overwrite:path` to a value such as `$request.header.X` or a text with such in `${…}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub request_parameters: BTreeMap<String, String>,
    /// How an answer of a status is changed on its way: `append:header.NAME`, `overwrite:statuscode` and so on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub response_parameters: BTreeMap<String, BTreeMap<String, String>>,
    /// How a server's certificate is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_config: Option<TlsConfig>,
    /// Whether the API's `Target` made it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub api_gateway_managed: bool,
}

/// What kind of back end an integration has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum IntegrationType {
    /// A function.
    AwsProxy,
    /// Another server.
    HttpProxy,
}

/// How an integration is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConnectionType {
    /// By its address.
    Internet,
}

/// The format of what a function gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PayloadFormat {
    /// As REST APIs have it.
    #[serde(rename = "1.0")]
    V1,
    /// As function URLs have it.
    #[serde(rename = "2.0")]
    V2,
}

/// How a server's certificate is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsConfig {
    /// The name that the certificate must be for, instead of the URL's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name_to_verify: Option<String>,
}

/// What decides who may call a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authorizer {
    /// Its id, of `[a-z0-9]`.
    pub authorizer_id: String,
    /// Its name, the only one in its API.
    pub name: String,
    /// By token or by function.
    pub authorizer_type: AuthorizerType,
    /// Where the credentials are: `$request.header.Authorization`, `$request.querystring.NAME`, `$context.…`,
    /// `$stageVariables.NAME`. Of a JWT authorizer exactly one.
    #[serde(default)]
    pub identity_source: Vec<String>,
    /// Whose tokens are good; only and always with JWT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt_configuration: Option<JwtConfiguration>,
    /// The function, as `arn:aws:apigateway:REGION:lambda:path/2015-03-31/functions/ARN/invocations`; only and always
    /// with REQUEST.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorizer_uri: Option<String>,
    /// The role that calls the function; kept as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorizer_credentials_arn: Option<String>,
    /// The format of the function's event and answer; only and always with REQUEST.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorizer_payload_format_version: Option<PayloadFormat>,
    /// How long an answer is remembered, in seconds: 0 to 3,600; 0, or `None`, is not at all. With REQUEST, and more than 0 only with
    /// an identity source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorizer_result_ttl_in_seconds: Option<u32>,
    /// Whether the function may answer with `{"isAuthorized": true}` (format 2.0 alone).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_simple_responses: Option<bool>,
    /// Means nothing for HTTP APIs; kept as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_validation_expression: Option<String>,
}

/// What an authorizer looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum AuthorizerType {
    /// The request, by a function.
    Request,
    /// A token.
    Jwt,
}

/// Whose tokens are good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JwtConfiguration {
    /// One of these must be in the token's `aud`, or its `client_id` where it has none; at least one.
    pub audience: Vec<String>,
    /// The issuer's base URL.
    pub issuer: String,
}

/// An address of an API that serves one deployment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Stage {
    /// The first part of its path; `$default` has none.
    pub stage_name: String,
    /// A description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The deployment that it serves. Without one it has no routes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment_id: Option<String>,
    /// Whether a change of the API is deployed here at once.
    pub auto_deploy: bool,
    /// Variables, `${stageVariables.NAME}`.
    pub stage_variables: BTreeMap<String, String>,
    /// What holds for all routes.
    pub default_route_settings: RouteSettings,
    /// What holds for some routes instead, by route key.
    pub route_settings: BTreeMap<String, RouteSettings>,
    /// Where access is logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_log_settings: Option<AccessLogSettings>,
    /// Means nothing for HTTP APIs; kept as given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_id: Option<String>,
    /// What came of the last automatic deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_deployment_status_message: Option<String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Whether the API's `Target` made it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub api_gateway_managed: bool,
    /// When it was made.
    pub created_date: Time,
    /// When it was last changed.
    pub last_updated_date: Time,
}

/// Settings of a stage's routes. What was not given is left out; a route's own settings have nothing from the default
/// ones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteSettings {
    /// Whether metrics are kept for each route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detailed_metrics_enabled: Option<bool>,
    /// How many requests may come at once beyond the rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttling_burst_limit: Option<i32>,
    /// Requests a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttling_rate_limit: Option<f64>,
    /// For WebSocket APIs; kept as given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_trace_enabled: Option<bool>,
    /// For WebSocket APIs; kept as given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logging_level: Option<String>,
}

/// Where access is logged, and what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessLogSettings {
    /// The ARN of a log group, with or without `:*` at its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_arn: Option<String>,
    /// A line with `$context.…` variables in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

/// A deployment: an API's content at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Deployment {
    /// Its id, of `[a-z0-9]`.
    pub deployment_id: String,
    /// A description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether a change of an API with a stage that deploys automatically made it.
    pub auto_deployed: bool,
    /// When it was made.
    pub created_date: Time,
    /// Always `DEPLOYED`.
    pub deployment_status: DeploymentStatus,
}

/// What has become of a deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DeploymentStatus {
    /// It can be served.
    #[default]
    Deployed,
}

/// What a deployment froze.
///
/// Every route's integration is among the integrations, and its authorizer among the authorizers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// The routes, no two with the same key.
    pub routes: Vec<Arc<Route>>,
    /// The integrations by their ids.
    pub integrations: BTreeMap<String, Arc<Integration>>,
    /// The authorizers by their ids.
    pub authorizers: BTreeMap<String, Arc<Authorizer>>,
    /// Which pages of other origins may call.
    pub cors: Option<Cors>,
    /// Whether only custom domain names lead here.
    pub is_endpoint_disabled: bool,
}

/// An API with its stages at one moment, as requests see it.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveApi {
    /// The API. Of its `cors_configuration` and `disable_execute_api_endpoint` what the stage's [`Content`] has counts.
    pub api: Api,
    /// The stages by their names.
    pub stages: BTreeMap<String, LiveStage>,
}

/// A stage with what it serves.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveStage {
    /// The stage.
    pub stage: Arc<Stage>,
    /// What its deployment froze, or with automatic deployment the API as it is; `None`: nothing was deployed here.
    /// Stages with the same deployment share it.
    pub content: Option<Arc<Content>>,
}

/// A custom domain name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DomainName {
    /// The name, in lower case; `*.example.com` stands for all names of one label more.
    pub domain_name: String,
    /// Always `$request.basepath`.
    pub api_mapping_selection_expression: String,
    /// Its certificates and where it is reached.
    #[serde(default)]
    pub domain_name_configurations: Vec<DomainNameConfiguration>,
    /// `API_MAPPING_ONLY`: routing rules come later.
    pub routing_mode: String,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// One configuration of a custom domain name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DomainNameConfiguration {
    /// The name that the domain name's CNAME leads to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_gateway_domain_name: Option<String>,
    /// The certificate; kept as given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_arn: Option<String>,
    /// A name for the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_name: Option<String>,
    /// Always `AVAILABLE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain_name_status: Option<String>,
    /// `REGIONAL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_type: Option<String>,
    /// The zone of `api_gateway_domain_name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosted_zone_id: Option<String>,
    /// `ipv4` or `dualstack`; kept as given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address_type: Option<String>,
    /// The certificate that proves who owns the name; kept as given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ownership_verification_certificate_arn: Option<String>,
    /// `TLS_1_2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_policy: Option<String>,
}

/// Which API and stage a base path of a custom domain name leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApiMapping {
    /// Its id, of `[a-z0-9]`.
    pub api_mapping_id: String,
    /// The base path without slashes at its ends, such as `orders/v1`; empty: every path that no other mapping takes.
    pub api_mapping_key: String,
    /// The API.
    pub api_id: String,
    /// The stage.
    pub stage: String,
}

/// A custom domain name with its mappings at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveDomain {
    /// The name.
    pub domain: DomainName,
    /// Its mappings, no two with the same key; the longest key comes first.
    pub mappings: Vec<ApiMapping>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn documents_read_as_aws_writes_them() {
        let route = json!({
            "routeId": "abc123",
            "routeKey": "GET /pets",
            "target": "integrations/xyz",
            "authorizationType": "AWS_IAM",
            "apiKeyRequired": false,
        });
        let read: Route = serde_json::from_value(route.clone()).unwrap();
        assert_eq!(read.integration_id(), Some("xyz"));
        assert_eq!(read.authorization_type, AuthorizationType::AwsIam);
        assert_eq!(serde_json::to_value(&read).unwrap(), route);

        let integration = json!({
            "integrationId": "xyz",
            "integrationType": "AWS_PROXY",
            "integrationUri": "arn:aws:lambda:eu-central-1:111111111111:function:f",
            "connectionType": "INTERNET",
            "payloadFormatVersion": "2.0",
            "timeoutInMillis": 30000,
        });
        let read: Integration = serde_json::from_value(integration.clone()).unwrap();
        assert_eq!(read.payload_format_version, PayloadFormat::V2);
        assert_eq!(serde_json::to_value(&read).unwrap(), integration);
    }

    #[test]
    fn times_have_seconds() {
        let text = serde_json::to_string(&Time(1_764_037_671)).unwrap();
        assert_eq!(text, r#""2025-11-25T02:27:51Z""#);
        assert_eq!(serde_json::from_str::<Time>(&text).unwrap(), Time(1_764_037_671));
        assert!(serde_json::from_str::<Time>(r#""yesterday""#).is_err());
    }
}
