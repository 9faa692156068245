//! Authorizers.

use ephyra_wire::error::ApiError;
use http::Uri;

use super::function::arn_of;
use super::{arn, at_most, count, length};
use crate::api::error::{bad_request, quoted};
use crate::api::model::{Authorizer, AuthorizerType, PayloadFormat};

/// Places of credentials.
const SOURCES: usize = 10;
/// Audiences.
const AUDIENCES: usize = 50;

/// Checks an authorizer as it will be.
pub(crate) fn authorizer(authorizer: &Authorizer) -> Result<(), ApiError> {
    length("name", &authorizer.name, 1, 128)?;
    let expression = authorizer.identity_validation_expression.as_deref();
    at_most("identityValidationExpression", expression, 1024)?;
    count("identitySource", authorizer.identity_source.len(), SOURCES)?;
    match authorizer.authorizer_type {
        AuthorizerType::Jwt => jwt(authorizer),
        AuthorizerType::Request => request(authorizer),
    }
}

fn jwt(authorizer: &Authorizer) -> Result<(), ApiError> {
    let source = match authorizer.identity_source.as_slice() {
        [source] => source,
        _ => return Err(bad_request("JWT authorizers have exactly one identity source")),
    };
    if !is_source(source) || !source.starts_with("$request.") {
        return Err(invalid_source(source));
    }
    let Some(configuration) = &authorizer.jwt_configuration else {
        return Err(bad_request(
            "JwtConfiguration is a required parameter for JWT authorizer",
        ));
    };
    count("jwtConfiguration.audience", configuration.audience.len(), AUDIENCES)?;
    if configuration.audience.is_empty() {
        return Err(bad_request(
            "JwtConfiguration.Audience is a required parameter for JWT authorizer",
        ));
    }
    for audience in &configuration.audience {
        length("jwtConfiguration.audience", audience, 1, 512)?;
    }
    length("jwtConfiguration.issuer", &configuration.issuer, 1, 2048)?;
    let is_url = configuration.issuer.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.query().is_none()
            && uri
                .authority()
                .is_some_and(|authority| !authority.as_str().contains('@'))
    });
    if !is_url {
        return Err(bad_request("Invalid issuer: it must be the base URL of an issuer"));
    }
    let is_of_requests = authorizer.authorizer_uri.is_some()
        || authorizer.authorizer_payload_format_version.is_some()
        || authorizer.enable_simple_responses == Some(true);
    if is_of_requests {
        return Err(bad_request(
            "AuthorizerUri, AuthorizerPayloadFormatVersion and EnableSimpleResponses are for REQUEST authorizers only",
        ));
    }
    Ok(())
}

fn request(authorizer: &Authorizer) -> Result<(), ApiError> {
    let Some(version) = authorizer.authorizer_payload_format_version else {
        return Err(bad_request(
            "AuthorizerPayloadFormatVersion is a required parameter for REQUEST authorizer",
        ));
    };
    if authorizer.jwt_configuration.is_some() {
        return Err(bad_request("JwtConfiguration is for JWT authorizers only"));
    }
    let uri = authorizer.authorizer_uri.as_deref().unwrap_or_default();
    at_most("authorizerUri", Some(uri), 2048)?;
    if arn_of(uri).is_none() {
        return Err(bad_request("Invalid Authorizer URI: it must name a Lambda function"));
    }
    arn(
        "authorizerCredentialsArn",
        authorizer.authorizer_credentials_arn.as_deref(),
    )?;
    for source in &authorizer.identity_source {
        if !is_source(source) {
            return Err(invalid_source(source));
        }
    }
    if authorizer
        .authorizer_result_ttl_in_seconds
        .is_some_and(|ttl| ttl > 3600)
    {
        return Err(bad_request("AuthorizerResultTtlInSeconds must be between 0 and 3600"));
    }
    let is_cached = authorizer.authorizer_result_ttl_in_seconds.is_some_and(|ttl| ttl > 0);
    if is_cached && authorizer.identity_source.is_empty() {
        return Err(bad_request(
            "IdentitySource is required for an authorizer with AuthorizerResultTtlInSeconds greater than 0",
        ));
    }
    if authorizer.enable_simple_responses == Some(true) && version == PayloadFormat::V1 {
        return Err(bad_request(
            "EnableSimpleResponses is only supported with AuthorizerPayloadFormatVersion 2.0",
        ));
    }
    Ok(())
}

/// Where a credential may be.
fn is_source(source: &str) -> bool {
    let places = [
        "$request.header.",
        "$request.querystring.",
        "$context.",
        "$stageVariables.",
    ];
    places.iter().any(|place| {
        source.strip_prefix(place).is_some_and(|name| {
            (1..=256).contains(&name.len())
                && !name
                    .bytes()
                    .any(|byte| byte.is_ascii_control() || byte.is_ascii_whitespace() || byte == b',')
        })
    })
}

fn invalid_source(source: &str) -> ApiError {
    bad_request(format!("Invalid identity source specified: {}", quoted(source)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::model::JwtConfiguration;
    use crate::api::operation::new_authorizer;

    fn by_token() -> Authorizer {
        Authorizer {
            identity_source: vec!["$request.header.Authorization".into()],
            jwt_configuration: Some(JwtConfiguration {
                audience: vec!["client".into()],
                issuer: "https://issuer.example.com/".into(),
            }),
            ..new_authorizer("abc123".into(), "a".into(), AuthorizerType::Jwt)
        }
    }

    #[track_caller]
    fn refused(change: impl FnOnce(&mut Authorizer), want: &str) {
        let mut changed = by_token();
        change(&mut changed);
        let error = authorizer(&changed).unwrap_err();
        assert!(error.message.contains(want), "{}", error.message);
    }

    #[test]
    fn tokens_need_an_issuer_an_audience_and_one_place() {
        assert!(authorizer(&by_token()).is_ok());
        refused(|a| a.identity_source.clear(), "exactly one");
        refused(|a| a.identity_source[0] = "$context.x".into(), "identity source");
        refused(|a| a.identity_source[0] = "Authorization".into(), "identity source");
        refused(|a| a.jwt_configuration = None, "JwtConfiguration is a required");
        refused(|a| a.jwt_configuration.as_mut().unwrap().audience.clear(), "Audience");
        refused(
            |a| a.jwt_configuration.as_mut().unwrap().issuer = "issuer".into(),
            "issuer",
        );
        refused(
            |a| a.jwt_configuration.as_mut().unwrap().issuer = "file:///x".into(),
            "issuer",
        );
    }

    #[test]
    fn functions_need_a_format_and_a_function() {
        let by_function = |version| Authorizer {
            authorizer_type: AuthorizerType::Request,
            jwt_configuration: None,
            authorizer_uri: Some("arn:aws:lambda:eu-central-1:111111111111:function:f".into()),
            authorizer_payload_format_version: version,
            enable_simple_responses: Some(true),
            ..by_token()
        };
        assert!(authorizer(&by_function(Some(PayloadFormat::V2))).is_ok());
        assert!(authorizer(&by_function(Some(PayloadFormat::V1))).is_err());
        assert_eq!(
            authorizer(&by_function(None)).unwrap_err().message,
            "AuthorizerPayloadFormatVersion is a required parameter for REQUEST authorizer"
        );
    }
}
