use ephyra_core::id::RevisionId;
use ephyra_wire::error::ApiError;
use ephyra_wire::rest::read_json;
use ephyra_wire::service::Response;
use ephyra_wire::validation::Violations;
use serde::Deserialize;

use super::create_function::{check_unpacked, use_layers};
use super::ok;
use super::publish_version::{check_revision, check_settled, show};
use crate::error;
use crate::lambda::{Call, Kept};
use crate::name::{self, Shape};
use crate::record::Update;
use crate::settings::Settings;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Input {
    revision_id: Option<String>,
    #[serde(flatten)]
    settings: Settings,
}

/// Changes a function's configuration; the change is InProgress until it has settled, in the background.
pub(super) async fn run(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let input: Input = read_json(&call.request.body)?;
    let mut violations = Violations::default();
    input.settings.check(&mut violations);
    let name = call.labels.get("FunctionName");
    let named = name::check(&mut violations, name, None, Shape::Write, inner.place());
    violations.finish()?;
    let named = named?;
    input
        .settings
        .check_possible(&call.request.body, &inner.options.runtimes)?;

    let _turn = inner.turn(&named.name).await;
    let mut function = call.existing(&named, &named.unqualified_arn(inner.place())).await?;
    check_revision(&function.record.latest, input.revision_id.as_deref())?;
    check_settled(inner.place(), &function.record)?;
    let before = function.record.latest.clone();
    let latest = &mut function.record.latest;
    let mut kept = Kept::none(call.lambda.clone());
    let layers = match &input.settings.layers {
        Some(arns) => Some(use_layers(inner, arns, &mut kept).await?),
        None => {
            for layer in &latest.config.layers {
                inner.depot.share(layer.package);
                kept.add(layer.package);
            }
            None
        }
    };
    inner.depot.share(latest.code);
    kept.add(latest.code);
    input.settings.apply(&mut latest.config, layers)?;
    check_unpacked(latest.code, &latest.config)?;
    latest.modified_ms = inner.now_ms();
    latest.revision = RevisionId::new();
    latest.update = Some(Update::InProgress);
    latest.touch();
    inner.ledger.update_function(&function).await.map_err(error::store)?;
    kept.hand_over();
    inner.cache.forget(&named.name);
    call.lambda.retire(&before);
    call.lambda.settle_later(&function.record.name);
    Ok(ok(&show(inner, &function.record, &function.record.latest)))
}
