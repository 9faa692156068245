use ephyra_wire::error::ApiError;
use ephyra_wire::service::Response;
use ephyra_wire::validation::Violations;
use serde_json::{Value, json};

use super::{layer, ok};
use crate::error;
use crate::lambda::Call;
use crate::marker::Page;
use crate::record::LayerRecord;

const LARGEST_PAGE: usize = 50;
/// How many versions are read at once while looking for those that the filter lets through.
const READ: usize = 256;

/// A layer's versions, newest first.
pub(super) async fn run(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let name = layer::read_name(&call, Violations::default())?;
    let (runtime, architecture) = layer::read_filter(&call)?;
    let page = Page::read(&call.request, 50, LARGEST_PAGE)?;
    let mut below: Option<u64> = page.after.as_deref().and_then(|place| place.parse().ok());
    let mut found: Vec<LayerRecord> = Vec::new();
    while found.len() <= page.size {
        let read = inner
            .ledger
            .layer_versions(&name, below, READ)
            .await
            .map_err(error::store)?;
        let Some(last) = read.last() else {
            break;
        };
        below = Some(last.record.number);
        found.extend(
            read.into_iter()
                .map(|stored| stored.record)
                .filter(|layer| layer.is_for(runtime, architecture)),
        );
    }
    let (found, marker) = page.cut(found, |layer| layer.number.to_string());
    let shown: Vec<Value> = found.iter().map(|layer| layer.describe_brief(inner.place())).collect();
    let mut document = json!({ "LayerVersions": shown });
    if let Some(marker) = marker {
        document["NextMarker"] = json!(marker);
    }
    Ok(ok(&document))
}
