//! Stages.

use ephyra_wire::error::ApiError;

use super::{arn, at_most, count, description, length, tags};
use crate::api::error::bad_request;
use crate::api::model::{RouteSettings, Stage};

/// Variables of a stage.
const VARIABLES: usize = 100;
/// Routes of a stage with settings of their own.
const ROUTES: usize = 1_000;

/// Checks a stage as it will be.
pub(crate) fn stage(stage: &Stage) -> Result<(), ApiError> {
    description(stage.description.as_deref())?;
    tags(&stage.tags)?;
    at_most("clientCertificateId", stage.client_certificate_id.as_deref(), 128)?;
    count("stageVariables", stage.stage_variables.len(), VARIABLES)?;
    for (name, value) in &stage.stage_variables {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_value = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#&=,".contains(&byte);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(is_name) {
            return Err(bad_request(
                "Stage variable names only allow alphanumerical characters and underscores",
            ));
        }
        length("stageVariables", value, 0, 2048)?;
        if !value.bytes().all(is_value) {
            return Err(bad_request(
                "Stage variable values must match the regular expression [A-Za-z0-9-._~:/?#&=,]+",
            ));
        }
    }
    settings(&stage.default_route_settings)?;
    count("routeSettings", stage.route_settings.len(), ROUTES)?;
    for of_route in stage.route_settings.values() {
        settings(of_route)?;
    }
    if let Some(log) = &stage.access_log_settings {
        arn("accessLogSettings.destinationArn", log.destination_arn.as_deref())?;
        at_most("accessLogSettings.format", log.format.as_deref(), 3072)?;
        let format = log.format.as_deref().unwrap_or_default();
        if format.contains(['\r', '\n']) {
            return Err(bad_request(
                "Access Log format must be single line, new lines are not allowed",
            ));
        }
    }
    Ok(())
}

fn settings(settings: &RouteSettings) -> Result<(), ApiError> {
    if settings.throttling_burst_limit.is_some_and(|limit| limit < 0) {
        return Err(bad_request(
            "Invalid value for throttlingBurstLimit: it must not be negative",
        ));
    }
    let is_rate = |rate: f64| rate.is_finite() && rate >= 0.0;
    if !settings.throttling_rate_limit.is_none_or(is_rate) {
        return Err(bad_request(
            "Invalid value for throttlingRateLimit: it must not be negative",
        ));
    }
    let logs = settings.data_trace_enabled == Some(true)
        || settings
            .logging_level
            .as_deref()
            .is_some_and(|level| !matches!(level, "" | "OFF"));
    if logs {
        return Err(bad_request("Execution logs are not supported on protocolType HTTP"));
    }
    Ok(())
}

/// Checks a stage's name.
pub(crate) fn stage_name(name: &str) -> Result<(), ApiError> {
    length("stageName", name, 1, 128)?;
    let is_plain = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if name == "$default" || is_plain {
        return Ok(());
    }
    Err(bad_request(
        "Stage name only allows alphanumerical characters, hyphens, and underscores",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words() {
        for good in ["$default", "prod", "v1_x-2"] {
            assert!(stage_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a/b", "$other", "a b", &"x".repeat(129)] {
            assert!(stage_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn limits_are_not_negative() {
        let with = |rate| Stage {
            default_route_settings: RouteSettings {
                throttling_rate_limit: Some(rate),
                ..RouteSettings::default()
            },
            ..Stage::default()
        };
        assert!(stage(&with(0.0)).is_ok());
        assert!(stage(&with(-1.0)).is_err());
        assert!(stage(&with(f64::NAN)).is_err());
    }
}
