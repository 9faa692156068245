//! What documents must satisfy, whether they come by an operation or by an import. All of this is pure.

mod authorizer;
mod cors;
pub(crate) mod function;
mod integration;
mod parameters;
mod route;
mod stage;

use std::collections::BTreeMap;

use ephyra_wire::error::ApiError;

use super::error::bad_request;

pub(crate) use authorizer::authorizer;
pub(crate) use cors::cors;
pub(crate) use integration::integration;
pub(crate) use route::route;
pub(crate) use stage::{stage, stage_name};

/// HTTP APIs in the account.
pub(crate) const APIS: usize = 600;
/// Routes in an API.
pub(crate) const ROUTES: usize = 10_000;
/// Integrations in an API.
pub(crate) const INTEGRATIONS: usize = 10_000;
/// Authorizers in an API.
pub(crate) const AUTHORIZERS: usize = 100;
/// Stages in an API.
pub(crate) const STAGES: usize = 100;
/// Deployments in an API.
pub(crate) const DEPLOYMENTS: usize = 300;
/// Custom domain names in the account.
pub(crate) const DOMAINS: usize = 1_000;
/// Mappings of a domain name.
pub(crate) const MAPPINGS: usize = 200;
/// Tags of a resource.
const TAGS: usize = 50;
/// The longest description, in characters.
const DESCRIPTION: usize = 1024;
/// The longest ARN, in characters.
const ARN: usize = 2048;

/// Requires a text to have from `min` to `max` characters.
pub(crate) fn length(member: &str, text: &str, min: usize, max: usize) -> Result<(), ApiError> {
    let length = text.chars().count();
    if (min..=max).contains(&length) {
        return Ok(());
    }
    Err(bad_request(format!(
        "Invalid value for {member}: it must have from {min} to {max} characters"
    )))
}

/// Requires a text that may be absent to have at most `max` characters.
pub(crate) fn at_most(member: &str, text: Option<&str>, max: usize) -> Result<(), ApiError> {
    text.map_or(Ok(()), |text| length(member, text, 0, max))
}

pub(crate) fn description(text: Option<&str>) -> Result<(), ApiError> {
    at_most("description", text, DESCRIPTION)
}

pub(crate) fn arn(member: &str, text: Option<&str>) -> Result<(), ApiError> {
    at_most(member, text, ARN)
}

/// Requires a list or map to have at most `max` entries.
pub(crate) fn count(member: &str, count: usize, max: usize) -> Result<(), ApiError> {
    if count <= max {
        return Ok(());
    }
    Err(bad_request(format!(
        "Invalid value for {member}: it may have at most {max} entries"
    )))
}

/// Checks a resource's tags as they will be.
pub(crate) fn tags(tags: &BTreeMap<String, String>) -> Result<(), ApiError> {
    count("tags", tags.len(), TAGS)?;
    for (key, value) in tags {
        length("tags", key, 1, 128)?;
        length("tags", value, 0, 1600)?;
        if key.starts_with("aws:") {
            return Err(bad_request("Invalid tag key: the prefix aws: is reserved"));
        }
    }
    Ok(())
}

/// Checks `ipv4` or `dualstack`.
pub(crate) fn ip_address_type(text: &str) -> Result<(), ApiError> {
    if matches!(text, "ipv4" | "dualstack") {
        return Ok(());
    }
    Err(bad_request(
        "Invalid IP address type specified. Must be one of [ipv4, dualstack]",
    ))
}
