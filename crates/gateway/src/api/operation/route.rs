//! CreateRoute, GetRoute, GetRoutes, UpdateRoute, DeleteRoute, DeleteRouteRequestParameter.

use std::collections::BTreeMap;

use ephyra_wire::error::ApiError;
use ephyra_wire::rest::read_json;
use ephyra_wire::service::Response;
use serde::Deserialize;
use serde_json::Value;

use super::page::Page;
use super::{clearable, created, no_content, ok, required};
use crate::api::check;
use crate::api::error::{self, bad_request, conflict, part_not_found, quoted};
use crate::api::model::{AuthorizationType, Route};
use crate::api::service::Call;
use crate::api::store::Held;

/// What CreateRoute and UpdateRoute take.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Input {
    route_key: Option<String>,
    #[serde(deserialize_with = "clearable")]
    target: Option<Option<String>>,
    authorization_type: Option<String>,
    #[serde(deserialize_with = "clearable")]
    authorizer_id: Option<Option<String>>,
    authorization_scopes: Option<Vec<String>>,
    #[serde(deserialize_with = "clearable")]
    operation_name: Option<Option<String>>,
    api_key_required: Option<bool>,
    model_selection_expression: Option<String>,
    request_models: Option<BTreeMap<String, Value>>,
    request_parameters: Option<BTreeMap<String, Value>>,
    route_response_selection_expression: Option<String>,
}

pub(super) async fn create(call: Call) -> Result<Response, ApiError> {
    let input: Input = read_json(&call.request.body)?;
    let mut turn = call.turn().await?;
    let held = turn.held();
    if held.routes.len() >= check::ROUTES {
        return Err(error::too_many("Routes", "API", check::ROUTES));
    }
    required("RouteKey", input.route_key.as_ref())?;
    let mut route = Route {
        route_id: call.inner.new_id(7, |id| held.routes.contains_key(id)),
        ..Route::default()
    };
    apply(&mut route, input)?;
    self::check(held, &route)?;
    let answer = created(&route);
    turn.put_route(route).await.map_err(error::store)?;
    call.inner.settle(&mut turn).await?;
    Ok(answer)
}

fn apply(route: &mut Route, input: Input) -> Result<(), ApiError> {
    let of_websockets = [
        ("ApiKeyRequired", input.api_key_required == Some(true)),
        ("ModelSelectionExpression", is_given(&input.model_selection_expression)),
        (
            "RequestModels",
            input.request_models.is_some_and(|models| !models.is_empty()),
        ),
        (
            "RequestParameters",
            input
                .request_parameters
                .is_some_and(|parameters| !parameters.is_empty()),
        ),
        (
            "RouteResponseSelectionExpression",
            is_given(&input.route_response_selection_expression),
        ),
    ];
    if let Some((member, _)) = of_websockets.iter().find(|(_, is_given)| *is_given) {
        return Err(bad_request(format!(
            "{member} is not currently supported for HTTP APIs"
        )));
    }
    if let Some(key) = input.route_key {
        if route.api_gateway_managed && key != route.route_key {
            return Err(bad_request(
                "The key of a route that is managed by API Gateway is changed by UpdateApi",
            ));
        }
        route.route_key = key;
    }
    if let Some(target) = input.target {
        route.target = target;
    }
    if let Some(name) = input.operation_name {
        route.operation_name = name;
    }
    if let Some(kind) = input.authorization_type {
        route.authorization_type = match kind.as_str() {
            "NONE" => AuthorizationType::None,
            "AWS_IAM" => AuthorizationType::AwsIam,
            "CUSTOM" => AuthorizationType::Custom,
            "JWT" => AuthorizationType::Jwt,
            _ => {
                return Err(bad_request(
                    "Invalid authorization type specified. Must be one of [NONE, AWS_IAM, CUSTOM, JWT]",
                ));
            }
        };
        // Another kind of route has no use for what belongs to the old one.
        if route.authorization_type != AuthorizationType::Jwt {
            route.authorization_scopes.clear();
        }
        if matches!(
            route.authorization_type,
            AuthorizationType::None | AuthorizationType::AwsIam
        ) {
            route.authorizer_id = None;
        }
    }
    if let Some(id) = input.authorizer_id {
        route.authorizer_id = id;
    }
    if let Some(scopes) = input.authorization_scopes {
        route.authorization_scopes = scopes;
    }
    Ok(())
}

fn is_given(text: &Option<String>) -> bool {
    text.as_deref().is_some_and(|text| !text.is_empty())
}

/// Checks a route as it will be among the others of its API.
pub(super) fn check(held: &Held, route: &Route) -> Result<(), ApiError> {
    check::route(
        route,
        |id| held.integrations.contains_key(id),
        |id| held.authorizers.get(id).map(|authorizer| authorizer.authorizer_type),
    )?;
    match held.keys.get(&route.route_key) {
        Some(id) if *id != route.route_id => Err(conflict(format!(
            "Route with key {} already exists for this API",
            quoted(&route.route_key)
        ))),
        _ => Ok(()),
    }
}

pub(super) async fn get(call: Call) -> Result<Response, ApiError> {
    let turn = call.turn().await?;
    let id = call.labels.get("routeId");
    let route = turn.held().routes.get(id).ok_or_else(|| not_found(id))?;
    Ok(ok(route.as_ref()))
}

pub(super) async fn list(call: Call) -> Result<Response, ApiError> {
    let page = Page::of(&call.request)?;
    let turn = call.turn().await?;
    let routes = turn
        .held()
        .routes
        .iter()
        .map(|(id, route)| (id.clone(), route.as_ref()));
    Ok(ok(&page.cut(routes)))
}

pub(super) async fn update(call: Call) -> Result<Response, ApiError> {
    let input: Input = read_json(&call.request.body)?;
    let mut turn = call.turn().await?;
    let id = call.labels.get("routeId");
    let held = turn.held();
    let mut route = Route::clone(held.routes.get(id).ok_or_else(|| not_found(id))?);
    apply(&mut route, input)?;
    self::check(held, &route)?;
    let answer = ok(&route);
    turn.put_route(route).await.map_err(error::store)?;
    call.inner.settle(&mut turn).await?;
    Ok(answer)
}

pub(super) async fn delete(call: Call) -> Result<Response, ApiError> {
    let mut turn = call.turn().await?;
    let id = call.labels.get("routeId");
    if !turn.held().routes.contains_key(id) {
        return Err(not_found(id));
    }
    turn.delete_route(id).await.map_err(error::store)?;
    call.inner.settle(&mut turn).await?;
    Ok(no_content())
}

/// Routes of HTTP APIs have no request parameters, so that none is ever found.
pub(super) async fn delete_request_parameter(call: Call) -> Result<Response, ApiError> {
    let mut turn = call.turn().await?;
    let id = call.labels.get("routeId");
    let mut route = Route::clone(turn.held().routes.get(id).ok_or_else(|| not_found(id))?);
    let key = call.labels.get("requestParameterKey");
    if route.request_parameters.remove(key).is_none() {
        return Err(part_not_found("RequestParameter", key));
    }
    turn.put_route(route).await.map_err(error::store)?;
    call.inner.settle(&mut turn).await?;
    Ok(no_content())
}

fn not_found(id: &str) -> ApiError {
    part_not_found("Route", id)
}
