//! `TagResource`, `UntagResource` and `ListTags`. Functions alone have tags here.

use std::collections::BTreeMap;

use ephyra_wire::error::ApiError;
use ephyra_wire::rest::read_json;
use ephyra_wire::service::Response;
use ephyra_wire::validation::{Constraint, Violations};
use serde::Deserialize;
use serde_json::json;

use super::{no_content, ok};
use crate::error;
use crate::lambda::{Call, Inner};
use crate::ledger::Stored;
use crate::name::{self, Shape};
use crate::record::FunctionRecord;
use crate::settings::check_tags;

const RESOURCE_PATTERN: &str = r"arn:(aws[a-zA-Z-]*):lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:(function:[a-zA-Z0-9-_]+(:(\$LATEST|[a-zA-Z0-9-_]+))?|layer:([a-zA-Z0-9-_]+)|code-signing-config:csc-[a-z0-9]{17}|event-source-mapping:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|capacity-provider:[a-zA-Z0-9-_]+)";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Input {
    tags: Option<BTreeMap<String, String>>,
}

pub(super) async fn list(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let name = read(inner, call.labels.get("Resource"), Violations::default())?;
    let function = find(inner, &name).await?;
    Ok(ok(&json!({ "Tags": function.record.tags })))
}

pub(super) async fn tag(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let input: Input = read_json(&call.request.body)?;
    let mut violations = Violations::default();
    if input.tags.is_none() {
        violations.add_null("tags");
    }
    let name = read(inner, call.labels.get("Resource"), violations)?;
    let tags = input.tags.unwrap_or_default();
    if tags.is_empty() {
        return Err(error::invalid_parameter(
            "An error occurred and the request cannot be processed.",
        ));
    }
    let _turn = inner.turn(&name).await;
    let mut function = find(inner, &name).await?;
    function.record.tags.extend(tags);
    check_tags(&function.record.tags)?;
    function.record.latest.touch();
    inner.ledger.update_function(&function).await.map_err(error::store)?;
    Ok(no_content())
}

pub(super) async fn untag(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let keys: Vec<&str> = call
        .request
        .query
        .iter()
        .filter(|(name, _)| name == "tagKeys")
        .map(|(_, key)| key.as_str())
        .collect();
    let mut violations = Violations::default();
    if keys.is_empty() {
        violations.add_null("tagKeys");
    }
    let name = read(inner, call.labels.get("Resource"), violations)?;
    let _turn = inner.turn(&name).await;
    let mut function = find(inner, &name).await?;
    let before = function.record.tags.len();
    function.record.tags.retain(|key, _| !keys.contains(&key.as_str()));
    if function.record.tags.len() < before {
        function.record.latest.touch();
        inner.ledger.update_function(&function).await.map_err(error::store)?;
    }
    Ok(no_content())
}

async fn find(inner: &Inner, name: &str) -> Result<Stored<FunctionRecord>, ApiError> {
    let arn = format!("arn:aws:lambda:{}:function:{name}", inner.place());
    inner
        .function(name.parse().ok())
        .await?
        .ok_or_else(|| error::function_not_found(&arn))
}

/// Reads the ARN of a function without qualifier.
fn read(inner: &Inner, arn: &str, mut violations: Violations) -> Result<String, ApiError> {
    let parts: Vec<&str> = arn.split(':').collect();
    let is_ours = |region: &str| name::is_region(region) || region == inner.place().region.as_str();
    let kind = match parts.as_slice() {
        ["arn", partition, "lambda", region, account, kind @ ..]
            if partition.starts_with("aws") && is_ours(region) && name::is_account(account) =>
        {
            kind
        }
        _ => &[],
    };
    let is_hex = |text: &str, length: usize| text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit());
    let is_uuid = |text: &str| {
        let groups: Vec<&str> = text.split('-').collect();
        let lengths = [8, 4, 4, 4, 12];
        groups.len() == lengths.len() && groups.iter().zip(lengths).all(|(group, length)| is_hex(group, length))
    };
    let is_signing = |text: &str| {
        text.strip_prefix("csc-")
            .is_some_and(|rest| rest.len() == 17 && rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
    };
    let other = match kind {
        ["function", function] if name::is_word(function) => None,
        ["function", function, qualifier]
            if name::is_word(function) && (*qualifier == "$LATEST" || name::is_word(qualifier)) =>
        {
            None
        }
        ["event-source-mapping", id] if is_uuid(id) => Some("Event source mapping"),
        ["capacity-provider", id] if name::is_word(id) => Some("Capacity provider"),
        ["code-signing-config", id] if is_signing(id) => Some("Code signing config"),
        ["layer", id] if name::is_word(id) => Some("Layer"),
        _ => {
            violations.add("resource", arn, Constraint::Pattern(RESOURCE_PATTERN));
            None
        }
    };
    violations.finish()?;
    if let Some(other) = other {
        return Err(error::not_found(format!("{other} not found: {arn}")));
    }
    let named = name::read(arn, None, Shape::Write, inner.place())?;
    if named.qualifier.is_some() {
        return Err(error::invalid_parameter(
            "Tags on function aliases and versions are not supported. Please specify a function ARN.",
        ));
    }
    Ok(named.name)
}
