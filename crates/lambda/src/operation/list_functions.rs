use ephyra_core::id::{Qualifier, Version};
use ephyra_wire::error::ApiError;
use ephyra_wire::service::Response;
use ephyra_wire::validation::{Constraint, Violations};
use serde_json::{Value, json};

use super::ok;
use crate::error;
use crate::lambda::{Call, Inner};
use crate::marker::{self, Page};
use crate::name;
use crate::record::{Detail, FunctionRecord, VersionRecord};

/// What a page of functions holds at most, whatever `MaxItems` says.
const LARGEST_PAGE: usize = 50;

/// Functions in order of their names; with `FunctionVersion=ALL` each with its versions.
pub(super) async fn run(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let mut violations = Violations::default();
    let versions = call.request.query("FunctionVersion");
    if let Some(versions) = versions {
        violations.check_enum("functionVersion", versions, &["ALL"]);
    }
    let region = call.request.query("MasterRegion");
    if let Some(region) = region
        && region != "ALL"
        && !name::is_region(region)
    {
        let pattern = r"ALL|(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}";
        violations.add("masterRegion", region, Constraint::Pattern(pattern));
    }
    violations.finish()?;
    let page = Page::read(&call.request, 10_000, LARGEST_PAGE)?;
    let (functions, marker) = if region.is_some_and(|region| region != "ALL") {
        // Only functions that were replicated from another region are from one; here none are.
        (Vec::new(), None)
    } else if versions.is_some() {
        with_versions(inner, &page).await?
    } else {
        let records = inner
            .ledger
            .functions(page.after.as_deref(), page.size + 1)
            .await
            .map_err(error::store)?;
        let (records, marker) = page.cut(records, |stored| stored.record.name.to_string());
        let functions = records
            .iter()
            .map(|stored| show(inner, &stored.record, &stored.record.latest, false))
            .collect();
        (functions, marker)
    };
    let mut document = json!({ "Functions": functions });
    if let Some(marker) = marker {
        document["NextMarker"] = json!(marker);
    }
    Ok(ok(&document))
}

/// Each function's `$LATEST` and then its versions. The marker says `NAME/NUMBER`, `NAME/0` after `$LATEST`.
async fn with_versions(inner: &Inner, page: &Page) -> Result<(Vec<Value>, Option<String>), ApiError> {
    let mut items: Vec<(String, Value)> = Vec::new();
    let mut after = None;
    if let Some(place) = &page.after {
        let (name, number) = place.split_once('/').unwrap_or((place, "0"));
        let number: u64 = number.parse().unwrap_or(0);
        if let Some(function) = inner.function(name.parse().ok()).await? {
            add_versions(inner, &function.record, number, page.size + 1, &mut items).await?;
        }
        after = Some(name.to_owned());
    }
    while items.len() <= page.size {
        let records = inner
            .ledger
            .functions(after.as_deref(), page.size + 1)
            .await
            .map_err(error::store)?;
        let Some(last) = records.last() else {
            break;
        };
        after = Some(last.record.name.to_string());
        for stored in records {
            let record = stored.record;
            items.push((format!("{}/0", record.name), show(inner, &record, &record.latest, true)));
            add_versions(inner, &record, 0, page.size + 1, &mut items).await?;
            if items.len() > page.size {
                break;
            }
        }
    }
    let marker = if items.len() > page.size {
        items.truncate(page.size);
        items.last().map(|(place, _)| marker::write(place))
    } else {
        None
    };
    Ok((items.into_iter().map(|(_, item)| item).collect(), marker))
}

async fn add_versions(
    inner: &Inner,
    function: &FunctionRecord,
    after: u64,
    limit: usize,
    items: &mut Vec<(String, Value)>,
) -> Result<(), ApiError> {
    let versions = inner
        .ledger
        .versions(&function.name, Some(after), limit)
        .await
        .map_err(error::store)?;
    for version in versions {
        let place = format!("{}/{}", function.name, version.record.version);
        items.push((place, show(inner, function, &version.record, true)));
    }
    Ok(())
}

/// A version as lists show it; `is_qualified` adds the version to the ARN, also for `$LATEST`.
pub(super) fn show(inner: &Inner, function: &FunctionRecord, version: &VersionRecord, is_qualified: bool) -> Value {
    let qualifier = Qualifier::Version(version.version);
    let is_shown = is_qualified || version.version != Version::Latest;
    let arn = inner
        .place()
        .function_arn(&function.name, is_shown.then_some(&qualifier));
    Value::Object(version.describe(&function.name, &arn, inner.place(), Detail::Brief))
}
