use ephyra_core::id::{Qualifier, Version};
use ephyra_wire::error::ApiError;
use ephyra_wire::service::Response;

use super::no_content;
use crate::error;
use crate::lambda::Call;
use crate::name::Shape;
use crate::record::FunctionRecord;

/// Deletes a function with all that belongs to it, or one published version.
pub(super) async fn run(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let named = call.named(Shape::Read)?;
    let qualifier = match named.parsed_qualifier() {
        Ok(Some(Qualifier::Version(Version::Latest))) => {
            return Err(error::invalid_parameter(
                "$LATEST version cannot be deleted without deleting the function.",
            ));
        }
        Ok(Some(Qualifier::Alias(_))) => {
            return Err(error::invalid_parameter(
                "Deletion of aliases is not currently supported.",
            ));
        }
        Ok(Some(Qualifier::Version(Version::Number(number)))) => Some(Some(number)),
        // A qualifier that nothing can have deletes nothing, once the function is known to be there.
        Err(()) => Some(None),
        Ok(None) => None,
    };
    let _turn = inner.turn(&named.name).await;
    let arn = named.unqualified_arn(inner.place());
    let function = call.existing(&named, &arn).await?.record;
    match qualifier {
        None => delete_all(&call, &function).await?,
        Some(Some(number)) => delete_version(&call, &function, number).await?,
        Some(None) => {}
    }
    inner.cache.forget(function.name.as_str());
    Ok(no_content())
}

/// The function's own record goes first: from then on it is gone, and a crash leaves the rest to the next start.
async fn delete_all(call: &Call, function: &FunctionRecord) -> Result<(), ApiError> {
    let inner = call.inner();
    let name = &function.name;
    let versions = inner.ledger.all_versions(name).await.map_err(error::store)?;
    let aliases = inner.ledger.all_aliases(name).await.map_err(error::store)?;
    inner.ledger.delete_function(name).await.map_err(error::store)?;
    inner.cache.forget(name.as_str());
    inner.totals.remove_function(name);
    if function.reserved.is_some() {
        inner.deps.steer.set_reserved(name, None);
    }
    super::function_url::lose(inner, &function.latest.attached).await?;
    for alias in &aliases {
        let alias = &alias.record;
        inner
            .ledger
            .delete_alias(name, &alias.name)
            .await
            .map_err(error::store)?;
        super::function_url::lose(inner, &alias.attached).await?;
        let target = versions.iter().find(|version| version.record.version == alias.version);
        if let (Some(_), Some(target)) = (alias.attached.provisioned, target) {
            call.lambda.provision(name, &target.record, 0);
        }
    }
    for version in &versions {
        let version = &version.record;
        if let Version::Number(number) = version.version {
            inner.ledger.delete_version(name, number).await.map_err(error::store)?;
        }
        if version.attached.provisioned.is_some() {
            call.lambda.provision(name, version, 0);
        }
        inner.totals.remove_code(version.code.zip_bytes);
        call.lambda.retire(version);
    }
    inner.totals.remove_code(function.latest.code.zip_bytes);
    call.lambda.retire(&function.latest);
    Ok(())
}

/// A version that is not there is deleted already.
async fn delete_version(call: &Call, function: &FunctionRecord, number: u64) -> Result<(), ApiError> {
    let inner = call.inner();
    let name = &function.name;
    let Some(version) = inner.version(name, number).await? else {
        return Ok(());
    };
    let aliases = inner.ledger.all_aliases(name).await.map_err(error::store)?;
    let users: Vec<&str> = aliases
        .iter()
        .filter(|alias| alias.record.refers_to(number))
        .map(|alias| alias.record.name.as_str())
        .collect();
    if !users.is_empty() {
        return Err(error::conflict(format!(
            "Unable to delete version because the following aliases reference it: [{}]",
            users.join(", ")
        )));
    }
    inner.ledger.delete_version(name, number).await.map_err(error::store)?;
    inner.cache.forget(name.as_str());
    let version = &version.record;
    if version.attached.provisioned.is_some() {
        call.lambda.provision(name, version, 0);
        inner.totals.set_provisioned(name, &number.to_string(), None);
    }
    inner.totals.remove_code(version.code.zip_bytes);
    call.lambda.retire(version);
    Ok(())
}
