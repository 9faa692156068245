//! `PutProvisionedConcurrencyConfig`, and its Get and Delete: environments started ahead for a version or an alias.

use ephyra_core::id::{Qualifier, Version};
use ephyra_wire::error::ApiError;
use ephyra_wire::rest::{json_response, read_json};
use ephyra_wire::service::Response;
use ephyra_wire::validation::{Constraint, Violations};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::permission::Owner;
use super::{no_content, ok};
use crate::error;
use crate::lambda::{Call, Inner};
use crate::name::{self, Named, Shape};
use crate::record::{Provisioned, VersionRecord};
use crate::time;
use crate::totals::Totals;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Input {
    provisioned_concurrent_executions: Option<i64>,
}

pub(super) async fn put(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let input: Input = read_json(&call.request.body)?;
    let mut violations = Violations::default();
    match input.provisioned_concurrent_executions {
        Some(count) => violations.check_range("provisionedConcurrentExecutions", count, 1, i64::from(i32::MAX)),
        None => violations.add_null("provisionedConcurrentExecutions"),
    }
    let named = read_name(&call, violations)?;
    if is_latest(&named) {
        return Err(error::invalid_parameter(
            "Provisioned Concurrency Configs cannot be applied to unpublished function versions.",
        ));
    }
    let count = input.provisioned_concurrent_executions.unwrap_or_default();
    let count = u32::try_from(count).unwrap_or(u32::MAX);

    let _turn = inner.turn(&named.name).await;
    let mut owner = find(&call, &named).await?;
    let qualifier = named.qualifier.clone().unwrap_or_default();
    refuse_second(&call, &owner).await?;
    check_room(inner, &owner, &qualifier, count)?;
    let version = version_of(&call, &owner).await?;
    if version.as_ref().is_some_and(VersionRecord::has_template) {
        return Err(error::invalid_parameter(
            "Provisioned Concurrency is not supported for functions enabled with SnapStart.",
        ));
    }
    let config = Provisioned {
        count,
        modified_ms: inner.now_ms(),
    };
    owner.attached_mut().provisioned = Some(config);
    owner.write(&call).await?;
    let name = owner.function().name.clone();
    inner.totals.set_provisioned(&name, &qualifier, Some(count));
    if let Some(version) = version {
        call.lambda.provision(&name, &version, count);
    }
    // As on AWS the answer is of the moment before anything was started.
    Ok(json_response(
        StatusCode::ACCEPTED,
        &json!({
            "RequestedProvisionedConcurrentExecutions": count,
            "AvailableProvisionedConcurrentExecutions": 0,
            "AllocatedProvisionedConcurrentExecutions": 0,
            "Status": "IN_PROGRESS",
            "LastModified": time::iso_millis(config.modified_ms),
        }),
    ))
}

pub(super) async fn get(call: Call) -> Result<Response, ApiError> {
    let named = read_name(&call, Violations::default())?;
    refuse_latest(&named)?;
    let owner = find(&call, &named).await?;
    let Some(config) = owner.attached().provisioned else {
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "ProvisionedConcurrencyConfigNotFoundException",
            "No Provisioned Concurrency Config found for this function",
        )
        .with("Type", "User"));
    };
    let version = version_of(&call, &owner).await?;
    Ok(ok(&show(call.inner(), config, version.as_ref())))
}

pub(super) async fn delete(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let named = read_name(&call, Violations::default())?;
    refuse_latest(&named)?;
    let _turn = inner.turn(&named.name).await;
    let mut owner = find(&call, &named).await?;
    if owner.attached_mut().provisioned.take().is_none() {
        return Ok(no_content());
    }
    owner.write(&call).await?;
    let name = owner.function().name.clone();
    let qualifier = named.qualifier.clone().unwrap_or_default();
    inner.totals.set_provisioned(&name, &qualifier, None);
    if let Some(version) = version_of(&call, &owner).await? {
        call.lambda.provision(&name, &version, 0);
    }
    Ok(no_content())
}

/// The configuration, and how far its environments have come.
pub(super) fn show(inner: &Inner, config: Provisioned, version: Option<&VersionRecord>) -> Value {
    let status = version
        .map(|version| inner.deps.steer.provisioned(version.revision))
        .unwrap_or_default();
    let state = match &status.failure {
        Some(_) => "FAILED",
        None if status.available >= config.count => "READY",
        None => "IN_PROGRESS",
    };
    let mut document = json!({
        "RequestedProvisionedConcurrentExecutions": config.count,
        "AvailableProvisionedConcurrentExecutions": status.available.min(config.count),
        "AllocatedProvisionedConcurrentExecutions": status.allocated.min(config.count),
        "Status": state,
        "LastModified": time::iso_millis(config.modified_ms),
    });
    if let Some(failure) = status.failure {
        document["StatusReason"] = json!(failure);
    }
    document
}

/// The version whose environments are started: the alias's own, or the version itself.
pub(super) async fn version_of(call: &Call, owner: &Owner) -> Result<Option<VersionRecord>, ApiError> {
    match owner {
        Owner::Function(_) => Ok(None),
        Owner::Version(_, _, stored) => Ok(Some(stored.record.clone())),
        Owner::Alias(function, stored) => {
            let qualifier = Qualifier::Version(stored.record.version);
            call.inner()
                .qualified(function, Some(&qualifier))
                .await
                .map_err(error::store)
        }
    }
}

/// Reads the name; here the qualifier must be given.
fn read_name(call: &Call, mut violations: Violations) -> Result<Named, ApiError> {
    let place = call.inner().place();
    let qualifier = call.request.query("Qualifier");
    let named = name::check(
        &mut violations,
        call.labels.get("FunctionName"),
        qualifier,
        Shape::Write,
        place,
    );
    if qualifier.is_none() && named.as_ref().is_ok_and(|named| named.qualifier.is_none()) {
        violations.add_null("qualifier");
    }
    if let Some(text) = qualifier.filter(|text| text.contains('.')) {
        violations.add("qualifier", text, Constraint::Pattern("(|[a-zA-Z0-9$_-]+)"));
    }
    violations.finish()?;
    named
}

fn is_latest(named: &Named) -> bool {
    named.parsed_qualifier() == Ok(Some(Qualifier::Version(Version::Latest)))
}

fn refuse_latest(named: &Named) -> Result<(), ApiError> {
    if is_latest(named) {
        return Err(error::invalid_parameter(
            "The function resource provided must be an alias or a published version.",
        ));
    }
    Ok(())
}

async fn find(call: &Call, named: &Named) -> Result<Owner, ApiError> {
    let owner = Owner::find(call, named).await?;
    owner.ok_or_else(|| named.qualifier_not_found(call.inner().place()))
}

/// Refuses to provision a version both by itself and by an alias.
async fn refuse_second(call: &Call, owner: &Owner) -> Result<(), ApiError> {
    let inner = call.inner();
    match owner {
        Owner::Function(_) => Ok(()),
        Owner::Version(function, number, _) => {
            let aliases = inner.ledger.all_aliases(&function.name).await.map_err(error::store)?;
            let is_taken = aliases.iter().any(|alias| {
                alias.record.version == Version::Number(*number) && alias.record.attached.provisioned.is_some()
            });
            if is_taken {
                return Err(error::conflict("Version is pointed by a Provisioned Concurrency alias"));
            }
            Ok(())
        }
        Owner::Alias(_, alias) => {
            if alias.record.version == Version::Latest {
                return Err(error::invalid_parameter(
                    "Provisioned Concurrency Configs cannot be applied to unpublished function versions.",
                ));
            }
            let version = version_of(call, owner).await?;
            if version.is_some_and(|version| version.attached.provisioned.is_some()) {
                return Err(error::conflict(
                    "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version",
                ));
            }
            Ok(())
        }
    }
}

/// Refuses more than the function has reserved, or than the account can spare.
fn check_room(inner: &Inner, owner: &Owner, qualifier: &str, count: u32) -> Result<(), ApiError> {
    let function = owner.function();
    let others = inner.totals.provisioned_of(&function.name, qualifier);
    let wanted = count.saturating_add(others);
    if let Some(reserved) = function.reserved {
        if wanted > reserved {
            return Err(error::untyped_invalid_parameter(
                "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for \
                 function",
            ));
        }
        return Ok(());
    }
    let unreserved = inner.totals.unreserved(inner.options.concurrency, Some(&function.name));
    let least = Totals::least_unreserved();
    if wanted > unreserved {
        return Err(error::untyped_invalid_parameter(format!(
            "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency \
             [{unreserved}]."
        )));
    }
    if unreserved - wanted < least {
        return Err(error::untyped_invalid_parameter(format!(
            "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its \
             minimum value of [{least}]."
        )));
    }
    Ok(())
}
