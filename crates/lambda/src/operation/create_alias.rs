use ephyra_core::id::{AliasName, RequestId};
use ephyra_wire::error::ApiError;
use ephyra_wire::rest::read_json;
use ephyra_wire::service::Response;
use ephyra_wire::validation::Violations;
use serde::Deserialize;

use super::created;
use super::routing::{self, RoutingInput};
use crate::error;
use crate::lambda::Call;
use crate::name::Shape;
use crate::record::{AliasRecord, Attached};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Input {
    name: Option<String>,
    function_version: Option<String>,
    description: Option<String>,
    routing_config: Option<RoutingInput>,
}

pub(super) async fn run(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let named = call.named(Shape::Write)?;
    let input: Input = read_json(&call.request.body)?;
    let mut violations = Violations::default();
    match &input.name {
        Some(name) => routing::check_name(&mut violations, name),
        None => violations.add_null("name"),
    }
    match &input.function_version {
        Some(version) => routing::check_version(&mut violations, version),
        None => violations.add_null("functionVersion"),
    }
    if let Some(description) = &input.description {
        violations.check_length("description", description, 0, 256);
    }
    let routing = input.routing_config.unwrap_or_default();
    routing.check(&mut violations);
    violations.finish()?;
    let name = input.name.unwrap_or_default();
    let version = input.function_version.unwrap_or_default();

    let _turn = inner.turn(&named.name).await;
    let arn = named.unqualified_arn(inner.place());
    let function = call.existing(&named, &format!("{arn}:{version}")).await?.record;
    let alias: AliasName = name
        .parse()
        .map_err(|_| error::invalid_parameter(format!("{name} cannot be the name of an alias.")))?;
    let version = routing::find_version(inner, &function, &arn, &version).await?;
    let routing = routing.resolve(inner, &function, version).await?;
    if inner.alias(&function.name, &alias).await?.is_some() {
        return Err(error::conflict(format!("Alias already exists: {arn}:{alias}")));
    }
    let record = AliasRecord {
        name: alias,
        description: input.description.unwrap_or_default(),
        version,
        routing,
        revision_id: RequestId::new(),
        attached: Attached::default(),
    };
    inner
        .ledger
        .create_alias(&function.name, &record)
        .await
        .map_err(error::store)?;
    inner.cache.forget(function.name.as_str());
    Ok(created(&record.describe(&function.name, inner.place())))
}
