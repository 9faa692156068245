//! CreateApi, GetApi, GetApis, UpdateApi, DeleteApi, DeleteCorsConfiguration.

use std::collections::BTreeMap;

use ephyra_wire::error::ApiError;
use ephyra_wire::rest::read_json;
use ephyra_wire::service::Response;
use serde::Deserialize;
use serde_json::Value;

use super::page::Page;
use super::{clearable, created, integration, no_content, ok, required};
use crate::api::check;
use crate::api::error::{self, bad_request, not_available};
use crate::api::model::{Api, Cors, Integration, ProtocolType, Route, Stage};
use crate::api::service::{Call, Inner};
use crate::api::store::{ApiRecord, Held, Parts, Turn, serve};

/// The expressions that HTTP APIs have.
const ROUTE_SELECTION: &str = "$request.method $request.path";
const API_KEY_SELECTION: &str = "$request.header.x-api-key";

/// What CreateApi and UpdateApi take.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Input {
    name: Option<String>,
    protocol_type: Option<String>,
    description: Option<String>,
    version: Option<String>,
    cors_configuration: Option<Cors>,
    disable_execute_api_endpoint: Option<bool>,
    ip_address_type: Option<String>,
    route_selection_expression: Option<String>,
    api_key_selection_expression: Option<String>,
    tags: Option<BTreeMap<String, String>>,
    target: Option<String>,
    route_key: Option<String>,
    #[serde(deserialize_with = "clearable")]
    credentials_arn: Option<Option<String>>,
}

pub(super) async fn create(call: Call) -> Result<Response, ApiError> {
    let mut input: Input = read_json(&call.request.body)?;
    let inner = &call.inner;
    match required("ProtocolType", input.protocol_type.take())?.as_str() {
        "HTTP" => {}
        "WEBSOCKET" => return Err(not_available("WebSocket APIs (ProtocolType WEBSOCKET)")),
        _ => {
            return Err(bad_request(
                "Invalid protocol specified. Must be one of [HTTP, WEBSOCKET]",
            ));
        }
    }
    let mut api = inner.new_api(required("Name", input.name.take())?);
    let (target, route_key) = (input.target.take(), input.route_key.take());
    let credentials = input.credentials_arn.take().flatten();
    api.tags = input.tags.take().unwrap_or_default();
    apply(&mut api, input);
    check_api(&api)?;
    let (parts, stage) = match target {
        None if route_key.is_some() || credentials.is_some() => {
            return Err(bad_request("RouteKey and CredentialsArn need a Target"));
        }
        None => (Parts::default(), None),
        Some(target) => {
            let (parts, stage) = quick(inner, target, route_key, credentials)?;
            (parts, Some(stage))
        }
    };
    inner.create_api(&mut api, parts, stage).await?;
    Ok(created(&describe(inner, &api)))
}

impl Inner {
    /// An API with nothing but a name.
    pub(super) fn new_api(&self, name: String) -> Api {
        Api {
            api_id: String::new(),
            name,
            protocol_type: ProtocolType::Http,
            route_selection_expression: ROUTE_SELECTION.to_owned(),
            api_key_selection_expression: API_KEY_SELECTION.to_owned(),
            description: None,
            version: None,
            cors_configuration: None,
            disable_execute_api_endpoint: false,
            ip_address_type: "ipv4".to_owned(),
            import_info: Vec::new(),
            warnings: Vec::new(),
            tags: BTreeMap::new(),
            created_date: self.now(),
        }
    }

    /// Makes an API that was checked, and gives it its id.
    pub(super) async fn create_api(&self, api: &mut Api, parts: Parts, stage: Option<Stage>) -> Result<(), ApiError> {
        let _making = self.store.making.lock().await;
        let known = self.store.apis(None, check::APIS).await.map_err(error::store)?;
        if known.len() >= check::APIS {
            return Err(error::too_many("APIs", "account", check::APIS));
        }
        api.api_id = self.new_id(10, |id| known.iter().any(|record| record.api.api_id == id));
        let record = ApiRecord::new(api.clone());
        self.store.create(record, parts, stage).await.map_err(error::store)
    }
}

/// An integration, the route to it and the stage that AWS makes of a target.
fn quick(
    inner: &Inner,
    target: String,
    route_key: Option<String>,
    credentials: Option<String>,
) -> Result<(Parts, Stage), ApiError> {
    let mut made = quick_integration(inner.new_id(7, |_| false), target);
    made.credentials_arn = credentials;
    check::integration(&made)?;
    let route = Route {
        route_id: inner.new_id(7, |_| false),
        route_key: route_key.unwrap_or_else(|| "$default".to_owned()),
        target: Some(format!("integrations/{}", made.integration_id)),
        api_gateway_managed: true,
        ..Route::default()
    };
    check::route(&route, |_| true, |_| None)?;
    let now = inner.now();
    let mut stage = Stage {
        stage_name: "$default".to_owned(),
        auto_deploy: true,
        api_gateway_managed: true,
        created_date: now,
        ..super::stage::empty()
    };
    serve(
        &mut stage,
        &inner.next_deployment(&Held::new(ApiRecord::new(inner.new_api(String::new())))),
    );
    let parts = Parts {
        routes: vec![route],
        integrations: vec![made],
        authorizers: Vec::new(),
    };
    Ok((parts, stage))
}

/// The integration that AWS makes of a target: a function's ARN or a URL.
fn quick_integration(id: String, target: String) -> Integration {
    let is_function = target.starts_with("arn:");
    Integration {
        api_gateway_managed: true,
        ..integration::new(id, is_function, target)
    }
}

/// Takes over what was given, but for what leads to other records.
fn apply(api: &mut Api, input: Input) {
    if let Some(name) = input.name {
        api.name = name;
    }
    api.description = input.description.or_else(|| api.description.take());
    api.version = input.version.or_else(|| api.version.take());
    api.cors_configuration = input.cors_configuration.or_else(|| api.cors_configuration.take());
    if let Some(disable) = input.disable_execute_api_endpoint {
        api.disable_execute_api_endpoint = disable;
    }
    if let Some(kind) = input.ip_address_type {
        api.ip_address_type = kind;
    }
    if let Some(expression) = input.route_selection_expression {
        api.route_selection_expression = expression;
    }
    if let Some(expression) = input.api_key_selection_expression {
        api.api_key_selection_expression = expression;
    }
}

/// Checks an API as it will be.
pub(super) fn check_api(api: &Api) -> Result<(), ApiError> {
    check::length("name", &api.name, 1, 128)?;
    check::description(api.description.as_deref())?;
    check::at_most("version", api.version.as_deref(), 64)?;
    check::length("routeSelectionExpression", &api.route_selection_expression, 1, 128)?;
    check::length("apiKeySelectionExpression", &api.api_key_selection_expression, 1, 128)?;
    check::ip_address_type(&api.ip_address_type)?;
    check::tags(&api.tags)?;
    api.cors_configuration.as_ref().map_or(Ok(()), check::cors)
}

/// An API as AWS shows it.
pub(super) fn describe(inner: &Inner, api: &Api) -> Value {
    let mut document = serde_json::to_value(api).unwrap_or_default();
    document["apiEndpoint"] = Value::String(inner.options.endpoint(&api.api_id));
    document
}

pub(super) async fn get(call: Call) -> Result<Response, ApiError> {
    let turn = call.turn().await?;
    Ok(ok(&describe(&call.inner, &turn.held().record.api)))
}

pub(super) async fn list(call: Call) -> Result<Response, ApiError> {
    let page = Page::of(&call.request)?;
    let after = page.after.as_deref();
    let records = call.inner.store.apis(after, page.limit + 1).await;
    let entries = records.map_err(error::store)?.into_iter().map(|record| {
        let id = record.api.api_id.clone();
        (id, describe(&call.inner, &record.api))
    });
    Ok(ok(&page.cut(entries)))
}

pub(super) async fn update(call: Call) -> Result<Response, ApiError> {
    let mut input: Input = read_json(&call.request.body)?;
    let inner = &call.inner;
    let mut turn = call.turn().await?;
    let before = turn.held().record.clone();
    let mut record = before.clone();
    let (target, route_key) = (input.target.take(), input.route_key.take());
    let credentials = input.credentials_arn.take();
    apply(&mut record.api, input);
    check_api(&record.api)?;
    let is_changed_inside = change_quick(&mut turn, target, route_key, credentials).await?;
    let api = record.api.clone();
    let is_deployed = is_changed_inside
        || before.api.cors_configuration != api.cors_configuration
        || before.api.disable_execute_api_endpoint != api.disable_execute_api_endpoint;
    turn.put_api(record).await.map_err(error::store)?;
    if is_deployed {
        inner.settle(&mut turn).await?;
    } else {
        turn.notify();
    }
    Ok(ok(&describe(inner, &api)))
}

/// Changes what an API was made of by its target. Says whether it did.
async fn change_quick(
    turn: &mut Turn<'_>,
    target: Option<String>,
    route_key: Option<String>,
    credentials: Option<Option<String>>,
) -> Result<bool, ApiError> {
    if target.is_none() && route_key.is_none() && credentials.is_none() {
        return Ok(false);
    }
    let held = turn.held();
    let route = held.routes.values().find(|route| route.api_gateway_managed);
    let made = held.integrations.values().find(|one| one.api_gateway_managed);
    let (Some(route), Some(made)) = (route.cloned(), made.cloned()) else {
        return Err(bad_request(
            "Target, RouteKey and CredentialsArn can only be changed of an API that was created with a Target",
        ));
    };
    let mut changed = Integration::clone(&made);
    if let Some(target) = target {
        changed = Integration {
            credentials_arn: made.credentials_arn.clone(),
            ..quick_integration(made.integration_id.clone(), target)
        };
    }
    if let Some(credentials) = credentials {
        changed.credentials_arn = credentials;
    }
    check::integration(&changed)?;
    let mut led = Route::clone(&route);
    if let Some(key) = route_key {
        led.route_key = key;
    }
    super::route::check(held, &led)?;
    if changed != *made {
        turn.put_integration(changed).await.map_err(error::store)?;
    }
    if led != *route {
        turn.put_route(led).await.map_err(error::store)?;
    }
    Ok(true)
}

pub(super) async fn delete(call: Call) -> Result<Response, ApiError> {
    let turn = call.turn().await?;
    let api_id = &turn.held().record.api.api_id;
    super::mapping::refuse_mapped(&call.inner, api_id, None).await?;
    turn.delete_api().await.map_err(error::store)?;
    Ok(no_content())
}

pub(super) async fn delete_cors(call: Call) -> Result<Response, ApiError> {
    let mut turn = call.turn().await?;
    let mut record = turn.held().record.clone();
    if record.api.cors_configuration.take().is_some() {
        turn.put_api(record).await.map_err(error::store)?;
        call.inner.settle(&mut turn).await?;
    }
    Ok(no_content())
}
