use ephyra_wire::error::ApiError;
use ephyra_wire::service::Response;
use serde_json::{Value, json};

use super::list_functions::show;
use super::ok;
use crate::error;
use crate::lambda::Call;
use crate::marker::{self, Page};
use crate::name::Shape;

const LARGEST_PAGE: usize = 50;

/// `ListVersionsByFunction`: `$LATEST`, then the published versions in rising order.
pub(super) async fn run(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let named = call.named(Shape::Read)?;
    let page = Page::read(&call.request, 10_000, LARGEST_PAGE)?;
    let arn = named.unqualified_arn(inner.place());
    let function = call.existing(&named, &arn).await?.record;
    let after: Option<u64> = page.after.as_deref().and_then(|place| place.parse().ok());
    let mut shown: Vec<Value> = Vec::new();
    if after.is_none() {
        shown.push(show(inner, &function, &function.latest, true));
    }
    let wanted = page.size - shown.len();
    let mut versions = inner
        .ledger
        .versions(&function.name, after, wanted + 1)
        .await
        .map_err(error::store)?;
    let has_more = versions.len() > wanted;
    versions.truncate(wanted);
    shown.extend(
        versions
            .iter()
            .map(|stored| show(inner, &function, &stored.record, true)),
    );
    let mut document = json!({ "Versions": shown });
    if has_more {
        let last = versions
            .last()
            .map_or_else(|| "0".to_owned(), |stored| stored.record.version.to_string());
        document["NextMarker"] = json!(marker::write(&last));
    }
    Ok(ok(&document))
}
