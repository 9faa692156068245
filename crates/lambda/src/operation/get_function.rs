use ephyra_wire::error::ApiError;
use ephyra_wire::service::Response;
use serde_json::{Map, Value, json};

use super::ok;
use crate::error;
use crate::lambda::Call;
use crate::name::Shape;
use crate::record::{Detail, FunctionRecord};

/// `GetFunction`: the configuration, where the code can be downloaded, tags and reserved concurrency.
pub(super) async fn run(call: Call) -> Result<Response, ApiError> {
    let (function, configuration, location) = find(&call).await?;
    let mut document = json!({
        "Configuration": configuration,
        "Code": { "RepositoryType": "S3", "Location": location },
    });
    if !function.tags.is_empty() {
        document["Tags"] = json!(function.tags);
    }
    if let Some(reserved) = function.reserved {
        document["Concurrency"] = json!({ "ReservedConcurrentExecutions": reserved });
    }
    Ok(ok(&document))
}

/// `GetFunctionConfiguration`.
pub(super) async fn run_configuration(call: Call) -> Result<Response, ApiError> {
    let (_, configuration, _) = find(&call).await?;
    Ok(ok(&configuration))
}

async fn find(call: &Call) -> Result<(FunctionRecord, Map<String, Value>, String), ApiError> {
    let inner = call.inner();
    let named = call.named(Shape::Read)?;
    let arn = named.arn(inner.place());
    let function = call.existing(&named, &arn).await?.record;
    let missing = || error::function_not_found(&arn);
    let qualifier = named.parsed_qualifier().map_err(|()| missing())?;
    let version = inner
        .qualified(&function, qualifier.as_ref())
        .await
        .map_err(error::store)?
        .ok_or_else(missing)?;
    let configuration = version.describe(&function.name, &arn, inner.place(), Detail::Full);
    let location = inner.link(version.code.digest);
    Ok((function, configuration, location))
}
