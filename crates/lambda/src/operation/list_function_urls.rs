use ephyra_core::id::{Qualifier, Version};
use ephyra_wire::error::ApiError;
use ephyra_wire::service::Response;
use serde_json::json;

use super::function_url::{no_function, show};
use super::list_event_invoke_configs::rest;
use super::ok;
use crate::error;
use crate::lambda::Call;
use crate::marker::Page;
use crate::name::Shape;
use crate::record::UrlConfig;

const LARGEST_PAGE: usize = 50;

/// `ListFunctionUrlConfigs`: the function's own, then those of its aliases in order of their names.
pub(super) async fn run(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let named = call.named(Shape::Url)?;
    let page = Page::read(&call.request, 50, LARGEST_PAGE)?;
    let function = inner.function(named.function()).await?.ok_or_else(no_function)?.record;
    let aliases = inner.ledger.all_aliases(&function.name).await.map_err(error::store)?;
    let own = (Qualifier::Version(Version::Latest), &function.latest.attached);
    let aliases = aliases
        .iter()
        .map(|stored| (Qualifier::Alias(stored.record.name.clone()), &stored.record.attached));
    let urls: Vec<(String, &UrlConfig)> = std::iter::once(own)
        .chain(aliases)
        .filter_map(|(qualifier, attached)| Some((qualifier.to_string(), attached.url.as_ref()?)))
        .collect();
    let (urls, marker) = page.cut(rest(urls, &page), |(qualifier, _)| qualifier.clone());
    let unqualified = named.unqualified_arn(inner.place());
    let shown: Vec<_> = urls
        .iter()
        .map(|(qualifier, config)| match qualifier.as_str() {
            "$LATEST" => show(config, &unqualified, inner),
            alias => show(config, &format!("{unqualified}:{alias}"), inner),
        })
        .collect();
    let mut document = json!({ "FunctionUrlConfigs": shown });
    if let Some(marker) = marker {
        document["NextMarker"] = json!(marker);
    }
    Ok(ok(&document))
}
