//! CreateApiMapping, GetApiMapping, GetApiMappings, UpdateApiMapping, DeleteApiMapping.

use ephyra_wire::error::ApiError;
use ephyra_wire::rest::read_json;
use ephyra_wire::service::Response;
use serde::Deserialize;

use super::page::Page;
use super::{created, no_content, ok, required};
use crate::api::check;
use crate::api::error::{self, bad_request, conflict, domain_not_found, mapping_not_found, stage_not_found};
use crate::api::model::ApiMapping;
use crate::api::service::{Call, Inner};
use crate::api::store::DomainTurn;

/// What CreateApiMapping and UpdateApiMapping take.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Input {
    api_id: Option<String>,
    api_mapping_key: Option<String>,
    stage: Option<String>,
}

impl Call {
    /// The turn of the domain name that the path names; there need be none.
    pub(super) async fn domain(&self) -> Result<DomainTurn<'_>, ApiError> {
        let name = self.labels.get("domainName").to_ascii_lowercase();
        let is_key = !name.contains('/') && name.len() <= 253;
        if !is_key {
            return Err(domain_not_found());
        }
        self.inner.store.domain_turn(&name).await.map_err(error::store)
    }
}

pub(super) async fn create(call: Call) -> Result<Response, ApiError> {
    let mut input: Input = read_json(&call.request.body)?;
    let mut turn = call.domain().await?;
    let mut record = turn.record.clone().ok_or_else(domain_not_found)?;
    if record.mappings.len() >= check::MAPPINGS {
        return Err(error::too_many("API mappings", "domain name", check::MAPPINGS));
    }
    let known = &record.mappings;
    let mapping = ApiMapping {
        api_mapping_id: call
            .inner
            .new_id(6, |id| known.iter().any(|mapping| mapping.api_mapping_id == id)),
        api_mapping_key: input.api_mapping_key.take().unwrap_or_default(),
        api_id: required("ApiId", input.api_id.take())?,
        stage: required("Stage", input.stage.take())?,
    };
    check_mapping(&call.inner, known, &mapping).await?;
    record.mappings.push(mapping.clone());
    turn.put(record).await.map_err(error::store)?;
    Ok(created(&mapping))
}

/// Checks a mapping as it will be among the others.
async fn check_mapping(inner: &Inner, others: &[ApiMapping], mapping: &ApiMapping) -> Result<(), ApiError> {
    let key = mapping.api_mapping_key.as_str();
    if key.starts_with('/') || key.contains("//") {
        return Err(bad_request(
            "API mapping key should not start with a '/' or have consecutive '/'s.",
        ));
    }
    if key.ends_with('/') {
        return Err(bad_request("API mapping key should not end with a '/'."));
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"$-_.+!*'(),/".contains(&byte);
    if key.len() > 300 || !key.bytes().all(is_plain) {
        return Err(bad_request(
            "API mapping key can only contain letters, numbers and the characters $-_.+!*'()/",
        ));
    }
    let is_taken = others
        .iter()
        .any(|other| other.api_mapping_key == key && other.api_mapping_id != mapping.api_mapping_id);
    if is_taken {
        return Err(conflict("ApiMapping key already exists for this domain name"));
    }
    // The domain name's turn is held: nobody waits for one of those while holding an API's.
    let api = inner.turn(&mapping.api_id).await?;
    if !api.held().stages.contains_key(&mapping.stage) {
        return Err(stage_not_found());
    }
    Ok(())
}

pub(super) async fn get(call: Call) -> Result<Response, ApiError> {
    let turn = call.domain().await?;
    let record = turn.record.as_ref().ok_or_else(domain_not_found)?;
    let mapping = &record.mappings[find(&call, &record.mappings)?];
    Ok(ok(mapping))
}

fn find(call: &Call, mappings: &[ApiMapping]) -> Result<usize, ApiError> {
    let id = call.labels.get("apiMappingId");
    let place = mappings.iter().position(|mapping| mapping.api_mapping_id == id);
    place.ok_or_else(mapping_not_found)
}

pub(super) async fn list(call: Call) -> Result<Response, ApiError> {
    let page = Page::of(&call.request)?;
    let turn = call.domain().await?;
    let record = turn.record.as_ref().ok_or_else(domain_not_found)?;
    let mut mappings: Vec<&ApiMapping> = record.mappings.iter().collect();
    mappings.sort_by(|a, b| a.api_mapping_id.cmp(&b.api_mapping_id));
    let entries = mappings.into_iter();
    Ok(ok(&page.cut(entries.map(|one| (one.api_mapping_id.clone(), one)))))
}

pub(super) async fn update(call: Call) -> Result<Response, ApiError> {
    let input: Input = read_json(&call.request.body)?;
    let mut turn = call.domain().await?;
    let mut record = turn.record.clone().ok_or_else(domain_not_found)?;
    let place = find(&call, &record.mappings)?;
    let mut mapping = record.mappings[place].clone();
    if let Some(id) = input.api_id {
        mapping.api_id = id;
    }
    if let Some(key) = input.api_mapping_key {
        mapping.api_mapping_key = key;
    }
    if let Some(stage) = input.stage {
        mapping.stage = stage;
    }
    check_mapping(&call.inner, &record.mappings, &mapping).await?;
    record.mappings[place] = mapping.clone();
    turn.put(record).await.map_err(error::store)?;
    Ok(ok(&mapping))
}

pub(super) async fn delete(call: Call) -> Result<Response, ApiError> {
    let mut turn = call.domain().await?;
    let mut record = turn.record.clone().ok_or_else(domain_not_found)?;
    let place = find(&call, &record.mappings)?;
    record.mappings.remove(place);
    turn.put(record).await.map_err(error::store)?;
    Ok(no_content())
}

/// Refuses to delete an API, or one of its stages, that a domain name leads to.
pub(super) async fn refuse_mapped(inner: &Inner, api_id: &str, stage: Option<&str>) -> Result<(), ApiError> {
    let domains = inner.store.domains(None, check::DOMAINS).await.map_err(error::store)?;
    let leads = |mapping: &ApiMapping| mapping.api_id == api_id && stage.is_none_or(|stage| mapping.stage == stage);
    let names: Vec<&str> = domains
        .iter()
        .filter(|record| record.mappings.iter().any(leads))
        .map(|record| record.domain.domain_name.as_str())
        .take(20)
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(conflict(format!(
        "Please remove all API mappings before deleting. Domains: [{}]",
        names.join(", ")
    )))
}
