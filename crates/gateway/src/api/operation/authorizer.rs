//! CreateAuthorizer, GetAuthorizer, GetAuthorizers, UpdateAuthorizer, DeleteAuthorizer.

use ephyra_wire::error::ApiError;
use ephyra_wire::rest::read_json;
use ephyra_wire::service::Response;
use serde::Deserialize;

use super::page::Page;
use super::{clearable, created, integration, no_content, ok, required};
use crate::api::check;
use crate::api::error::{self, bad_request, conflict, part_not_found, quoted};
use crate::api::model::{Authorizer, AuthorizerType, JwtConfiguration};
use crate::api::service::Call;
use crate::api::store::Held;

/// What CreateAuthorizer and UpdateAuthorizer take.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Input {
    name: Option<String>,
    authorizer_type: Option<String>,
    identity_source: Option<Vec<String>>,
    jwt_configuration: Option<JwtConfiguration>,
    #[serde(deserialize_with = "clearable")]
    authorizer_uri: Option<Option<String>>,
    #[serde(deserialize_with = "clearable")]
    authorizer_credentials_arn: Option<Option<String>>,
    #[serde(deserialize_with = "clearable")]
    authorizer_payload_format_version: Option<Option<String>>,
    authorizer_result_ttl_in_seconds: Option<i32>,
    enable_simple_responses: Option<bool>,
    identity_validation_expression: Option<String>,
}

/// An authorizer with a name and nothing more.
pub(in crate::api) fn new(id: String, name: String, authorizer_type: AuthorizerType) -> Authorizer {
    Authorizer {
        authorizer_id: id,
        name,
        authorizer_type,
        identity_source: Vec::new(),
        jwt_configuration: None,
        authorizer_uri: None,
        authorizer_credentials_arn: None,
        authorizer_payload_format_version: None,
        authorizer_result_ttl_in_seconds: None,
        enable_simple_responses: None,
        identity_validation_expression: None,
    }
}

fn kind(text: &str) -> Result<AuthorizerType, ApiError> {
    match text {
        "REQUEST" => Ok(AuthorizerType::Request),
        "JWT" => Ok(AuthorizerType::Jwt),
        _ => Err(bad_request(
            "Invalid authorizer type specified. Must be one of [REQUEST, JWT]",
        )),
    }
}

pub(super) async fn create(call: Call) -> Result<Response, ApiError> {
    let mut input: Input = read_json(&call.request.body)?;
    let mut turn = call.turn().await?;
    let held = turn.held();
    if held.authorizers.len() >= check::AUTHORIZERS {
        return Err(error::too_many("Authorizers", "API", check::AUTHORIZERS));
    }
    let name = required("Name", input.name.take())?;
    let of_type = kind(&required("AuthorizerType", input.authorizer_type.take())?)?;
    let id = call.inner.new_id(6, |id| held.authorizers.contains_key(id));
    let mut authorizer = new(id, name, of_type);
    apply(&mut authorizer, input)?;
    self::check(held, &authorizer)?;
    let answer = created(&authorizer);
    turn.put_authorizer(authorizer).await.map_err(error::store)?;
    call.inner.settle(&mut turn).await?;
    Ok(answer)
}

fn apply(authorizer: &mut Authorizer, input: Input) -> Result<(), ApiError> {
    if let Some(name) = input.name {
        authorizer.name = name;
    }
    if let Some(text) = &input.authorizer_type {
        authorizer.authorizer_type = kind(text)?;
    }
    if let Some(sources) = input.identity_source {
        // Terraform and others send an empty one where there is none.
        authorizer.identity_source = sources.into_iter().filter(|source| !source.is_empty()).collect();
    }
    if let Some(configuration) = input.jwt_configuration {
        let is_empty = configuration == JwtConfiguration::default();
        authorizer.jwt_configuration = Some(configuration).filter(|_| !is_empty);
    }
    if let Some(uri) = input.authorizer_uri {
        authorizer.authorizer_uri = uri;
    }
    if let Some(arn) = input.authorizer_credentials_arn {
        authorizer.authorizer_credentials_arn = arn;
    }
    if let Some(version) = input.authorizer_payload_format_version {
        let version = version.as_deref().map(integration::format).transpose()?;
        authorizer.authorizer_payload_format_version = version;
    }
    if let Some(seconds) = input.authorizer_result_ttl_in_seconds {
        let seconds = u32::try_from(seconds)
            .map_err(|_| bad_request("AuthorizerResultTtlInSeconds must be between 0 and 3600"))?;
        let is_request = authorizer.authorizer_type == AuthorizerType::Request;
        authorizer.authorizer_result_ttl_in_seconds = Some(seconds).filter(|_| is_request);
    }
    if let Some(is_simple) = input.enable_simple_responses {
        authorizer.enable_simple_responses = Some(is_simple);
    }
    if let Some(expression) = input.identity_validation_expression {
        authorizer.identity_validation_expression = Some(expression);
    }
    Ok(())
}

/// Checks an authorizer as it will be among the others of its API, and for the routes that have it.
fn check(held: &Held, authorizer: &Authorizer) -> Result<(), ApiError> {
    check::authorizer(authorizer)?;
    let id = &authorizer.authorizer_id;
    let mut others = held.authorizers.values().filter(|other| other.authorizer_id != *id);
    if others.any(|other| other.name == authorizer.name) {
        return Err(conflict(format!(
            "Authorizer with name {} already exists for this API",
            quoted(&authorizer.name)
        )));
    }
    let before = held.authorizers.get(id);
    if before.is_some_and(|before| before.authorizer_type != authorizer.authorizer_type) && is_used(held, id) {
        return Err(conflict(
            "The type of an authorizer that routes refer to cannot be changed",
        ));
    }
    Ok(())
}

fn is_used(held: &Held, id: &str) -> bool {
    let mut routes = held.routes.values();
    routes.any(|route| route.authorizer_id.as_deref() == Some(id))
}

pub(super) async fn get(call: Call) -> Result<Response, ApiError> {
    let turn = call.turn().await?;
    let id = call.labels.get("authorizerId");
    let authorizer = turn.held().authorizers.get(id).ok_or_else(|| not_found(id))?;
    Ok(ok(authorizer.as_ref()))
}

pub(super) async fn list(call: Call) -> Result<Response, ApiError> {
    let page = Page::of(&call.request)?;
    let turn = call.turn().await?;
    let authorizers = turn
        .held()
        .authorizers
        .iter()
        .map(|(id, one)| (id.clone(), one.as_ref()));
    Ok(ok(&page.cut(authorizers)))
}

pub(super) async fn update(call: Call) -> Result<Response, ApiError> {
    let input: Input = read_json(&call.request.body)?;
    let mut turn = call.turn().await?;
    let id = call.labels.get("authorizerId");
    let held = turn.held();
    let before = held.authorizers.get(id).ok_or_else(|| not_found(id))?;
    let mut authorizer = Authorizer::clone(before);
    apply(&mut authorizer, input)?;
    self::check(held, &authorizer)?;
    let answer = ok(&authorizer);
    turn.put_authorizer(authorizer).await.map_err(error::store)?;
    call.inner.settle(&mut turn).await?;
    Ok(answer)
}

pub(super) async fn delete(call: Call) -> Result<Response, ApiError> {
    let mut turn = call.turn().await?;
    let id = call.labels.get("authorizerId");
    let held = turn.held();
    if !held.authorizers.contains_key(id) {
        return Err(not_found(id));
    }
    if is_used(held, id) {
        return Err(conflict(
            "Cannot delete Authorizer because it is referenced by routes of this API",
        ));
    }
    turn.delete_authorizer(id).await.map_err(error::store)?;
    call.inner.settle(&mut turn).await?;
    Ok(no_content())
}

fn not_found(id: &str) -> ApiError {
    part_not_found("Authorizer", id)
}
