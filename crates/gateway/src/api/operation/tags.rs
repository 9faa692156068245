//! TagResource, UntagResource, GetTags: of APIs, stages and domain names.

use std::collections::BTreeMap;

use ephyra_wire::error::ApiError;
use ephyra_wire::rest::read_json;
use ephyra_wire::service::Response;
use serde::Deserialize;
use serde_json::json;

use super::{created, no_content, ok};
use crate::api::check;
use crate::api::error::{self, bad_request, domain_not_found, stage_not_found};
use crate::api::model::Stage;
use crate::api::service::Call;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Input {
    tags: BTreeMap<String, String>,
}

/// What a resource's ARN names.
#[derive(Debug, PartialEq, Eq)]
enum Tagged {
    Api(String),
    Stage(String, String),
    Domain(String),
}

/// Reads `arn:aws:apigateway:REGION::/apis/ID`, `…/apis/ID/stages/NAME`, `…/domainnames/NAME`.
fn read(arn: &str, region: &str) -> Result<Tagged, ApiError> {
    let words: Vec<&str> = arn.splitn(6, ':').collect();
    let path = match words.as_slice() {
        ["arn", partition, "apigateway", place, _, path] if partition.starts_with("aws") && *place == region => *path,
        _ => return Err(bad_request("Invalid resource ARN specified")),
    };
    let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match words.as_slice() {
        ["apis", id] => Ok(Tagged::Api((*id).to_owned())),
        ["apis", id, "stages", name] => Ok(Tagged::Stage((*id).to_owned(), (*name).to_owned())),
        ["domainnames", name] => Ok(Tagged::Domain(name.to_ascii_lowercase())),
        _ => Err(bad_request("Invalid resource ARN specified")),
    }
}

/// What becomes of tags.
type Edit<'e> = dyn Fn(&mut BTreeMap<String, String>) + Send + Sync + 'e;

/// Changes the tags of a resource, and gives them as they are then.
async fn change(call: &Call, edit: Option<&Edit<'_>>) -> Result<BTreeMap<String, String>, ApiError> {
    let inner = &call.inner;
    let edited = |mut tags: BTreeMap<String, String>| {
        if let Some(edit) = edit {
            edit(&mut tags);
            check::tags(&tags)?;
        }
        Ok::<_, ApiError>(tags)
    };
    match read(call.labels.get("resource-arn"), inner.options.place.region.as_str())? {
        Tagged::Api(id) => {
            let mut turn = inner.turn(&id).await?;
            let mut record = turn.held().record.clone();
            record.api.tags = edited(record.api.tags)?;
            let tags = record.api.tags.clone();
            if edit.is_some() {
                turn.put_api(record).await.map_err(error::store)?;
            }
            Ok(tags)
        }
        Tagged::Stage(id, name) => {
            let mut turn = inner.turn(&id).await?;
            let stage = turn.held().stages.get(&name).ok_or_else(stage_not_found)?;
            let mut stage = Stage::clone(stage);
            stage.tags = edited(stage.tags)?;
            let tags = stage.tags.clone();
            if edit.is_some() {
                turn.put_stage(stage).await.map_err(error::store)?;
            }
            Ok(tags)
        }
        Tagged::Domain(name) => {
            let mut turn = inner.store.domain_turn(&name).await.map_err(error::store)?;
            let mut record = turn.record.clone().ok_or_else(domain_not_found)?;
            record.domain.tags = edited(record.domain.tags)?;
            let tags = record.domain.tags.clone();
            if edit.is_some() {
                turn.put(record).await.map_err(error::store)?;
            }
            Ok(tags)
        }
    }
}

pub(super) async fn get(call: Call) -> Result<Response, ApiError> {
    let tags = change(&call, None).await?;
    Ok(ok(&json!({ "tags": tags })))
}

pub(super) async fn tag(call: Call) -> Result<Response, ApiError> {
    let input: Input = read_json(&call.request.body)?;
    change(&call, Some(&|tags| tags.extend(input.tags.clone()))).await?;
    Ok(created(&json!({})))
}

pub(super) async fn untag(call: Call) -> Result<Response, ApiError> {
    let named = call.request.query.iter().filter(|(name, _)| name == "tagKeys");
    let keys: Vec<String> = named.map(|(_, key)| key.clone()).collect();
    change(&call, Some(&|tags| tags.retain(|key, _| !keys.contains(key)))).await?;
    Ok(no_content())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_name_apis_stages_and_domains() {
        let read = |path: &str| read(&format!("arn:aws:apigateway:eu-central-1::{path}"), "eu-central-1").ok();
        assert_eq!(read("/apis/abc"), Some(Tagged::Api("abc".into())));
        assert_eq!(
            read("/apis/abc/stages/$default"),
            Some(Tagged::Stage("abc".into(), "$default".into()))
        );
        assert_eq!(
            read("/domainnames/A.example.com"),
            Some(Tagged::Domain("a.example.com".into()))
        );
        assert_eq!(read("/vpclinks/x"), None);
        assert!(super::read("arn:aws:apigateway:us-east-1::/apis/abc", "eu-central-1").is_err());
        assert!(super::read("abc", "eu-central-1").is_err());
    }
}
