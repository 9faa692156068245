use ephyra_core::arn::Place;
use ephyra_core::id::{Qualifier, Version};
use ephyra_wire::error::ApiError;
use ephyra_wire::rest::read_json;
use ephyra_wire::service::Response;
use ephyra_wire::validation::Violations;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::create_function::{as_version, check_storage, refuse_absent};
use super::created;
use crate::error;
use crate::lambda::{Call, Inner};
use crate::name::Shape;
use crate::record::{Detail, FunctionRecord, Published, State, Update, VersionRecord, sha256_base64};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Input {
    code_sha256: Option<String>,
    description: Option<String>,
    revision_id: Option<String>,
    publish_to: Option<Value>,
}

/// Publishes `$LATEST` as a version; with nothing changed since the last one, that one is the answer.
pub(super) async fn run(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let named = call.named(Shape::Write)?;
    let input: Input = read_json(&call.request.body)?;
    let mut violations = Violations::default();
    if let Some(description) = &input.description {
        violations.check_length("description", description, 0, 256);
    }
    violations.finish()?;
    refuse_absent("PublishTo", input.publish_to.is_some())?;
    let _turn = inner.turn(&named.name).await;
    let mut function = call.existing(&named, &named.unqualified_arn(inner.place())).await?;
    check_revision(&function.record.latest, input.revision_id.as_deref())?;
    check_settled(inner.place(), &function.record)?;
    let current = sha256_base64(function.record.latest.code.digest);
    if let Some(wanted) = input
        .code_sha256
        .filter(|wanted| !wanted.is_empty() && *wanted != current)
    {
        return Err(error::invalid_parameter(format!(
            "CodeSHA256 ({wanted}) is different from current CodeSHA256 in $LATEST ({current}). Please try again with \
             the CodeSHA256 in $LATEST."
        )));
    }
    let (version, is_new) = publish(inner, &mut function.record, input.description).await?;
    if is_new {
        inner.ledger.update_function(&function).await.map_err(error::store)?;
        inner.cache.forget(&named.name);
        if version.awaits_template() {
            call.lambda.make_template_later(&function.record.name, version.version);
        }
    }
    Ok(created(&show(inner, &function.record, &version)))
}

/// Publishes `$LATEST` as it is in `record` and returns the version, and whether it is a new one. The version is
/// written then; `record` counts it and is the caller's to write.
pub(super) async fn publish(
    inner: &Inner,
    record: &mut FunctionRecord,
    description: Option<String>,
) -> Result<(VersionRecord, bool), ApiError> {
    let fingerprint = record.fingerprint();
    if let Some(last) = record.published.filter(|last| last.fingerprint == fingerprint)
        && let Some(version) = inner.version(&record.name, last.number).await?
    {
        return Ok((version.record, false));
    }
    check_storage(inner, record.latest.code.zip_bytes)?;
    let number = record.last_version + 1;
    let mut version = as_version(record, number);
    version.modified_ms = inner.now_ms();
    if record.latest.update == Some(Update::InProgress) || version.has_template() {
        // Published with the change that is under way it becomes usable together with it, and else with its template.
        version.state = State::Pending;
        version.update = None;
    }
    if let Some(description) = description.filter(|text| !text.is_empty()) {
        version.config.description = description;
    }
    inner
        .ledger
        .create_version(&record.name, number, &version)
        .await
        .map_err(error::store)?;
    inner.share(&version);
    inner.totals.add_code(version.code.zip_bytes);
    record.last_version = number;
    record.published = Some(Published { number, fingerprint });
    record.latest.touch();
    Ok((version, true))
}

/// A published version as its function's operations show it.
pub(super) fn show(inner: &Inner, function: &FunctionRecord, version: &VersionRecord) -> Map<String, Value> {
    let qualifier = Some(Qualifier::Version(version.version)).filter(|_| version.version != Version::Latest);
    let arn = inner.place().function_arn(&function.name, qualifier.as_ref());
    version.describe(&function.name, &arn, inner.place(), Detail::Full)
}

/// Refuses a change of something that has changed since the caller looked.
pub(super) fn check_revision(version: &VersionRecord, revision_id: Option<&str>) -> Result<(), ApiError> {
    match revision_id {
        Some(wanted) if wanted != version.revision_id.to_string() => {
            Err(error::precondition_failed("GetFunction/GetAlias"))
        }
        _ => Ok(()),
    }
}

/// Refuses a change while another is under way.
pub(super) fn check_settled(place: &Place, function: &FunctionRecord) -> Result<(), ApiError> {
    if function.latest.state == State::Pending {
        return Err(error::wrong_state("Pending"));
    }
    if function.latest.update == Some(Update::InProgress) {
        return Err(error::conflict(format!(
            "The operation cannot be performed at this time. An update is in progress for resource: {}",
            place.function_arn(&function.name, None)
        )));
    }
    Ok(())
}
