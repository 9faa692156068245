//! What is known of a request on its way: the `$context` of access logs, mappings and identity sources.
//!
//! Source: <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-logging-variables.html>.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Map, Value};

use crate::event::Iam;
use crate::request::HttpRequest;

/// A variable of `$context`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    /// One that is known by its name alone.
    Plain(Plain),
    /// `authorizer.claims.NAME`: a claim of the token.
    Claim(String),
    /// `authorizer.NAME`: what a Lambda authorizer has said.
    Authorizer(String),
}

/// Declares [`Plain`] and how its variables are written.
macro_rules! plain {
    ($($name:ident $text:literal),* $(,)?) => {
        /// A variable that is known by its name alone.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Plain { $($name),* }

        impl Plain {
            fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

plain! {
    AccountId "accountId",
    ApiId "apiId",
    AuthorizerError "authorizer.error",
    AuthorizerPrincipal "authorizer.principalId",
    AwsEndpointRequestId "awsEndpointRequestId",
    BasePathMatched "customDomain.basePathMatched",
    DataProcessed "dataProcessed",
    DomainName "domainName",
    DomainPrefix "domainPrefix",
    ErrorMessage "error.message",
    ErrorMessageString "error.messageString",
    ErrorResponseType "error.responseType",
    ExtendedRequestId "extendedRequestId",
    HttpMethod "httpMethod",
    IdentityAccountId "identity.accountId",
    IdentityCaller "identity.caller",
    IdentitySourceIp "identity.sourceIp",
    IdentityUser "identity.user",
    IdentityUserAgent "identity.userAgent",
    IdentityUserArn "identity.userArn",
    IntegrationError "integration.error",
    IntegrationErrorMessage "integrationErrorMessage",
    IntegrationIntegrationStatus "integration.integrationStatus",
    IntegrationLatency "integration.latency",
    IntegrationLatencyOld "integrationLatency",
    IntegrationRequestId "integration.requestId",
    IntegrationStatus "integration.status",
    IntegrationStatusOld "integrationStatus",
    Path "path",
    Protocol "protocol",
    RequestId "requestId",
    RequestTime "requestTime",
    RequestTimeEpoch "requestTimeEpoch",
    ResponseLatency "responseLatency",
    ResponseLength "responseLength",
    RouteKey "routeKey",
    Stage "stage",
    Status "status",
}

impl Variable {
    /// Reads a variable, without `$context.` before it. `None`: there is none of that name.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(plain) = Plain::parse(text) {
            return Some(Self::Plain(plain));
        }
        let name = text.strip_prefix("authorizer.").filter(|name| !name.is_empty())?;
        Some(match name.strip_prefix("claims.") {
            Some(claim) if !claim.is_empty() => Self::Claim(claim.to_owned()),
            _ => Self::Authorizer(name.to_owned()),
        })
    }
}

/// Who called, as far as an authorizer has found out.
#[derive(Clone, Copy, Debug, Default)]
pub enum Identity<'a> {
    /// Nobody asked.
    #[default]
    Unknown,
    /// A token's claims.
    Claims(&'a Map<String, Value>),
    /// What a Lambda authorizer said.
    Said(&'a Map<String, Value>),
    /// Who signed.
    Signed(Iam<'a>),
}

/// What is known of a request. It grows on the way.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// The request.
    pub request: HttpRequest<'a>,
    /// The account that owns the API.
    pub account_id: &'a str,
    /// The API.
    pub api_id: &'a str,
    /// The host under which the API was asked for, and its first label.
    pub domain: (&'a str, &'a str),
    /// The base path of the custom domain name's mapping.
    pub base_path: Option<&'a str>,
    /// The stage.
    pub stage: &'a str,
    /// The route, once it is known.
    pub route_key: Option<&'a str>,
    /// The request's identifier.
    pub request_id: &'a str,
    /// When it came, in milliseconds since 1970.
    pub time_ms: i64,
    /// Who called.
    pub identity: Identity<'a>,
    /// Why an authorizer did not let it through.
    pub authorizer_error: Option<Cow<'static, str>>,
    /// What went wrong: for the operator, not for the client.
    pub error: Option<Cow<'static, str>>,
    /// What went wrong between here and the back end.
    pub integration_error: Option<String>,
    /// The status of the back end.
    pub integration_status: Option<u16>,
    /// How long the back end took.
    pub integration_latency: Option<Duration>,
    /// What the client is answered.
    pub status: Option<StatusCode>,
    /// How long the body of the answer is.
    pub response_length: usize,
    /// How long the whole took.
    pub response_latency: Duration,
}

impl Record<'_> {
    /// The value of a variable, if it has one.
    pub fn value(&self, variable: &Variable) -> Option<Cow<'_, str>> {
        match (variable, self.identity) {
            (Variable::Plain(plain), _) => self.plain(*plain),
            (Variable::Claim(name), Identity::Claims(claims)) => claims.get(name).map(text),
            (Variable::Authorizer(name), Identity::Said(said)) => said.get(name).map(text),
            _ => None,
        }
    }

    fn plain(&self, plain: Plain) -> Option<Cow<'_, str>> {
        let number = |value: u128| Some(Cow::Owned(value.to_string()));
        let signed = match &self.identity {
            Identity::Signed(iam) => Some(iam),
            _ => None,
        };
        match plain {
            Plain::AccountId => Some(self.account_id.into()),
            Plain::ApiId => Some(self.api_id.into()),
            Plain::AuthorizerError => self.authorizer_error.as_deref().map(Cow::Borrowed),
            Plain::AuthorizerPrincipal => match self.identity {
                Identity::Said(said) => said.get("principalId").map(text),
                _ => None,
            },
            Plain::BasePathMatched => self.base_path.map(Cow::Borrowed),
            Plain::DataProcessed => number((self.request.body.len() + self.response_length) as u128),
            Plain::DomainName => Some(self.domain.0.into()),
            Plain::DomainPrefix => Some(self.domain.1.into()),
            Plain::ErrorMessage | Plain::ErrorMessageString => self.error.as_deref().map(Cow::Borrowed),
            Plain::ErrorResponseType => self.response_type().map(Cow::Borrowed),
            Plain::HttpMethod => Some(self.request.method.as_str().into()),
            Plain::IdentityAccountId => signed.map(|iam| iam.account_id.into()),
            Plain::IdentityCaller | Plain::IdentityUser => signed.map(|iam| iam.user_id.into()),
            Plain::IdentityUserArn => signed.map(|iam| iam.user_arn.into()),
            Plain::IdentitySourceIp => Some(self.request.peer.address.ip().to_canonical().to_string().into()),
            Plain::IdentityUserAgent => self.request.header(http::header::USER_AGENT).map(Cow::Borrowed),
            Plain::IntegrationError | Plain::IntegrationErrorMessage => {
                self.integration_error.as_deref().map(Cow::Borrowed)
            }
            Plain::IntegrationLatency | Plain::IntegrationLatencyOld => {
                self.integration_latency.and_then(|time| number(time.as_millis()))
            }
            Plain::IntegrationIntegrationStatus | Plain::IntegrationStatus | Plain::IntegrationStatusOld => {
                self.integration_status.and_then(|status| number(status.into()))
            }
            Plain::Path => Some(self.request.path.into()),
            Plain::Protocol => Some(self.request.protocol().into()),
            Plain::AwsEndpointRequestId | Plain::IntegrationRequestId => {
                self.integration_status.map(|_| self.request_id.into())
            }
            Plain::ExtendedRequestId | Plain::RequestId => Some(self.request_id.into()),
            Plain::RequestTime => Some(log_time(self.time_ms).into()),
            Plain::RequestTimeEpoch => Some(self.time_ms.to_string().into()),
            Plain::ResponseLatency => number(self.response_latency.as_millis()),
            Plain::ResponseLength => number(self.response_length as u128),
            Plain::RouteKey => self.route_key.map(Cow::Borrowed),
            Plain::Stage => Some(self.stage.into()),
            Plain::Status => self.status.map(|status| status.as_str().to_owned().into()),
        }
    }

    /// AWS's name for the kind of an answer that was made here.
    fn response_type(&self) -> Option<&'static str> {
        self.error.as_ref()?;
        Some(match self.status.map(|status| status.as_u16())? {
            401 => "UNAUTHORIZED",
            403 => "ACCESS_DENIED",
            404 => "NOT_FOUND",
            413 => "REQUEST_TOO_LARGE",
            429 => "THROTTLED",
            503 | 504 => "INTEGRATION_TIMEOUT",
            400..500 => "DEFAULT_4XX",
            _ if self.authorizer_error.is_some() => "AUTHORIZER_FAILURE",
            _ if self.integration_error.is_some() => "INTEGRATION_FAILURE",
            _ => "DEFAULT_5XX",
        })
    }
}

/// A value as text: a string without its quotes.
fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

/// A time such as `12/Mar/2020:19:03:58 +0000`.
fn log_time(ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
    time.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string()
}
