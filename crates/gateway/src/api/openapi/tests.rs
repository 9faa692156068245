//! Documents that come and go.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::api::model::{
    Api, AuthorizationType, Authorizer, Content, Cors, Integration, PayloadFormat, ProtocolType, Route, Time,
};
use crate::api::store::Parts;

const FUNCTION: &str = "arn:aws:lambda:eu-central-1:111111111111:function:f";

fn import(document: &Value, base_path: BasePath) -> Result<Imported, ApiError> {
    let count = Cell::new(0);
    super::import(document, base_path, &|length| {
        count.set(count.get() + 1);
        format!("{:0length$}", count.get())
    })
}

#[track_caller]
fn refused(document: Value, want: &str) {
    let error = import(&document, BasePath::Ignore).expect_err("it is refused");
    assert_eq!(error.code, "BadRequestException");
    assert!(error.message.contains(want), "{}", error.message);
}

fn with_paths(paths: Value) -> Value {
    json!({ "openapi": "3.0.1", "info": { "title": "t", "version": "1" }, "paths": paths })
}

fn to_function() -> Value {
    json!({ "type": "aws_proxy", "httpMethod": "POST", "uri": FUNCTION, "payloadFormatVersion": "2.0" })
}

/// As SAM writes it.
#[test]
fn a_document_with_everything() {
    let text = format!(
        r"
openapi: 3.0.1
info: {{title: pets, version: 2.0, description: all about pets}}
tags:
  - name: httpapi:createdBy
    x-amazon-apigateway-tag-value: SAM
paths:
  /$default:
    x-amazon-apigateway-any-method:
      isDefaultRoute: true
      x-amazon-apigateway-integration: {{$ref: '#/components/x-amazon-apigateway-integrations/main'}}
  /pets/{{id}}:
    get:
      operationId: getPet
      security: [{{token: [read]}}]
      x-amazon-apigateway-integration: {{$ref: '#/components/x-amazon-apigateway-integrations/main'}}
    post:
      security: [{{by-function: []}}]
    delete:
      security: [{{AWS_IAM: []}}]
    options:
      security: []
  /old/{{proxy+}}:
    x-amazon-apigateway-any-method:
      x-amazon-apigateway-integration:
        type: http_proxy
        httpMethod: ANY
        uri: https://example.com/{{proxy}}
        payloadFormatVersion: 1.0
        timeoutInMillis: 5000
        requestParameters: {{'append:header.x': $context.requestId}}
        responseParameters: {{500: {{'overwrite:statuscode': 502}}}}
security: [{{token: []}}]
components:
  x-amazon-apigateway-integrations:
    main: {{type: AWS_PROXY, uri: '{FUNCTION}', payloadFormatVersion: 2.0}}
  securitySchemes:
    token:
      type: oauth2
      x-amazon-apigateway-authorizer:
        type: jwt
        jwtConfiguration: {{issuer: 'https://issuer.example.com', audience: [a, b]}}
    by-function:
      type: apiKey
      name: Unused
      in: header
      x-amazon-apigateway-authorizer:
        type: request
        authorizerUri: {FUNCTION}
        authorizerPayloadFormatVersion: 2.0
        authorizerResultTtlInSeconds: 60
        enableSimpleResponses: true
        identitySource: $request.header.A, $request.querystring.b
    AWS_IAM: {{type: apiKey, name: Authorization, in: header, x-amazon-apigateway-authtype: awsSigv4}}
x-amazon-apigateway-cors: {{allowOrigins: ['*'], maxAge: 60}}
"
    );
    let imported = import(&read(&text).unwrap(), BasePath::Ignore).unwrap();
    assert_eq!(imported.name, "pets");
    assert_eq!(imported.version.as_deref(), Some("2.0"));
    assert_eq!(imported.tags["httpapi:createdBy"], "SAM");
    assert_eq!(imported.cors.unwrap().max_age, Some(60));
    assert_eq!(imported.warnings, Vec::<String>::new());
    let parts = imported.parts;
    assert_eq!(parts.integrations.len(), 2, "two routes share one");
    let routes: BTreeMap<&str, &Route> = parts.routes.iter().map(|one| (one.route_key.as_str(), one)).collect();
    assert_eq!(routes.len(), 6);
    assert_eq!(routes["$default"].target, routes["GET /pets/{id}"].target);
    assert_eq!(routes["$default"].authorization_type, AuthorizationType::Jwt);
    let get = routes["GET /pets/{id}"];
    assert_eq!(get.authorization_scopes, ["read"]);
    assert_eq!(get.operation_name.as_deref(), Some("getPet"));
    assert_eq!(routes["POST /pets/{id}"].authorization_type, AuthorizationType::Custom);
    assert_eq!(
        routes["DELETE /pets/{id}"].authorization_type,
        AuthorizationType::AwsIam
    );
    assert_eq!(routes["OPTIONS /pets/{id}"].authorization_type, AuthorizationType::None);
    let old = parts
        .integrations
        .iter()
        .find(|one| one.timeout_in_millis == 5000)
        .unwrap();
    assert_eq!(old.payload_format_version, PayloadFormat::V1);
    assert_eq!(old.response_parameters["500"]["overwrite:statuscode"], "502");
    let by_function = parts.authorizers.iter().find(|one| one.name == "by-function").unwrap();
    assert_eq!(by_function.identity_source.len(), 2);
    assert_eq!(by_function.authorizer_result_ttl_in_seconds, Some(60));
}

#[test]
fn the_servers_path_is_ignored_or_put_before() {
    let mut document = with_paths(json!({ "/pets": { "get": {} } }));
    document["servers"] = json!([{
        "url": "https://example.com/{basePath}/v1/",
        "variables": { "basePath": { "default": "/prod" } },
    }]);
    let key = |base_path| import(&document, base_path).unwrap().parts.routes[0].route_key.clone();
    assert_eq!(key(BasePath::Ignore), "GET /pets");
    assert_eq!(key(BasePath::Prepend), "GET /prod/v1/pets");
    assert_eq!(key(BasePath::Split), "GET /v1/pets");
}

#[test]
fn models_that_are_missing_are_told() {
    let document = with_paths(json!({ "/update": { "get": {
        "responses": { "200": { "description": "d", "content": { "application/json": {
            "schema": { "$ref": "#/components/schemas/ModelThatDoesNotExist" },
        } } } },
    } } }));
    assert_eq!(
        import(&document, BasePath::Ignore).unwrap().warnings,
        [
            "Parse issue: attribute paths.'/update'(get).responses.200.content.schema.#/components/schemas/ModelThatDoesNotExist is missing"
        ]
    );
}

#[test]
fn what_cannot_be_an_api_is_refused() {
    refused(json!({ "swagger": "2.0", "info": { "title": "t" } }), "OpenAPI 3.0");
    refused(json!({ "openapi": "3.1.0", "info": { "title": "t" } }), "3.1.0");
    refused(json!({ "openapi": "3.0.1" }), "info.title");
    refused(with_paths(json!({ "pets": { "get": {} } })), "route key");
    refused(
        with_paths(json!({ "/a": { "get": { "security": [{ "gone": [] }] } } })),
        "not defined",
    );
    refused(
        with_paths(json!({ "/a": { "get": { "x-amazon-apigateway-integration": { "type": "mock" } } } })),
        "proxy integrations",
    );
    let mut closed = to_function();
    closed["connectionType"] = json!("VPC_LINK");
    refused(
        with_paths(json!({ "/a": { "get": { "x-amazon-apigateway-integration": closed } } })),
        "Private integrations",
    );
    let named = json!({ "$ref": "#/components/x-amazon-apigateway-integrations/gone" });
    refused(
        with_paths(json!({ "/a": { "get": { "x-amazon-apigateway-integration": named } } })),
        "$ref",
    );
    assert!(read("openapi: [").unwrap_err().message.contains("cannot be read"));
    assert!(read("{").unwrap_err().message.contains("cannot be read"));
}

#[test]
fn what_a_document_takes_is_bounded() {
    assert_eq!(nodes_of_json(r#"{"a,{[\"": [1, 2, {"b": "\\"}]}"#), 5);
    let many = format!("{{\"a\":[{}1]}}", "[],".repeat(300_000));
    assert!(read(&many).unwrap_err().message.contains("too many nodes"));
    let many = format!("a: [{}1]", "[],".repeat(600_000));
    assert!(read(&many).unwrap_err().message.contains("too large"));
}

fn api(name: String, tags: BTreeMap<String, String>) -> Api {
    Api {
        api_id: "abc".into(),
        name,
        protocol_type: ProtocolType::Http,
        route_selection_expression: String::new(),
        api_key_selection_expression: String::new(),
        description: Some("d".into()),
        version: Some("1.10".into()),
        cors_configuration: None,
        disable_execute_api_endpoint: false,
        ip_address_type: "ipv4".into(),
        import_info: Vec::new(),
        warnings: Vec::new(),
        tags,
        created_date: Time(0),
    }
}

fn content(parts: Parts, cors: Option<Cors>) -> Content {
    Content {
        routes: parts.routes.into_iter().map(Arc::new).collect(),
        integrations: parts
            .integrations
            .into_iter()
            .map(|one| (one.integration_id.clone(), Arc::new(one)))
            .collect(),
        authorizers: parts
            .authorizers
            .into_iter()
            .map(|one| (one.authorizer_id.clone(), Arc::new(one)))
            .collect(),
        cors,
        is_endpoint_disabled: false,
    }
}

/// Everything by its names, without ids.
fn named(parts: &Parts) -> BTreeMap<String, (Route, Option<Integration>, Option<Authorizer>)> {
    let entries = parts.routes.iter().map(|route| {
        let integration = parts
            .integrations
            .iter()
            .find(|one| Some(one.integration_id.as_str()) == route.integration_id());
        let authorizer = parts
            .authorizers
            .iter()
            .find(|one| Some(&one.authorizer_id) == route.authorizer_id.as_ref());
        let mut route = route.clone();
        route.route_id.clear();
        route.target = None;
        route.authorizer_id = None;
        let integration = integration.cloned().map(|one| Integration {
            integration_id: String::new(),
            ..one
        });
        let authorizer = authorizer.cloned().map(|one| Authorizer {
            authorizer_id: String::new(),
            ..one
        });
        (route.route_key.clone(), (route, integration, authorizer))
    });
    entries.collect()
}

fn operation() -> impl Strategy<Value = Value> {
    let integration = prop_oneof![
        Just(Value::Null),
        Just(to_function()),
        Just(json!({ "$ref": "#/components/x-amazon-apigateway-integrations/shared" })),
        "[a-z]{1,8}".prop_map(|host| json!({
            "type": "HTTP_PROXY", "httpMethod": "GET", "uri": format!("http://{host}.example.com/{{id}}"),
            "requestParameters": { "overwrite:header.x": "$request.path" },
        })),
    ];
    let security = prop_oneof![
        Just(Value::Null),
        Just(json!([])),
        Just(json!([{ "token": ["a", "b"] }])),
        Just(json!([{ "iam": [] }])),
    ];
    (integration, security, proptest::option::of("[a-z]{1,8}")).prop_map(|(integration, security, name)| {
        let mut operation = json!({});
        for (member, value) in [
            ("x-amazon-apigateway-integration", integration),
            ("security", security),
            ("operationId", json!(name)),
        ] {
            if !value.is_null() {
                operation[member] = value;
            }
        }
        operation
    })
}

fn document() -> impl Strategy<Value = Value> {
    let method = prop_oneof![Just("get"), Just("post"), Just(ANY_METHOD)];
    let path = prop_oneof![
        Just("/".to_owned()),
        "/[a-z]{1,4}",
        "/[a-z]{1,4}/\\{id\\}",
        "/[a-z]{1,4}/\\{id\\+\\}"
    ];
    let items = proptest::collection::btree_map(path, proptest::collection::btree_map(method, operation(), 1..3), 0..5);
    items.prop_map(|items| {
        let mut document = with_paths(json!(items));
        document["components"] = json!({
            "x-amazon-apigateway-integrations": { "shared": to_function() },
            "securitySchemes": {
                "iam": { "x-amazon-apigateway-authtype": "awsSigv4" },
                "token": { "x-amazon-apigateway-authorizer": {
                    "type": "jwt", "jwtConfiguration": { "issuer": "https://i.example.com", "audience": ["c"] },
                } },
            },
        });
        document
    })
}

/// A document in which anything stands in any place.
fn damaged() -> impl Strategy<Value = Value> {
    let junk = prop_oneof![
        Just(Value::Null),
        Just(json!([])),
        Just(json!({})),
        Just(json!(-1)),
        Just(json!("x")),
        Just(json!([[{ "$ref": "#/components" }]])),
        Just(json!({ "$ref": "#/components/x-amazon-apigateway-integrations/shared" })),
        "[ -~]{0,20}".prop_map(Value::from),
    ];
    (document(), any::<proptest::sample::Index>(), junk).prop_map(|(mut document, index, junk)| {
        let mut places = Vec::new();
        fn walk(value: &Value, path: String, places: &mut Vec<String>) {
            let children: Vec<(String, &Value)> = match value {
                Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
                Value::Array(list) => list
                    .iter()
                    .enumerate()
                    .map(|(at, value)| (at.to_string(), value))
                    .collect(),
                _ => Vec::new(),
            };
            for (key, value) in children {
                let path = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
                walk(value, path.clone(), places);
                places.push(path);
            }
        }
        walk(&document, String::new(), &mut places);
        let place = &places[index.index(places.len())];
        *document.pointer_mut(place).expect("it was found there") = junk;
        document
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn what_is_exported_is_imported_again(document in document(), is_yaml in any::<bool>()) {
        let first = import(&document, BasePath::Ignore).unwrap();
        let before = named(&first.parts);
        let shown = api(first.name.clone(), first.tags.clone());
        let written = super::export(&shown, &content(first.parts, first.cors), "http://a.localhost", "dev", true);
        let text = if is_yaml { to_yaml(&written) } else { written.to_string() };
        let again = import(&read(&text).unwrap(), BasePath::Ignore).unwrap();
        prop_assert_eq!(named(&again.parts), before);
        prop_assert_eq!(again.name, first.name);
        prop_assert_eq!(again.version.as_deref(), Some("1.10"));
    }

    /// Whatever comes, it is refused or becomes an API whose parts are there and unique.
    #[test]
    fn no_document_breaks_the_import(document in damaged(), base_path in 0..3_u8) {
        let base_path = [BasePath::Ignore, BasePath::Prepend, BasePath::Split][usize::from(base_path)];
        if let Ok(imported) = import(&document, base_path) {
            let parts = imported.parts;
            let keys: std::collections::HashSet<_> = parts.routes.iter().map(|route| &route.route_key).collect();
            prop_assert_eq!(keys.len(), parts.routes.len());
            for route in &parts.routes {
                let has = |id: &str| parts.integrations.iter().any(|one| one.integration_id == id);
                prop_assert!(route.target.is_none() || route.integration_id().is_some_and(has));
                let is_open = route.authorization_type == AuthorizationType::None;
                prop_assert!(is_open || route.authorizer_id.is_some() || route.authorization_type == AuthorizationType::AwsIam);
            }
        }
    }

    #[test]
    fn no_text_breaks_the_reader(text in "(openapi: 3.0.1\n)?[ -~\n]{0,120}") {
        if let Ok(document) = read(&text) {
            let _ = import(&document, BasePath::Prepend);
        }
    }
}
