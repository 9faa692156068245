use ephyra_core::id::{AliasName, Version};
use ephyra_wire::error::ApiError;
use ephyra_wire::service::Response;
use ephyra_wire::validation::Violations;

use super::{no_content, routing};
use crate::error;
use crate::lambda::Call;
use crate::name::Shape;

/// Deletes an alias with all that is attached to it; one that is not there is deleted already.
pub(super) async fn run(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let named = call.named(Shape::Write)?;
    let text = call.labels.get("Name");
    let mut violations = Violations::default();
    routing::check_name(&mut violations, text);
    violations.finish()?;
    let _turn = inner.turn(&named.name).await;
    let function = call
        .existing(&named, &named.unqualified_arn(inner.place()))
        .await?
        .record;
    let Ok(name) = text.parse::<AliasName>() else {
        return Ok(no_content());
    };
    let Some(alias) = inner.alias(&function.name, &name).await? else {
        return Ok(no_content());
    };
    inner
        .ledger
        .delete_alias(&function.name, &name)
        .await
        .map_err(error::store)?;
    inner.cache.forget(function.name.as_str());
    let alias = alias.record;
    super::function_url::lose(inner, &alias.attached).await?;
    if alias.attached.provisioned.is_some() {
        inner.totals.set_provisioned(&function.name, name.as_str(), None);
        if let Version::Number(number) = alias.version
            && let Some(version) = inner.version(&function.name, number).await?
        {
            call.lambda.provision(&function.name, &version.record, 0);
        }
    }
    Ok(no_content())
}
