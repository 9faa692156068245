//! ImportApi, ReimportApi, ExportApi.

use std::sync::Arc;

use bytes::Bytes;
use ephyra_wire::error::ApiError;
use ephyra_wire::rest::{query_boolean, read_json};
use ephyra_wire::service::{Body, Request, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;

use super::api::{check_api, describe};
use super::{created, required};
use crate::api::error::{self, bad_request, stage_not_found};
use crate::api::model::{Api, Content};
use crate::api::openapi::{self, BasePath, Imported};
use crate::api::service::{Call, IMPORT_BYTES, Inner};
use crate::api::store::Parts;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Input {
    body: Option<String>,
}

/// Reads the document of a request.
async fn read(inner: &Arc<Inner>, request: &Request) -> Result<Imported, ApiError> {
    let base_path = match request.query("basepath").unwrap_or_default() {
        "" | "ignore" => BasePath::Ignore,
        "prepend" => BasePath::Prepend,
        "split" => BasePath::Split,
        _ => {
            return Err(bad_request(
                "Invalid basepath specified. Must be one of [ignore, prepend, split]",
            ));
        }
    };
    let fails_on_warnings = query_boolean(request, "failOnWarnings")?.unwrap_or(false);
    let _turn = inner.documents.acquire().await;
    let (inner, body) = (Arc::clone(inner), request.body.clone());
    // A large document takes a while: nobody waits for it.
    let imported = tokio::task::spawn_blocking(move || {
        let input: Input = read_json(&body)?;
        let text = required("Body", input.body)?;
        if text.len() > IMPORT_BYTES {
            return Err(error::too_large(IMPORT_BYTES));
        }
        let document = openapi::read(&text)?;
        openapi::import(&document, base_path, &|length| inner.new_id(length, |_| false))
    });
    let imported = imported.await.unwrap_or_else(|failure| {
        tracing::error!(%failure, "an OpenAPI document could not be imported");
        Err(error::internal("The document could not be imported."))
    })?;
    if fails_on_warnings && !imported.warnings.is_empty() {
        return Err(bad_request(format!(
            "Warnings found during import:\n\t{}",
            imported.warnings.join("\n\t")
        )));
    }
    Ok(imported)
}

/// Takes over what a document says of the API itself.
fn apply(api: &mut Api, imported: Imported) -> Result<Parts, ApiError> {
    api.name = imported.name;
    api.description = imported.description;
    api.version = imported.version;
    api.cors_configuration = imported.cors;
    if let Some(disable) = imported.disable_execute_api_endpoint {
        api.disable_execute_api_endpoint = disable;
    }
    if !imported.tags.is_empty() {
        api.tags = imported.tags;
    }
    api.warnings = imported.warnings;
    check_api(api)?;
    Ok(imported.parts)
}

pub(super) async fn import(call: Call) -> Result<Response, ApiError> {
    let imported = read(&call.inner, &call.request).await?;
    let mut api = call.inner.new_api(String::new());
    let parts = apply(&mut api, imported)?;
    call.inner.create_api(&mut api, parts, None).await?;
    Ok(created(&describe(&call.inner, &api)))
}

pub(super) async fn reimport(call: Call) -> Result<Response, ApiError> {
    // That it is there is said before the document is read.
    drop(call.turn().await?);
    let imported = read(&call.inner, &call.request).await?;
    let mut turn = call.turn().await?;
    let mut record = turn.held().record.clone();
    let parts = apply(&mut record.api, imported)?;
    let answer = created(&describe(&call.inner, &record.api));
    turn.replace(record, parts).await.map_err(error::store)?;
    call.inner.settle(&mut turn).await?;
    Ok(answer)
}

pub(super) async fn export(call: Call) -> Result<Response, ApiError> {
    let request = &call.request;
    if call.labels.get("specification") != "OAS30" {
        return Err(bad_request("Invalid specification specified. Must be OAS30"));
    }
    let has_extensions = query_boolean(request, "includeExtensions")?.unwrap_or(true);
    match request.query("exportVersion") {
        None | Some("" | "1.0") => {}
        Some(_) => return Err(bad_request("Invalid export version specified. Must be 1.0")),
    }
    let output = request.query("outputType").unwrap_or_default().to_ascii_uppercase();
    if !matches!(output.as_str(), "JSON" | "YAML") {
        return Err(bad_request(
            "Invalid output type specified. Must be one of [JSON, YAML]",
        ));
    }
    let stage_name = request.query("stageName").filter(|name| !name.is_empty());
    let mut turn = call.turn().await?;
    let content: Arc<Content> = match stage_name {
        None => turn.current(),
        Some(name) => {
            let stage = turn.held().stages.get(name).ok_or_else(stage_not_found)?.clone();
            match &stage.deployment_id {
                _ if stage.auto_deploy => turn.current(),
                None => return Err(bad_request("The stage has no deployment")),
                Some(id) => {
                    let frozen = turn.frozen(id).await.map_err(error::store)?;
                    Arc::new(frozen.ok_or_else(stage_not_found)?)
                }
            }
        }
    };
    let api = turn.held().record.api.clone();
    drop(turn);
    let endpoint = call.inner.options.endpoint(&api.api_id);
    let stage = stage_name.unwrap_or("$default").to_owned();
    let _turn = call.inner.documents.acquire().await;
    let written = tokio::task::spawn_blocking(move || {
        let document = openapi::export(&api, &content, &endpoint, &stage, has_extensions);
        if output == "YAML" {
            (openapi::to_yaml(&document), "application/yaml")
        } else {
            (format!("{document:#}"), "application/json")
        }
    });
    let (text, kind) = written
        .await
        .map_err(|_| error::internal("The document could not be written."))?;
    Ok(Response {
        status: StatusCode::OK,
        headers: HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]),
        body: Body::Full(Bytes::from(text)),
    })
}
