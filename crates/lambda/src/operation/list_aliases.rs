use ephyra_wire::error::ApiError;
use ephyra_wire::service::Response;
use ephyra_wire::validation::Violations;
use serde_json::{Value, json};

use super::{ok, routing};
use crate::error;
use crate::lambda::Call;
use crate::marker::Page;
use crate::name::Shape;

const LARGEST_PAGE: usize = 50;

/// Aliases in order of their names; with `FunctionVersion` those alone that point at it.
pub(super) async fn run(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let named = call.named(Shape::Write)?;
    let version = call.request.query("FunctionVersion");
    let mut violations = Violations::default();
    if let Some(version) = version {
        routing::check_version(&mut violations, version);
    }
    violations.finish()?;
    let page = Page::read(&call.request, 10_000, LARGEST_PAGE)?;
    let function = call
        .existing(&named, &named.unqualified_arn(inner.place()))
        .await?
        .record;
    let aliases = inner
        .ledger
        .all_aliases(&function.name)
        .await
        .map_err(error::store)?
        .into_iter()
        .map(|stored| stored.record)
        .filter(|alias| version.is_none_or(|version| alias.version.to_string() == version))
        .filter(|alias| page.after.as_deref().is_none_or(|after| alias.name.as_str() > after))
        .collect();
    let (aliases, marker) = page.cut(aliases, |alias: &crate::record::AliasRecord| alias.name.to_string());
    let shown: Vec<Value> = aliases
        .iter()
        .map(|alias| alias.describe(&function.name, inner.place()))
        .collect();
    let mut document = json!({ "Aliases": shown });
    if let Some(marker) = marker {
        document["NextMarker"] = json!(marker);
    }
    Ok(ok(&document))
}
