use ephyra_wire::error::ApiError;
use ephyra_wire::service::Response;
use serde_json::{Value, json};

use super::{layer, ok};
use crate::error;
use crate::lambda::Call;
use crate::ledger::LayerPlace;
use crate::marker::Page;
use crate::record::LayerRecord;

const LARGEST_PAGE: usize = 50;
/// How many layer versions are read at once while looking for the newest of each layer.
const READ: usize = 64;

/// Layers, each with its newest version that the filter lets through.
pub(super) async fn run(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let (runtime, architecture) = layer::read_filter(&call)?;
    let page = Page::read(&call.request, 50, LARGEST_PAGE)?;
    let mut after: Option<(String, Option<u64>)> = page.after.clone().map(|name| (name, None));
    let mut found: Vec<LayerRecord> = Vec::new();
    while found.len() <= page.size {
        let place = after.as_ref().map(|(name, number)| match number {
            None => LayerPlace::Name(name),
            Some(number) => LayerPlace::Version(name, *number),
        });
        let read = inner.ledger.layers(place, READ).await.map_err(error::store)?;
        let Some(last) = read.last() else {
            break;
        };
        let last = (last.record.name.clone(), last.record.number);
        for stored in read {
            let layer = stored.record;
            let is_known = found.last().is_some_and(|known| known.name == layer.name);
            if !is_known && layer.is_for(runtime, architecture) {
                found.push(layer);
            }
        }
        // What is left of a layer that was found is older.
        let is_done = found.last().is_some_and(|known| known.name == last.0);
        after = Some((last.0, Some(last.1).filter(|_| !is_done)));
    }
    let (found, marker) = page.cut(found, |layer| layer.name.clone());
    let shown: Vec<Value> = found
        .iter()
        .map(|layer| {
            json!({
                "LayerName": layer.name,
                "LayerArn": inner.place().layer_arn(&layer.name, None),
                "LatestMatchingVersion": layer.describe_brief(inner.place()),
            })
        })
        .collect();
    let mut document = json!({ "Layers": shown });
    if let Some(marker) = marker {
        document["NextMarker"] = json!(marker);
    }
    Ok(ok(&document))
}
