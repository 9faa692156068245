//! CreateIntegration, GetIntegration, GetIntegrations, UpdateIntegration, DeleteIntegration.

use std::collections::BTreeMap;

use ephyra_wire::error::ApiError;
use ephyra_wire::rest::read_json;
use ephyra_wire::service::Response;
use serde::Deserialize;
use serde_json::Value;

use super::page::Page;
use super::{clearable, created, no_content, ok, required};
use crate::api::check;
use crate::api::error::{self, bad_request, conflict, not_available, part_not_found, quoted};
use crate::api::model::{ConnectionType, Integration, IntegrationType, PayloadFormat, TlsConfig};
use crate::api::service::Call;

/// How long an integration may take when nothing is said, in ms.
const TIMEOUT_MILLIS: u32 = 30_000;

/// What CreateIntegration and UpdateIntegration take.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Input {
    integration_type: Option<String>,
    integration_uri: Option<String>,
    #[serde(deserialize_with = "clearable")]
    integration_method: Option<Option<String>>,
    #[serde(deserialize_with = "clearable")]
    integration_subtype: Option<Option<String>>,
    connection_type: Option<String>,
    #[serde(deserialize_with = "clearable")]
    connection_id: Option<Option<String>>,
    payload_format_version: Option<String>,
    timeout_in_millis: Option<i32>,
    description: Option<String>,
    #[serde(deserialize_with = "clearable")]
    credentials_arn: Option<Option<String>>,
    request_parameters: Option<BTreeMap<String, String>>,
    response_parameters: Option<BTreeMap<String, BTreeMap<String, String>>>,
    tls_config: Option<TlsConfig>,
    content_handling_strategy: Option<String>,
    passthrough_behavior: Option<String>,
    request_templates: Option<BTreeMap<String, Value>>,
    template_selection_expression: Option<String>,
}

/// An integration with a function or a server and nothing more.
pub(in crate::api) fn new(id: String, is_function: bool, uri: String) -> Integration {
    Integration {
        integration_id: id,
        integration_type: if is_function {
            IntegrationType::AwsProxy
        } else {
            IntegrationType::HttpProxy
        },
        integration_uri: uri,
        integration_method: Some(if is_function { "POST" } else { "ANY" }.to_owned()),
        connection_type: ConnectionType::Internet,
        payload_format_version: if is_function {
            PayloadFormat::V2
        } else {
            PayloadFormat::V1
        },
        timeout_in_millis: TIMEOUT_MILLIS,
        description: None,
        credentials_arn: None,
        request_parameters: BTreeMap::new(),
        response_parameters: BTreeMap::new(),
        tls_config: None,
        api_gateway_managed: false,
    }
}

/// The kind of integration that AWS's word means.
pub(in crate::api) fn kind(text: &str) -> Result<IntegrationType, ApiError> {
    match text {
        "AWS_PROXY" => Ok(IntegrationType::AwsProxy),
        "HTTP_PROXY" => Ok(IntegrationType::HttpProxy),
        "AWS" | "HTTP" | "MOCK" => Err(bad_request(
            "Currently, an API with a protocol type of HTTP may only be associated with proxy integrations \
             (AWS_PROXY, HTTP_PROXY)",
        )),
        _ => Err(bad_request(
            "Invalid integration type specified. Must be one of [AWS, HTTP, MOCK, HTTP_PROXY, AWS_PROXY]",
        )),
    }
}

/// The format that AWS's word means.
pub(in crate::api) fn format(text: &str) -> Result<PayloadFormat, ApiError> {
    match text {
        "1.0" => Ok(PayloadFormat::V1),
        "2.0" => Ok(PayloadFormat::V2),
        _ => Err(bad_request(
            "Invalid payload format version specified. Must be one of [1.0, 2.0]",
        )),
    }
}

pub(super) async fn create(call: Call) -> Result<Response, ApiError> {
    let mut input: Input = read_json(&call.request.body)?;
    let mut turn = call.turn().await?;
    let held = turn.held();
    if held.integrations.len() >= check::INTEGRATIONS {
        return Err(error::too_many("Integrations", "API", check::INTEGRATIONS));
    }
    let of_type = kind(&required("IntegrationType", input.integration_type.take())?)?;
    refuse_absent(&input)?;
    let is_function = of_type == IntegrationType::AwsProxy;
    if is_function {
        required("PayloadFormatVersion", input.payload_format_version.as_ref())?;
    }
    let id = call.inner.new_id(7, |id| held.integrations.contains_key(id));
    let uri = required("IntegrationUri", input.integration_uri.take())?;
    let mut integration = new(id, is_function, uri);
    if !is_function {
        integration.integration_method = None;
    }
    apply(&mut integration, input)?;
    check::integration(&integration)?;
    let answer = created(&integration);
    turn.put_integration(integration).await.map_err(error::store)?;
    call.inner.settle(&mut turn).await?;
    Ok(answer)
}

/// Refuses what there is not yet, by name.
fn refuse_absent(input: &Input) -> Result<(), ApiError> {
    if let Some(Some(subtype)) = &input.integration_subtype {
        let what = format!("AWS service integrations (IntegrationSubtype {})", quoted(subtype));
        return Err(not_available(&what));
    }
    match input.connection_type.as_deref() {
        None | Some("INTERNET" | "") => {}
        Some("VPC_LINK") => return Err(not_available("Private integrations (ConnectionType VPC_LINK)")),
        Some(_) => {
            return Err(bad_request(
                "Invalid connection type specified. Must be one of [INTERNET, VPC_LINK]",
            ));
        }
    }
    if let Some(Some(_)) = &input.connection_id {
        return Err(not_available("Private integrations (ConnectionId)"));
    }
    match input.passthrough_behavior.as_deref() {
        // Means nothing for HTTP APIs, and is not shown: Terraform always sends it.
        None | Some("" | "WHEN_NO_MATCH" | "NEVER" | "WHEN_NO_TEMPLATES") => {}
        Some(_) => {
            return Err(bad_request(
                "Invalid passthrough behavior specified. Must be one of [WHEN_NO_MATCH, NEVER, WHEN_NO_TEMPLATES]",
            ));
        }
    }
    let is_given = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    let of_websockets = [
        ("ContentHandlingStrategy", is_given(&input.content_handling_strategy)),
        (
            "RequestTemplates",
            input.request_templates.as_ref().is_some_and(|all| !all.is_empty()),
        ),
        (
            "TemplateSelectionExpression",
            is_given(&input.template_selection_expression),
        ),
    ];
    match of_websockets.iter().find(|(_, is_given)| *is_given) {
        Some((member, _)) => Err(bad_request(format!(
            "{member} is not currently supported for HTTP APIs"
        ))),
        None => Ok(()),
    }
}

fn apply(integration: &mut Integration, input: Input) -> Result<(), ApiError> {
    if let Some(text) = &input.integration_type {
        integration.integration_type = kind(text)?;
    }
    if let Some(uri) = input.integration_uri {
        integration.integration_uri = uri;
    }
    if let Some(Some(method)) = input.integration_method {
        integration.integration_method = Some(method);
    }
    if let Some(text) = &input.payload_format_version {
        integration.payload_format_version = format(text)?;
    }
    if let Some(millis) = input.timeout_in_millis {
        integration.timeout_in_millis = u32::try_from(millis).unwrap_or(0);
    }
    if let Some(text) = input.description {
        integration.description = Some(text);
    }
    if let Some(arn) = input.credentials_arn {
        integration.credentials_arn = arn;
    }
    if let Some(changes) = input.request_parameters {
        merge(&mut integration.request_parameters, changes);
    }
    // Of a status all or nothing is given; an empty mapping removes it.
    for (status, mut changes) in input.response_parameters.unwrap_or_default() {
        changes.retain(|_, value| !value.is_empty());
        if changes.is_empty() {
            integration.response_parameters.remove(&status);
        } else {
            integration.response_parameters.insert(status, changes);
        }
    }
    if let Some(tls) = input.tls_config {
        let is_empty = tls.server_name_to_verify.as_deref().is_none_or(str::is_empty);
        integration.tls_config = Some(tls).filter(|_| !is_empty);
    }
    Ok(())
}

/// Takes over entries; an empty value removes its entry.
pub(super) fn merge(into: &mut BTreeMap<String, String>, from: BTreeMap<String, String>) {
    for (key, value) in from {
        if value.is_empty() {
            into.remove(&key);
        } else {
            into.insert(key, value);
        }
    }
}

pub(super) async fn get(call: Call) -> Result<Response, ApiError> {
    let turn = call.turn().await?;
    let id = call.labels.get("integrationId");
    let integration = turn.held().integrations.get(id).ok_or_else(|| not_found(id))?;
    Ok(ok(integration.as_ref()))
}

pub(super) async fn list(call: Call) -> Result<Response, ApiError> {
    let page = Page::of(&call.request)?;
    let turn = call.turn().await?;
    let integrations = turn
        .held()
        .integrations
        .iter()
        .map(|(id, one)| (id.clone(), one.as_ref()));
    Ok(ok(&page.cut(integrations)))
}

pub(super) async fn update(call: Call) -> Result<Response, ApiError> {
    let input: Input = read_json(&call.request.body)?;
    let mut turn = call.turn().await?;
    let id = call.labels.get("integrationId");
    let before = turn.held().integrations.get(id).ok_or_else(|| not_found(id))?;
    let mut integration = Integration::clone(before);
    refuse_absent(&input)?;
    apply(&mut integration, input)?;
    check::integration(&integration)?;
    let answer = ok(&integration);
    turn.put_integration(integration).await.map_err(error::store)?;
    call.inner.settle(&mut turn).await?;
    Ok(answer)
}

pub(super) async fn delete(call: Call) -> Result<Response, ApiError> {
    let mut turn = call.turn().await?;
    let id = call.labels.get("integrationId");
    let held = turn.held();
    let integration = held.integrations.get(id).ok_or_else(|| not_found(id))?;
    if integration.api_gateway_managed {
        return Err(conflict(
            "An integration that is managed by API Gateway cannot be deleted",
        ));
    }
    let led = held.routes.values().filter(|route| route.integration_id() == Some(id));
    let led: Vec<&str> = led.map(|route| route.route_id.as_str()).take(20).collect();
    if !led.is_empty() {
        return Err(conflict(format!(
            "Cannot delete Integration because it is referenced by the following Routes with Ids: [{}]",
            led.join(", ")
        )));
    }
    turn.delete_integration(id).await.map_err(error::store)?;
    call.inner.settle(&mut turn).await?;
    Ok(no_content())
}

fn not_found(id: &str) -> ApiError {
    part_not_found("Integration", id)
}
