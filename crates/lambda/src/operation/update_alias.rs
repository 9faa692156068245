use ephyra_core::id::{FunctionName, RequestId, Version};
use ephyra_wire::error::ApiError;
use ephyra_wire::rest::read_json;
use ephyra_wire::service::Response;
use ephyra_wire::validation::Violations;
use serde::Deserialize;

use super::ok;
use super::routing::{self, RoutingInput};
use crate::error;
use crate::lambda::{Call, Lambda};
use crate::name::Shape;
use crate::record::AliasRecord;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Input {
    function_version: Option<String>,
    description: Option<String>,
    routing_config: Option<RoutingInput>,
    revision_id: Option<String>,
}

pub(super) async fn run(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let named = call.named(Shape::Write)?;
    let input: Input = read_json(&call.request.body)?;
    let name = call.labels.get("Name");
    let mut violations = Violations::default();
    routing::check_name(&mut violations, name);
    if let Some(version) = &input.function_version {
        routing::check_version(&mut violations, version);
    }
    if let Some(description) = &input.description {
        violations.check_length("description", description, 0, 256);
    }
    if let Some(routing) = &input.routing_config {
        routing.check(&mut violations);
    }
    violations.finish()?;

    let _turn = inner.turn(&named.name).await;
    let arn = named.unqualified_arn(inner.place());
    let missing = || error::not_found(format!("Alias not found: {arn}:{name}"));
    let function = call.existing(&named, &arn).await?.record;
    let mut alias = inner
        .alias(&function.name, &name.parse().map_err(|_| missing())?)
        .await?
        .ok_or_else(missing)?;
    let record = &mut alias.record;
    if input
        .revision_id
        .is_some_and(|wanted| wanted != record.revision_id.to_string())
    {
        return Err(error::precondition_failed("GetFunction/GetAlias"));
    }
    let before = record.clone();
    if let Some(version) = &input.function_version {
        record.version = routing::find_version(inner, &function, &arn, version).await?;
    }
    if let Some(description) = input.description {
        record.description = description;
    }
    if let Some(routing) = &input.routing_config {
        record.routing = routing.resolve(inner, &function, record.version).await?;
    } else if record
        .routing
        .is_some_and(|routing| record.version == Version::Number(routing.version))
    {
        // The version it now points at wholly was the second one before.
        record.routing = None;
    }
    record.revision_id = RequestId::new();
    inner
        .ledger
        .update_alias(&function.name, &alias)
        .await
        .map_err(error::store)?;
    inner.cache.forget(function.name.as_str());
    move_provisioned(&call.lambda, &function.name, &before, &alias.record).await?;
    Ok(ok(&alias.record.describe(&function.name, inner.place())))
}

/// Starts the provisioned environments of the version that is pointed at now, and lets go of those before.
async fn move_provisioned(
    lambda: &Lambda,
    function: &FunctionName,
    before: &AliasRecord,
    now: &AliasRecord,
) -> Result<(), ApiError> {
    let Some(provisioned) = now.attached.provisioned.filter(|_| before.version != now.version) else {
        return Ok(());
    };
    for (version, count) in [(now.version, provisioned.count), (before.version, 0)] {
        if let Version::Number(number) = version
            && let Some(version) = lambda.inner.version(function, number).await?
        {
            lambda.provision(function, &version.record, count);
        }
    }
    Ok(())
}
