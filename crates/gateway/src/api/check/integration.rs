//! Integrations.

use ephyra_wire::error::ApiError;
use http::Method;

use super::function::{arn_of, without_variables};
use super::{arn, at_most, description, length, parameters};
use crate::api::error::bad_request;
use crate::api::live::integrate::proxy::Target;
use crate::api::model::{Integration, IntegrationType, PayloadFormat};

/// The methods by which a server is called.
const METHODS: &[&str] = &["ANY", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];

/// Checks an integration as it will be.
pub(crate) fn integration(integration: &Integration) -> Result<(), ApiError> {
    description(integration.description.as_deref())?;
    arn("credentialsArn", integration.credentials_arn.as_deref())?;
    length("integrationUri", &integration.integration_uri, 1, 2048)?;
    if !(50..=30_000).contains(&integration.timeout_in_millis) {
        return Err(bad_request("Timeout should be between 50 ms and 30000 ms"));
    }
    if let Some(method) = &integration.integration_method {
        let is_known = METHODS.contains(&method.as_str()) && Method::from_bytes(method.as_bytes()).is_ok();
        if !is_known {
            return Err(bad_request("Invalid HTTP method specified"));
        }
    }
    let tls = integration.tls_config.as_ref();
    let name = tls.and_then(|tls| tls.server_name_to_verify.as_deref());
    at_most("tlsConfig.serverNameToVerify", name, 512)?;
    match integration.integration_type {
        IntegrationType::AwsProxy => {
            if arn_of(&integration.integration_uri).is_none() {
                return Err(bad_request("Invalid function ARN or invalid uri"));
            }
            if integration.integration_method.as_deref() != Some("POST") {
                return Err(bad_request("IntegrationMethod must be POST for AWS_PROXY integrations"));
            }
        }
        IntegrationType::HttpProxy => {
            if integration.integration_method.is_none() {
                return Err(bad_request(
                    "IntegrationMethod is a required parameter for HTTP_PROXY integrations",
                ));
            }
            if integration.payload_format_version != PayloadFormat::V1 {
                return Err(bad_request(
                    "PayloadFormatVersion 2.0 is not supported for HTTP_PROXY integrations",
                ));
            }
            if !is_server(&integration.integration_uri) {
                return Err(bad_request("Invalid HTTP endpoint specified for URI"));
            }
        }
    }
    parameters::request(&integration.request_parameters)?;
    parameters::responses(&integration.response_parameters)
}

/// Whether a text is a server's URL once its variables are known.
fn is_server(url: &str) -> bool {
    without_variables(url).is_some_and(|plain| {
        let braces = |brace: char| plain.matches(brace).count();
        plain.bytes().all(|byte| byte.is_ascii_graphic())
            && braces('{') == braces('}')
            && !plain.contains("{}")
            && Target::new(&plain, None).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_a_scheme_and_a_host() {
        for good in [
            "http://example.com",
            "https://example.com:8443/a/{proxy}?x=1",
            "https://${stageVariables.host}/{id}/x",
            "http://[::1]:80/",
        ] {
            assert!(is_server(good), "{good}");
        }
        for bad in [
            "",
            "example.com",
            "ftp://example.com",
            "http://",
            "http://user:secret@example.com",
            "http://a/{",
            "http://a/{}",
            "http://${request.header.x}",
            "http://a b",
        ] {
            assert!(!is_server(bad), "{bad}");
        }
    }
}
