//! `PutRuntimeManagementConfig` and its Get. Kept and shown: a machine has one version of each runtime, and updating
//! it is up to the machine.

use ephyra_wire::error::ApiError;
use ephyra_wire::rest::read_json;
use ephyra_wire::service::Response;
use ephyra_wire::validation::Violations;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ok;
use super::permission::Owner;
use crate::error;
use crate::lambda::Call;
use crate::name::{Named, Shape};
use crate::record::RuntimeUpdate;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Input {
    update_runtime_on: Option<String>,
    runtime_version_arn: Option<String>,
}

pub(super) async fn get(call: Call) -> Result<Response, ApiError> {
    let named = call.named(Shape::Read)?;
    let owner = find(&call, &named).await?;
    Ok(ok(&show(&call, &named, owner.attached().runtime_update.as_ref())))
}

pub(super) async fn put(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let named = call.named(Shape::Read)?;
    let input: Input = read_json(&call.request.body)?;
    let mut violations = Violations::default();
    match &input.update_runtime_on {
        Some(on) => violations.check_enum("updateRuntimeOn", on, &["Auto", "Manual", "FunctionUpdate"]),
        None => violations.add_null("updateRuntimeOn"),
    }
    if let Some(arn) = &input.runtime_version_arn {
        violations.check_length("runtimeVersionArn", arn, 26, 2048);
    }
    violations.finish()?;
    let on = input.update_runtime_on.unwrap_or_default();
    let is_manual = on == "Manual";
    if is_manual != input.runtime_version_arn.is_some() {
        return Err(error::invalid_parameter(if is_manual {
            "Runtime update mode Manual requires a RuntimeVersionArn."
        } else {
            "Only runtime update mode Manual takes a RuntimeVersionArn."
        }));
    }
    let _turn = inner.turn(&named.name).await;
    let mut owner = find(&call, &named).await?;
    if matches!(owner, Owner::Alias(..)) {
        return Err(error::invalid_parameter(
            "Aliases do not support this operation. Please specify a function or a version.",
        ));
    }
    let config = RuntimeUpdate {
        on,
        version_arn: input.runtime_version_arn,
    };
    owner.attached_mut().runtime_update = Some(config.clone());
    owner.touch();
    owner.write(&call).await?;
    Ok(ok(&show(&call, &named, Some(&config))))
}

async fn find(call: &Call, named: &Named) -> Result<Owner, ApiError> {
    let arn = named.arn(call.inner().place());
    Owner::find(call, named)
        .await?
        .ok_or_else(|| error::function_not_found(&arn))
}

fn show(call: &Call, named: &Named, config: Option<&RuntimeUpdate>) -> Value {
    json!({
        "UpdateRuntimeOn": config.map_or("Auto", |config| config.on.as_str()),
        "RuntimeVersionArn": config.and_then(|config| config.version_arn.as_ref()),
        "FunctionArn": named.qualified_arn(call.inner().place()),
    })
}
