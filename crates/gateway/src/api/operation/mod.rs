//! The operations, a file for each kind of resource. All of AWS's are known by their path; those that are not there yet
//! are known by name, so that the answer can say so.

mod api;
mod authorizer;
mod deployment;
mod domain;
mod integration;
mod mapping;
mod open_api;
mod page;
mod route;
mod stage;
mod tags;
#[cfg(test)]
mod tests;

use ephyra_wire::error::ApiError;
use ephyra_wire::rest::{empty_response, json_response};
use ephyra_wire::service::Response;
use http::{Method, StatusCode};
use serde::{Deserialize, Deserializer, Serialize};

pub(in crate::api) use authorizer::new as new_authorizer;
pub(in crate::api) use integration::{format as integration_format, kind as integration_kind, new as new_integration};

use super::error;
use super::service::{Call, Inner};
use super::store::{AutoDeployment, Held, Turn};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    CreateApi,
    CreateApiMapping,
    CreateAuthorizer,
    CreateDeployment,
    CreateDomainName,
    CreateIntegration,
    CreateRoute,
    CreateStage,
    DeleteAccessLogSettings,
    DeleteApi,
    DeleteApiMapping,
    DeleteAuthorizer,
    DeleteCorsConfiguration,
    DeleteDeployment,
    DeleteDomainName,
    DeleteIntegration,
    DeleteRoute,
    DeleteRouteRequestParameter,
    DeleteRouteSettings,
    DeleteStage,
    ExportApi,
    GetApi,
    GetApiMapping,
    GetApiMappings,
    GetApis,
    GetAuthorizer,
    GetAuthorizers,
    GetDeployment,
    GetDeployments,
    GetDomainName,
    GetDomainNames,
    GetIntegration,
    GetIntegrations,
    GetRoute,
    GetRoutes,
    GetStage,
    GetStages,
    GetTags,
    ImportApi,
    ReimportApi,
    ResetAuthorizersCache,
    TagResource,
    UntagResource,
    UpdateApi,
    UpdateApiMapping,
    UpdateAuthorizer,
    UpdateDeployment,
    UpdateDomainName,
    UpdateIntegration,
    UpdateRoute,
    UpdateStage,
    /// An operation of AWS's that is not there yet; what it is about, in words.
    Absent(&'static str),
}

/// Every operation by method and path.
#[rustfmt::skip]
pub(crate) fn rows() -> Vec<(Method, &'static str, Operation)> {
    use Operation::*;
    let mut rows = vec![
        (Method::POST, "/v2/apis", CreateApi),
        (Method::GET, "/v2/apis", GetApis),
        (Method::PUT, "/v2/apis", ImportApi),
        (Method::GET, "/v2/apis/{apiId}", GetApi),
        (Method::PATCH, "/v2/apis/{apiId}", UpdateApi),
        (Method::PUT, "/v2/apis/{apiId}", ReimportApi),
        (Method::DELETE, "/v2/apis/{apiId}", DeleteApi),
        (Method::DELETE, "/v2/apis/{apiId}/cors", DeleteCorsConfiguration),
        (Method::GET, "/v2/apis/{apiId}/exports/{specification}", ExportApi),
        (Method::POST, "/v2/apis/{apiId}/authorizers", CreateAuthorizer),
        (Method::GET, "/v2/apis/{apiId}/authorizers", GetAuthorizers),
        (Method::GET, "/v2/apis/{apiId}/authorizers/{authorizerId}", GetAuthorizer),
        (Method::PATCH, "/v2/apis/{apiId}/authorizers/{authorizerId}", UpdateAuthorizer),
        (Method::DELETE, "/v2/apis/{apiId}/authorizers/{authorizerId}", DeleteAuthorizer),
        (Method::POST, "/v2/apis/{apiId}/deployments", CreateDeployment),
        (Method::GET, "/v2/apis/{apiId}/deployments", GetDeployments),
        (Method::GET, "/v2/apis/{apiId}/deployments/{deploymentId}", GetDeployment),
        (Method::PATCH, "/v2/apis/{apiId}/deployments/{deploymentId}", UpdateDeployment),
        (Method::DELETE, "/v2/apis/{apiId}/deployments/{deploymentId}", DeleteDeployment),
        (Method::POST, "/v2/apis/{apiId}/integrations", CreateIntegration),
        (Method::GET, "/v2/apis/{apiId}/integrations", GetIntegrations),
        (Method::GET, "/v2/apis/{apiId}/integrations/{integrationId}", GetIntegration),
        (Method::PATCH, "/v2/apis/{apiId}/integrations/{integrationId}", UpdateIntegration),
        (Method::DELETE, "/v2/apis/{apiId}/integrations/{integrationId}", DeleteIntegration),
        (Method::POST, "/v2/apis/{apiId}/routes", CreateRoute),
        (Method::GET, "/v2/apis/{apiId}/routes", GetRoutes),
        (Method::GET, "/v2/apis/{apiId}/routes/{routeId}", GetRoute),
        (Method::PATCH, "/v2/apis/{apiId}/routes/{routeId}", UpdateRoute),
        (Method::DELETE, "/v2/apis/{apiId}/routes/{routeId}", DeleteRoute),
        (Method::DELETE, "/v2/apis/{apiId}/routes/{routeId}/requestparameters/{requestParameterKey}", DeleteRouteRequestParameter),
        (Method::POST, "/v2/apis/{apiId}/stages", CreateStage),
        (Method::GET, "/v2/apis/{apiId}/stages", GetStages),
        (Method::GET, "/v2/apis/{apiId}/stages/{stageName}", GetStage),
        (Method::PATCH, "/v2/apis/{apiId}/stages/{stageName}", UpdateStage),
        (Method::DELETE, "/v2/apis/{apiId}/stages/{stageName}", DeleteStage),
        (Method::DELETE, "/v2/apis/{apiId}/stages/{stageName}/accesslogsettings", DeleteAccessLogSettings),
        (Method::DELETE, "/v2/apis/{apiId}/stages/{stageName}/cache/authorizers", ResetAuthorizersCache),
        (Method::DELETE, "/v2/apis/{apiId}/stages/{stageName}/routesettings/{routeKey}", DeleteRouteSettings),
        (Method::POST, "/v2/domainnames", CreateDomainName),
        (Method::GET, "/v2/domainnames", GetDomainNames),
        (Method::GET, "/v2/domainnames/{domainName}", GetDomainName),
        (Method::PATCH, "/v2/domainnames/{domainName}", UpdateDomainName),
        (Method::DELETE, "/v2/domainnames/{domainName}", DeleteDomainName),
        (Method::POST, "/v2/domainnames/{domainName}/apimappings", CreateApiMapping),
        (Method::GET, "/v2/domainnames/{domainName}/apimappings", GetApiMappings),
        (Method::GET, "/v2/domainnames/{domainName}/apimappings/{apiMappingId}", GetApiMapping),
        (Method::PATCH, "/v2/domainnames/{domainName}/apimappings/{apiMappingId}", UpdateApiMapping),
        (Method::DELETE, "/v2/domainnames/{domainName}/apimappings/{apiMappingId}", DeleteApiMapping),
        (Method::GET, "/v2/tags/{resource-arn}", GetTags),
        (Method::POST, "/v2/tags/{resource-arn}", TagResource),
        (Method::DELETE, "/v2/tags/{resource-arn}", UntagResource),
    ];
    let absent = [
        ("/v2/apis/{apiId}/integrations/{integrationId}/integrationresponses", "Integration responses (WebSocket APIs)"),
        ("/v2/apis/{apiId}/integrations/{integrationId}/integrationresponses/{rest+}", "Integration responses (WebSocket APIs)"),
        ("/v2/apis/{apiId}/models", "Models (WebSocket APIs)"),
        ("/v2/apis/{apiId}/models/{rest+}", "Models (WebSocket APIs)"),
        ("/v2/apis/{apiId}/routes/{routeId}/routeresponses", "Route responses (WebSocket APIs)"),
        ("/v2/apis/{apiId}/routes/{routeId}/routeresponses/{rest+}", "Route responses (WebSocket APIs)"),
        ("/v2/domainnames/{domainName}/routingrules", "Routing rules"),
        ("/v2/domainnames/{domainName}/routingrules/{rest+}", "Routing rules"),
        ("/v2/vpclinks", "VPC links"),
        ("/v2/vpclinks/{rest+}", "VPC links"),
        ("/v2/portals", "Portals"),
        ("/v2/portals/{rest+}", "Portals"),
        ("/v2/portalproducts", "Portal products"),
        ("/v2/portalproducts/{rest+}", "Portal products"),
    ];
    for (path, what) in absent {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            rows.push((method, path, Absent(what)));
        }
    }
    rows
}

/// Runs an operation.
pub(crate) async fn dispatch(operation: Operation, call: Call) -> Result<Response, ApiError> {
    match operation {
        Operation::CreateApi => api::create(call).await,
        Operation::CreateApiMapping => mapping::create(call).await,
        Operation::CreateAuthorizer => authorizer::create(call).await,
        Operation::CreateDeployment => deployment::create(call).await,
        Operation::CreateDomainName => domain::create(call).await,
        Operation::CreateIntegration => integration::create(call).await,
        Operation::CreateRoute => route::create(call).await,
        Operation::CreateStage => stage::create(call).await,
        Operation::DeleteAccessLogSettings => stage::delete_access_log_settings(call).await,
        Operation::DeleteApi => api::delete(call).await,
        Operation::DeleteApiMapping => mapping::delete(call).await,
        Operation::DeleteAuthorizer => authorizer::delete(call).await,
        Operation::DeleteCorsConfiguration => api::delete_cors(call).await,
        Operation::DeleteDeployment => deployment::delete(call).await,
        Operation::DeleteDomainName => domain::delete(call).await,
        Operation::DeleteIntegration => integration::delete(call).await,
        Operation::DeleteRoute => route::delete(call).await,
        Operation::DeleteRouteRequestParameter => route::delete_request_parameter(call).await,
        Operation::DeleteRouteSettings => stage::delete_route_settings(call).await,
        Operation::DeleteStage => stage::delete(call).await,
        Operation::ExportApi => open_api::export(call).await,
        Operation::GetApi => api::get(call).await,
        Operation::GetApiMapping => mapping::get(call).await,
        Operation::GetApiMappings => mapping::list(call).await,
        Operation::GetApis => api::list(call).await,
        Operation::GetAuthorizer => authorizer::get(call).await,
        Operation::GetAuthorizers => authorizer::list(call).await,
        Operation::GetDeployment => deployment::get(call).await,
        Operation::GetDeployments => deployment::list(call).await,
        Operation::GetDomainName => domain::get(call).await,
        Operation::GetDomainNames => domain::list(call).await,
        Operation::GetIntegration => integration::get(call).await,
        Operation::GetIntegrations => integration::list(call).await,
        Operation::GetRoute => route::get(call).await,
        Operation::GetRoutes => route::list(call).await,
        Operation::GetStage => stage::get(call).await,
        Operation::GetStages => stage::list(call).await,
        Operation::GetTags => tags::get(call).await,
        Operation::ImportApi => open_api::import(call).await,
        Operation::ReimportApi => open_api::reimport(call).await,
        Operation::ResetAuthorizersCache => stage::reset_authorizers_cache(call).await,
        Operation::TagResource => tags::tag(call).await,
        Operation::UntagResource => tags::untag(call).await,
        Operation::UpdateApi => api::update(call).await,
        Operation::UpdateApiMapping => mapping::update(call).await,
        Operation::UpdateAuthorizer => authorizer::update(call).await,
        Operation::UpdateDeployment => deployment::update(call).await,
        Operation::UpdateDomainName => domain::update(call).await,
        Operation::UpdateIntegration => integration::update(call).await,
        Operation::UpdateRoute => route::update(call).await,
        Operation::UpdateStage => stage::update(call).await,
        Operation::Absent(what) => Err(error::not_available(what)),
    }
}

impl Inner {
    /// The next automatic deployment of an API.
    fn next_deployment(&self, held: &Held) -> AutoDeployment {
        AutoDeployment {
            id: self.new_id(6, |id| held.deployments.contains_key(id)),
            now: self.now(),
        }
    }

    /// Ends a change of what is deployed: deploys it where that happens by itself, and tells of it.
    async fn settle(&self, turn: &mut Turn<'_>) -> Result<(), ApiError> {
        let next = self.next_deployment(turn.held());
        turn.auto_deploy(&next).await.map_err(error::store)?;
        turn.notify();
        Ok(())
    }
}

fn ok(document: &impl Serialize) -> Response {
    json_response(StatusCode::OK, document)
}

fn created(document: &impl Serialize) -> Response {
    json_response(StatusCode::CREATED, document)
}

fn no_content() -> Response {
    empty_response(StatusCode::NO_CONTENT)
}

/// A member that must be there.
fn required<T>(member: &str, value: Option<T>) -> Result<T, ApiError> {
    value.ok_or_else(|| error::bad_request(format!("{member} is a required parameter")))
}

/// Reads a member of which an empty text means that there is none, apart from one that is not there at all.
fn clearable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.map(|text| Some(text).filter(|text| !text.is_empty())))
}
