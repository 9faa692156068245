use ephyra_core::id::RevisionId;
use ephyra_wire::error::ApiError;
use ephyra_wire::service::Response;
use ephyra_wire::validation::Violations;
use serde::Deserialize;
use serde_json::Value;

use super::create_function::{Code, check_storage, check_unpacked, refuse_absent};
use super::publish_version::{check_revision, check_settled, publish, show};
use super::{ok, read_large};
use crate::error;
use crate::lambda::{Call, Kept};
use crate::name::Shape;
use crate::record::Update;
use crate::settings;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Input {
    #[serde(flatten)]
    code: Code,
    architectures: Option<Vec<String>>,
    publish: Option<bool>,
    publish_to: Option<Value>,
    dry_run: Option<bool>,
    revision_id: Option<String>,
}

/// Replaces a function's code; the change is InProgress until it is durable, in the background.
pub(super) async fn run(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let named = call.named(Shape::Write)?;
    let input: Input = read_large(&call.request.body).await?;
    let mut violations = Violations::default();
    let given = input.architectures.as_ref();
    let architecture = settings::check_architectures(&mut violations, given, &inner.options.architecture);
    violations.finish()?;
    architecture?;
    refuse_absent("PublishTo", input.publish_to.is_some())?;
    let arn = named.unqualified_arn(inner.place());
    if input.code.is_image() {
        return Err(error::invalid_parameter(
            "Please don't provide ImageUri when updating a function with packageType Zip.",
        ));
    }
    // Before the zip is looked at, so that a missing function is what the answer says.
    call.existing(&named, &arn).await?;
    let zip = input.code.into_zip().await?;

    let _turn = inner.turn(&named.name).await;
    let mut function = call.existing(&named, &arn).await?;
    check_revision(&function.record.latest, input.revision_id.as_deref())?;
    check_settled(inner.place(), &function.record)?;
    check_storage(inner, zip.len() as u64)?;
    let mut kept = Kept::none(call.lambda.clone());
    let code = inner.depot.keep(zip).await?;
    kept.add(code);
    let before = function.record.latest.clone();
    let latest = &mut function.record.latest;
    check_unpacked(code, &latest.config)?;
    latest.code = code;
    latest.modified_ms = inner.now_ms();
    if input.dry_run == Some(true) {
        return Ok(ok(&show(inner, &function.record, &function.record.latest)));
    }
    latest.revision = RevisionId::new();
    latest.update = Some(Update::InProgress);
    latest.touch();
    for layer in &latest.config.layers {
        inner.depot.share(layer.package);
        kept.add(layer.package);
    }
    let shown = if input.publish == Some(true) {
        publish(inner, &mut function.record, None).await?.0
    } else {
        function.record.latest.clone()
    };
    inner.ledger.update_function(&function).await.map_err(error::store)?;
    kept.hand_over();
    inner.cache.forget(&named.name);
    inner.totals.add_code(code.zip_bytes);
    inner.totals.remove_code(before.code.zip_bytes);
    call.lambda.retire(&before);
    call.lambda.settle_later(&function.record.name);
    Ok(ok(&show(inner, &function.record, &shown)))
}
