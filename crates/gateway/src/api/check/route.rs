//! Routes.

use ephyra_wire::error::ApiError;

use super::{at_most, count, length};
use crate::api::error::{bad_request, part_not_found};
use crate::api::live::route::key::RouteKey;
use crate::api::model::{AuthorizationType, AuthorizerType, Route};

/// Scopes of a route.
const SCOPES: usize = 20;
/// The longest route key, in characters.
const KEY: usize = 1024;

/// Checks a route as it will be: its integration must be there, and its authorizer of the right kind. That no other
/// route has its key is the caller's part.
pub(crate) fn route(
    route: &Route,
    has_integration: impl Fn(&str) -> bool,
    authorizer_type: impl Fn(&str) -> Option<AuthorizerType>,
) -> Result<(), ApiError> {
    let is_key = route.route_key.chars().count() <= KEY && route.route_key.parse::<RouteKey>().is_ok();
    if !is_key {
        return Err(bad_request(
            "The provided route key is not formatted properly for HTTP protocol. Format should be \"<HTTP METHOD> \
             /<RESOURCE PATH>\" or \"$default\"",
        ));
    }
    at_most("operationName", route.operation_name.as_deref(), 64)?;
    count("authorizationScopes", route.authorization_scopes.len(), SCOPES)?;
    for scope in &route.authorization_scopes {
        length("authorizationScopes", scope, 1, 64)?;
    }
    if route.target.is_some() {
        match route.integration_id() {
            None => {
                return Err(bad_request(
                    "Invalid target specified. The format is integrations/INTEGRATION_ID",
                ));
            }
            Some(id) if !has_integration(id) => return Err(part_not_found("Integration", id)),
            Some(_) => {}
        }
    }
    let wanted = match route.authorization_type {
        AuthorizationType::None | AuthorizationType::AwsIam => None,
        AuthorizationType::Custom => Some(AuthorizerType::Request),
        AuthorizationType::Jwt => Some(AuthorizerType::Jwt),
    };
    if wanted.is_some() && route.authorizer_id.as_deref().and_then(authorizer_type) != wanted {
        return Err(bad_request(
            "Invalid authorizer ID specified. Setting the authorization type to CUSTOM or JWT requires a valid \
             authorizer.",
        ));
    }
    if wanted != Some(AuthorizerType::Jwt) && !route.authorization_scopes.is_empty() {
        return Err(bad_request(
            "AuthorizationScopes are only supported with the authorization type JWT",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(given: Route, want: Option<&str>) {
        let types = |id: &str| match id {
            "jwt" => Some(AuthorizerType::Jwt),
            "function" => Some(AuthorizerType::Request),
            _ => None,
        };
        let found = route(&given, |id| id == "there", types);
        assert_eq!(found.err().map(|error| error.code), want);
    }

    fn with(authorization_type: AuthorizationType, authorizer: &str) -> Route {
        Route {
            route_key: "GET /".into(),
            authorization_type,
            authorizer_id: Some(authorizer.into()),
            ..Route::default()
        }
    }

    #[test]
    fn a_route_leads_to_what_is_there() {
        let to = |target: &str| Route {
            route_key: "GET /".into(),
            target: Some(target.into()),
            ..Route::default()
        };
        check(to("integrations/there"), None);
        check(to("integrations/gone"), Some("NotFoundException"));
        check(to("there"), Some("BadRequestException"));
        check(Route::default(), Some("BadRequestException"));
    }

    #[test]
    fn an_authorizer_is_of_the_routes_kind() {
        check(with(AuthorizationType::Jwt, "jwt"), None);
        check(with(AuthorizationType::Custom, "function"), None);
        check(with(AuthorizationType::Jwt, "function"), Some("BadRequestException"));
        check(with(AuthorizationType::Custom, "gone"), Some("BadRequestException"));
        let mut scoped = with(AuthorizationType::Jwt, "jwt");
        scoped.authorization_scopes = vec!["read".into()];
        check(scoped.clone(), None);
        scoped.authorization_type = AuthorizationType::None;
        check(scoped, Some("BadRequestException"));
    }
}
