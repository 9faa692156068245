//! CreateDeployment, GetDeployment, GetDeployments, UpdateDeployment, DeleteDeployment.

use ephyra_wire::error::ApiError;
use ephyra_wire::rest::read_json;
use ephyra_wire::service::Response;
use serde::Deserialize;

use super::page::Page;
use super::{created, no_content, ok};
use crate::api::check;
use crate::api::error::{self, bad_request, part_not_found, stage_not_found};
use crate::api::model::{Deployment, Stage};
use crate::api::service::Call;

/// What CreateDeployment and UpdateDeployment take.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Input {
    description: Option<String>,
    stage_name: Option<String>,
}

pub(super) async fn create(call: Call) -> Result<Response, ApiError> {
    let input: Input = read_json(&call.request.body)?;
    check::description(input.description.as_deref())?;
    let mut turn = call.turn().await?;
    let held = turn.held();
    if held.deployments.len() >= check::DEPLOYMENTS {
        return Err(error::too_many("Deployments", "API", check::DEPLOYMENTS));
    }
    if held.routes.is_empty() {
        return Err(bad_request("Unable to deploy API because no routes exist in this API"));
    }
    let stage = input.stage_name.filter(|name| !name.is_empty()).map(|name| {
        let stage = held.stages.get(&name).ok_or_else(stage_not_found)?;
        if stage.auto_deploy {
            return Err(bad_request(
                "Deployment ID cannot be set on stage with AutoDeploy enabled",
            ));
        }
        Ok(Stage::clone(stage))
    });
    let stage = stage.transpose()?;
    let next = call.inner.next_deployment(held);
    let deployment = Deployment {
        deployment_id: next.id.clone(),
        description: input.description,
        created_date: next.now,
        ..Deployment::default()
    };
    turn.freeze(deployment.clone()).await.map_err(error::store)?;
    if let Some(mut stage) = stage {
        stage.deployment_id = Some(next.id);
        stage.last_updated_date = next.now;
        turn.put_stage(stage).await.map_err(error::store)?;
    }
    turn.notify();
    Ok(created(&deployment))
}

pub(super) async fn get(call: Call) -> Result<Response, ApiError> {
    let turn = call.turn().await?;
    let id = call.labels.get("deploymentId");
    let record = turn.held().deployments.get(id).ok_or_else(|| not_found(id))?;
    Ok(ok(&record.deployment))
}

pub(super) async fn list(call: Call) -> Result<Response, ApiError> {
    let page = Page::of(&call.request)?;
    let turn = call.turn().await?;
    let deployments = turn.held().deployments.iter();
    let deployments = deployments.map(|(id, record)| (id.clone(), &record.deployment));
    Ok(ok(&page.cut(deployments)))
}

pub(super) async fn update(call: Call) -> Result<Response, ApiError> {
    let input: Input = read_json(&call.request.body)?;
    check::description(input.description.as_deref())?;
    let mut turn = call.turn().await?;
    let id = call.labels.get("deploymentId");
    let record = turn.held().deployments.get(id).ok_or_else(|| not_found(id))?;
    let mut record = record.as_ref().clone();
    if input.description.is_some() {
        record.deployment.description = input.description;
    }
    let answer = ok(&record.deployment);
    turn.put_deployment(record).await.map_err(error::store)?;
    Ok(answer)
}

pub(super) async fn delete(call: Call) -> Result<Response, ApiError> {
    let mut turn = call.turn().await?;
    let id = call.labels.get("deploymentId");
    let held = turn.held();
    if !held.deployments.contains_key(id) {
        return Err(not_found(id));
    }
    if held.is_served(id) {
        return Err(bad_request(
            "Active stages pointing to this deployment must be moved or deleted",
        ));
    }
    turn.delete_deployment(id).await.map_err(error::store)?;
    Ok(no_content())
}

fn not_found(id: &str) -> ApiError {
    part_not_found("Deployment", id)
}
