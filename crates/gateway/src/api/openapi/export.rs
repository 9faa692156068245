//! The document of an API.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use super::{ANY_METHOD, DEFAULT_PATH};
use crate::api::live::route::key::{RouteKey, Segment};
use crate::api::model::{
    Api, AuthorizationType, Authorizer, AuthorizerType, Content, Integration, IntegrationType, Route,
};

/// The document of an API with this content. `endpoint`: where it is reached; `stage`: of which stage it is; without
/// extensions it says nothing of integrations and authorizers.
pub(crate) fn export(api: &Api, content: &Content, endpoint: &str, stage: &str, has_extensions: bool) -> Value {
    let mut uses: HashMap<&str, usize> = HashMap::new();
    for route in &content.routes {
        if let Some(id) = route.integration_id() {
            *uses.entry(id).or_default() += 1;
        }
    }
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for route in &content.routes {
        let (method, path) = match route.route_key.split_once(' ') {
            None => (ANY_METHOD.to_owned(), DEFAULT_PATH),
            Some(("ANY", path)) => (ANY_METHOD.to_owned(), path),
            Some((method, path)) => (method.to_ascii_lowercase(), path),
        };
        let mut operation = operation(route, content);
        if has_extensions {
            extend(&mut operation, route, content, &uses);
        }
        let item = paths.entry(path.to_owned()).or_default();
        item.insert(method, Value::Object(operation));
    }
    let mut document = json!({
        "openapi": "3.0.1",
        "info": {
            "title": api.name,
            "version": api.version.clone().unwrap_or_else(|| api.created_date.to_string()),
        },
        "servers": [{
            "url": format!("{endpoint}/{{basePath}}"),
            "variables": { "basePath": { "default": if stage == "$default" { "" } else { stage } } },
        }],
        "paths": paths,
    });
    if let Some(description) = &api.description {
        document["info"]["description"] = json!(description);
    }
    let tags = api.tags.iter();
    let tags: Vec<Value> = tags
        .map(|(name, value)| json!({ "name": name, "x-amazon-apigateway-tag-value": value }))
        .collect();
    let schemes: Map<String, Value> = content
        .authorizers
        .values()
        .map(|authorizer| (authorizer.name.clone(), scheme(authorizer, has_extensions)))
        .collect();
    if !schemes.is_empty() {
        document["components"]["securitySchemes"] = Value::Object(schemes);
    }
    if has_extensions {
        if !tags.is_empty() {
            document["tags"] = json!(tags);
        }
        let shared = content.integrations.iter();
        let shared = shared.filter(|(id, _)| uses.get(id.as_str()).is_some_and(|count| *count > 1));
        let shared: Map<String, Value> = shared.map(|(id, one)| (id.clone(), integration(one))).collect();
        if !shared.is_empty() {
            document["components"]["x-amazon-apigateway-integrations"] = Value::Object(shared);
        }
        if let Some(cors) = &content.cors {
            document["x-amazon-apigateway-cors"] = json!(cors);
        }
        if content.is_endpoint_disabled {
            document["x-amazon-apigateway-endpoint-configuration"] = json!({ "disableExecuteApiEndpoint": true });
        }
        document["x-amazon-apigateway-importexport-version"] = json!("1.0");
    }
    document
}

/// What OpenAPI itself says of a route.
fn operation(route: &Route, content: &Content) -> Map<String, Value> {
    let mut operation = Map::new();
    if let Some(name) = &route.operation_name {
        operation.insert("operationId".to_owned(), json!(name));
    }
    if let Ok(RouteKey::Path { segments, .. }) = route.route_key.parse() {
        let names = segments.into_iter().filter_map(|segment| match segment {
            Segment::Literal(_) => None,
            Segment::Parameter(name) => Some(name),
            Segment::Greedy(name) => Some(format!("{name}+")),
        });
        let parameters: Vec<Value> = names
            .map(|name| {
                json!({
                    "name": name,
                    "in": "path",
                    "description": format!("Generated path parameter for {name}"),
                    "required": true,
                    "schema": { "type": "string" },
                })
            })
            .collect();
        if !parameters.is_empty() {
            operation.insert("parameters".to_owned(), json!(parameters));
        }
    }
    let description = format!("Default response for {}", route.route_key);
    operation.insert(
        "responses".to_owned(),
        json!({ "default": { "description": description } }),
    );
    let authorizer = route.authorizer_id.as_ref().and_then(|id| content.authorizers.get(id));
    if let Some(authorizer) = authorizer {
        let requirement = Map::from_iter([(authorizer.name.clone(), json!(route.authorization_scopes))]);
        operation.insert("security".to_owned(), json!([requirement]));
    }
    operation
}

/// What API Gateway's extensions say of a route.
fn extend(operation: &mut Map<String, Value>, route: &Route, content: &Content, uses: &HashMap<&str, usize>) {
    if route.route_key == "$default" {
        operation.insert("isDefaultRoute".to_owned(), json!(true));
    }
    if route.authorization_type == AuthorizationType::AwsIam {
        operation.insert("x-amazon-apigateway-auth".to_owned(), json!({ "type": "AWS_IAM" }));
    }
    let Some((id, one)) = route
        .integration_id()
        .and_then(|id| Some((id, content.integrations.get(id)?)))
    else {
        return;
    };
    let value = if uses.get(id).is_some_and(|count| *count > 1) {
        json!({ "$ref": format!("#/components/x-amazon-apigateway-integrations/{id}") })
    } else {
        integration(one)
    };
    operation.insert("x-amazon-apigateway-integration".to_owned(), value);
}

fn integration(one: &Integration) -> Value {
    let mut value = json!({
        "payloadFormatVersion": one.payload_format_version,
        "type": match one.integration_type {
            IntegrationType::AwsProxy => "aws_proxy",
            IntegrationType::HttpProxy => "http_proxy",
        },
        "uri": one.integration_uri,
        "connectionType": one.connection_type,
        "timeoutInMillis": one.timeout_in_millis,
    });
    if let Some(method) = &one.integration_method {
        value["httpMethod"] = json!(method);
    }
    if let Some(arn) = &one.credentials_arn {
        value["credentials"] = json!(arn);
    }
    if let Some(description) = &one.description {
        value["description"] = json!(description);
    }
    if !one.request_parameters.is_empty() {
        value["requestParameters"] = json!(one.request_parameters);
    }
    if !one.response_parameters.is_empty() {
        value["responseParameters"] = json!(one.response_parameters);
    }
    if let Some(tls) = &one.tls_config {
        value["tlsConfig"] = json!(tls);
    }
    value
}

fn scheme(authorizer: &Authorizer, has_extensions: bool) -> Value {
    let mut extension = json!({ "identitySource": authorizer.identity_source.join(",") });
    let mut value = match authorizer.authorizer_type {
        AuthorizerType::Jwt => {
            extension["type"] = json!("jwt");
            extension["jwtConfiguration"] = json!(authorizer.jwt_configuration);
            json!({ "type": "oauth2", "flows": {} })
        }
        AuthorizerType::Request => {
            extension["type"] = json!("request");
            let members = [
                ("authorizerUri", json!(authorizer.authorizer_uri)),
                ("authorizerCredentials", json!(authorizer.authorizer_credentials_arn)),
                (
                    "authorizerPayloadFormatVersion",
                    json!(authorizer.authorizer_payload_format_version),
                ),
                (
                    "authorizerResultTtlInSeconds",
                    json!(authorizer.authorizer_result_ttl_in_seconds),
                ),
                ("enableSimpleResponses", json!(authorizer.enable_simple_responses)),
            ];
            for (name, member) in members.into_iter().filter(|(_, member)| !member.is_null()) {
                extension[name] = member;
            }
            json!({ "type": "apiKey", "name": "Unused", "in": "header" })
        }
    };
    if has_extensions {
        value["x-amazon-apigateway-authorizer"] = extension;
    }
    value
}
