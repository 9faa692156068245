//! CreateStage, GetStage, GetStages, UpdateStage, DeleteStage, DeleteRouteSettings, DeleteAccessLogSettings,
//! ResetAuthorizersCache.

use std::collections::BTreeMap;

use ephyra_wire::error::ApiError;
use ephyra_wire::rest::read_json;
use ephyra_wire::service::Response;
use serde::Deserialize;

use super::page::Page;
use super::{created, no_content, ok, required};
use crate::api::check;
use crate::api::error::{self, bad_request, conflict, not_found, part_not_found, quoted, stage_not_found};
use crate::api::model::{AccessLogSettings, RouteSettings, Stage};
use crate::api::service::Call;
use crate::api::store::{Held, Turn};

/// What CreateStage and UpdateStage take.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Input {
    stage_name: Option<String>,
    description: Option<String>,
    deployment_id: Option<String>,
    auto_deploy: Option<bool>,
    stage_variables: Option<BTreeMap<String, String>>,
    default_route_settings: Option<RouteSettings>,
    route_settings: Option<BTreeMap<String, RouteSettings>>,
    access_log_settings: Option<AccessLogSettings>,
    client_certificate_id: Option<String>,
    tags: Option<BTreeMap<String, String>>,
}

/// A stage without anything.
pub(super) fn empty() -> Stage {
    Stage {
        default_route_settings: RouteSettings {
            detailed_metrics_enabled: Some(false),
            ..RouteSettings::default()
        },
        ..Stage::default()
    }
}

pub(super) async fn create(call: Call) -> Result<Response, ApiError> {
    let mut input: Input = read_json(&call.request.body)?;
    let name = required("StageName", input.stage_name.take())?;
    check::stage_name(&name)?;
    let mut turn = call.turn().await?;
    let held = turn.held();
    if held.stages.contains_key(&name) {
        return Err(conflict("Stage already exists"));
    }
    if held.stages.len() >= check::STAGES {
        return Err(error::too_many("Stages", "API", check::STAGES));
    }
    let mut stage = Stage {
        stage_name: name,
        tags: input.tags.take().unwrap_or_default(),
        created_date: call.inner.now(),
        ..empty()
    };
    apply(held, &mut stage, &mut input)?;
    put(&call, &mut turn, stage, false, created).await
}

/// Takes over what was given, and checks it.
fn apply(held: &Held, stage: &mut Stage, input: &mut Input) -> Result<(), ApiError> {
    if let Some(text) = input.description.take() {
        stage.description = Some(text);
    }
    if let Some(is_automatic) = input.auto_deploy {
        stage.auto_deploy = is_automatic;
    }
    if let Some(id) = input.deployment_id.take().filter(|id| !id.is_empty()) {
        if stage.auto_deploy && stage.deployment_id.as_ref() != Some(&id) {
            return Err(bad_request(
                "Deployment ID cannot be set on stage with AutoDeploy enabled",
            ));
        }
        if !held.deployments.contains_key(&id) {
            return Err(part_not_found("Deployment", &id));
        }
        stage.deployment_id = Some(id);
    }
    if let Some(variables) = input.stage_variables.take() {
        super::integration::merge(&mut stage.stage_variables, variables);
    }
    if let Some(settings) = input.default_route_settings.take() {
        stage.default_route_settings = settings;
        stage
            .default_route_settings
            .detailed_metrics_enabled
            .get_or_insert(false);
    }
    for (key, settings) in input.route_settings.take().unwrap_or_default() {
        if !held.keys.contains_key(&key) {
            return Err(not_found(format!(
                "Unable to find Route by key {} within the provided RouteSettings",
                quoted(&key)
            )));
        }
        stage.route_settings.insert(key, settings);
    }
    if let Some(log) = input.access_log_settings.take() {
        // An empty one takes it away.
        stage.access_log_settings = Some(log).filter(|log| *log != AccessLogSettings::default());
    }
    if let Some(id) = input.client_certificate_id.take() {
        stage.client_certificate_id = Some(id).filter(|id| !id.is_empty());
    }
    check::stage(stage)
}

/// Writes a stage that was checked. `was_automatic`: it has deployed automatically so far.
async fn put(
    call: &Call,
    turn: &mut Turn<'_>,
    mut stage: Stage,
    was_automatic: bool,
    answer: fn(&Stage) -> Response,
) -> Result<Response, ApiError> {
    let name = stage.stage_name.clone();
    stage.last_updated_date = call.inner.now();
    let begins = stage.auto_deploy && !was_automatic;
    if !stage.auto_deploy {
        // What it serves has to stay from now on.
        if let Some(id) = &stage.deployment_id {
            turn.keep_deployment(id).await.map_err(error::store)?;
        }
    }
    turn.put_stage(stage).await.map_err(error::store)?;
    if begins {
        call.inner.settle(turn).await?;
    } else {
        turn.notify();
    }
    let stage = turn.held().stages.get(&name).ok_or_else(stage_not_found)?;
    Ok(answer(stage))
}

/// The stage that the path names.
fn find(call: &Call, held: &Held) -> Result<Stage, ApiError> {
    let stage = held.stages.get(call.labels.get("stageName"));
    stage.map(|stage| Stage::clone(stage)).ok_or_else(stage_not_found)
}

pub(super) async fn get(call: Call) -> Result<Response, ApiError> {
    let turn = call.turn().await?;
    Ok(ok(&find(&call, turn.held())?))
}

pub(super) async fn list(call: Call) -> Result<Response, ApiError> {
    let page = Page::of(&call.request)?;
    let turn = call.turn().await?;
    let stages = turn
        .held()
        .stages
        .iter()
        .map(|(name, stage)| (name.clone(), stage.as_ref()));
    Ok(ok(&page.cut(stages)))
}

pub(super) async fn update(call: Call) -> Result<Response, ApiError> {
    let mut input: Input = read_json(&call.request.body)?;
    let mut turn = call.turn().await?;
    let mut stage = find(&call, turn.held())?;
    let was_automatic = stage.auto_deploy;
    apply(turn.held(), &mut stage, &mut input)?;
    put(&call, &mut turn, stage, was_automatic, ok).await
}

pub(super) async fn delete(call: Call) -> Result<Response, ApiError> {
    let mut turn = call.turn().await?;
    let stage = find(&call, turn.held())?;
    let api_id = &turn.held().record.api.api_id;
    super::mapping::refuse_mapped(&call.inner, api_id, Some(&stage.stage_name)).await?;
    turn.delete_stage(&stage.stage_name).await.map_err(error::store)?;
    turn.notify();
    Ok(no_content())
}

pub(super) async fn delete_route_settings(call: Call) -> Result<Response, ApiError> {
    let mut turn = call.turn().await?;
    let mut stage = find(&call, turn.held())?;
    let key = call.labels.get("routeKey");
    if stage.route_settings.remove(key).is_none() {
        return Err(not_found(format!(
            "Unable to find Route by key {} within the provided RouteSettings",
            quoted(key)
        )));
    }
    let is_automatic = stage.auto_deploy;
    put(&call, &mut turn, stage, is_automatic, |_| no_content()).await
}

pub(super) async fn delete_access_log_settings(call: Call) -> Result<Response, ApiError> {
    let mut turn = call.turn().await?;
    let mut stage = find(&call, turn.held())?;
    stage.access_log_settings = None;
    let is_automatic = stage.auto_deploy;
    put(&call, &mut turn, stage, is_automatic, |_| no_content()).await
}

/// What authorizers' functions have answered is forgotten with everything else that was made of the API.
pub(super) async fn reset_authorizers_cache(call: Call) -> Result<Response, ApiError> {
    let turn = call.turn().await?;
    find(&call, turn.held())?;
    turn.notify();
    Ok(no_content())
}
