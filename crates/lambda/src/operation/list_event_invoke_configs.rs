use ephyra_core::id::{Qualifier, Version};
use ephyra_wire::error::ApiError;
use ephyra_wire::service::Response;
use serde_json::{Value, json};

use super::event_invoke_config::show;
use super::ok;
use crate::error;
use crate::lambda::Call;
use crate::marker::Page;
use crate::name::Shape;
use crate::record::EventInvoke;

const LARGEST_PAGE: usize = 50;

/// `ListFunctionEventInvokeConfigs`: those of `$LATEST`, of versions and of aliases, in this order.
pub(super) async fn run(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let named = call.named(Shape::Read)?;
    let page = Page::read(&call.request, 50, LARGEST_PAGE)?;
    let function = inner
        .function(named.function())
        .await?
        .ok_or_else(|| error::not_found("The function doesn't exist."))?
        .record;
    let versions = inner.ledger.all_versions(&function.name).await.map_err(error::store)?;
    let aliases = inner.ledger.all_aliases(&function.name).await.map_err(error::store)?;
    let latest = (Qualifier::Version(Version::Latest), &function.latest.attached);
    let versions = versions
        .iter()
        .map(|stored| (Qualifier::Version(stored.record.version), &stored.record.attached));
    let aliases = aliases
        .iter()
        .map(|stored| (Qualifier::Alias(stored.record.name.clone()), &stored.record.attached));
    let configs: Vec<(String, &EventInvoke)> = std::iter::once(latest)
        .chain(versions)
        .chain(aliases)
        .filter_map(|(qualifier, attached)| Some((qualifier.to_string(), attached.events.as_ref()?)))
        .collect();
    let (configs, marker) = page.cut(rest(configs, &page), |(qualifier, _)| qualifier.clone());
    let shown: Vec<Value> = configs
        .iter()
        .map(|(qualifier, config)| show(config, &format!("{}:{qualifier}", named.unqualified_arn(inner.place()))))
        .collect();
    let mut document = json!({ "FunctionEventInvokeConfigs": shown });
    if let Some(marker) = marker {
        document["NextMarker"] = json!(marker);
    }
    Ok(ok(&document))
}

/// What comes behind the qualifier that the marker names. A qualifier that is gone since ends the list.
pub(super) fn rest<T>(items: Vec<(String, T)>, page: &Page) -> Vec<(String, T)> {
    match &page.after {
        None => items,
        Some(after) => items
            .into_iter()
            .skip_while(|(qualifier, _)| qualifier != after)
            .skip(1)
            .collect(),
    }
}
