use ephyra_core::id::{Qualifier, Version};
use ephyra_wire::error::ApiError;
use ephyra_wire::service::Response;
use serde_json::{Value, json};

use super::list_event_invoke_configs::rest;
use super::ok;
use super::provisioned_concurrency::show;
use crate::error;
use crate::lambda::Call;
use crate::marker::Page;
use crate::name::Shape;

const LARGEST_PAGE: usize = 50;

/// `ListProvisionedConcurrencyConfigs`: those of versions and then those of aliases.
pub(super) async fn run(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let named = call.named(Shape::Write)?;
    let page = Page::read(&call.request, 50, LARGEST_PAGE)?;
    let arn = named.unqualified_arn(inner.place());
    let function = call.existing(&named, &arn).await?.record;
    let versions = inner.ledger.all_versions(&function.name).await.map_err(error::store)?;
    let aliases = inner.ledger.all_aliases(&function.name).await.map_err(error::store)?;
    let target = |wanted: Version| {
        versions
            .iter()
            .map(|stored| &stored.record)
            .find(|version| version.version == wanted)
    };
    let of_versions = versions.iter().map(|stored| {
        let version = &stored.record;
        (
            Qualifier::Version(version.version),
            version.attached.provisioned,
            Some(version),
        )
    });
    let of_aliases = aliases.iter().map(|stored| {
        let alias = &stored.record;
        let qualifier = Qualifier::Alias(alias.name.clone());
        (qualifier, alias.attached.provisioned, target(alias.version))
    });
    let configs: Vec<(String, Value)> = of_versions
        .chain(of_aliases)
        .filter_map(|(qualifier, provisioned, version)| {
            let mut document = show(inner, provisioned?, version);
            document["FunctionArn"] = json!(inner.place().function_arn(&function.name, Some(&qualifier)));
            Some((qualifier.to_string(), document))
        })
        .collect();
    let (configs, marker) = page.cut(rest(configs, &page), |(qualifier, _)| qualifier.clone());
    let shown: Vec<Value> = configs.into_iter().map(|(_, config)| config).collect();
    let mut document = json!({ "ProvisionedConcurrencyConfigs": shown });
    if let Some(marker) = marker {
        document["NextMarker"] = json!(marker);
    }
    Ok(ok(&document))
}
