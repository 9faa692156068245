//! Requests as strangers write them, at the service.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use ephyra_core::id::RequestId;
use ephyra_store::clock::ManualClock;
use ephyra_wire::service::{Body, Caller, Request, Service as _};
use http::{HeaderMap, Method};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::rows;
use crate::api::service::{ApiOptions, ApiService};
use crate::api::store::ApiStore;
use crate::api::store::tests::Memory;

/// Members of all operations' bodies.
#[rustfmt::skip]
const MEMBERS: &[&str] = &[
    "name", "protocolType", "target", "routeKey", "corsConfiguration", "description", "version", "tags", "credentialsArn",
    "disableExecuteApiEndpoint", "ipAddressType", "integrationType", "integrationUri", "integrationMethod",
    "payloadFormatVersion", "timeoutInMillis", "requestParameters", "responseParameters", "tlsConfig", "connectionType",
    "authorizerType", "authorizerUri", "identitySource", "jwtConfiguration", "authorizerPayloadFormatVersion",
    "authorizerResultTtlInSeconds", "enableSimpleResponses", "authorizationType", "authorizerId", "authorizationScopes",
    "operationName", "stageName", "autoDeploy", "deploymentId", "stageVariables", "defaultRouteSettings", "routeSettings",
    "accessLogSettings", "domainName", "domainNameConfigurations", "apiId", "apiMappingKey", "stage", "body",
];

struct House {
    service: ApiService,
}

impl House {
    async fn new() -> Self {
        let store = ApiStore::open(Arc::new(Memory::new())).await.expect("an empty table");
        let options = ApiOptions {
            place: ephyra_core::arn::Place {
                region: "eu-central-1".parse().expect("a region"),
                account: "111111111111".parse().expect("an account"),
            },
            origin: "http://localhost:4566".parse().expect("an origin"),
        };
        let count = AtomicU64::new(1);
        let random = move || count.fetch_add(1, Ordering::Relaxed);
        let clock = Arc::new(ManualClock::new(0));
        Self {
            service: ApiService::new(options, Arc::new(store), clock, Arc::new(random)),
        }
    }

    async fn ask(&self, method: Method, path: String, query: &[(&str, &str)], body: &Value) -> (u16, Value) {
        let query = query
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let request = Request {
            id: RequestId::new(),
            method,
            path,
            query: query.collect(),
            headers: HeaderMap::new(),
            body: Bytes::from(body.to_string()),
            caller: Caller {
                access_key: String::new(),
                account: "111111111111".parse().expect("an account"),
                region: "eu-central-1".into(),
            },
            received: Instant::now(),
        };
        let response = self.service.call(request).await;
        let Body::Full(bytes) = response.body else {
            panic!("these answers are whole");
        };
        (
            response.status.as_u16(),
            serde_json::from_slice(&bytes).unwrap_or_default(),
        )
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(future)
}

#[test]
fn no_two_operations_have_one_path() {
    let rows = rows();
    for (index, (method, path, _)) in rows.iter().enumerate() {
        let is_same = |other: &(Method, &str, super::Operation)| other.0 == *method && other.1 == *path;
        assert!(!rows[..index].iter().any(is_same), "{method} {path} twice");
    }
}

#[test]
fn a_name_is_taken_apart_only_once() {
    run(async {
        let house = House::new().await;
        let api = json!({ "name": "n", "protocolType": "HTTP", "target": "https://example.com" });
        let (status, made) = house.ask(Method::POST, "/v2/apis".into(), &[], &api).await;
        assert_eq!(status, 201);
        let id = made["apiId"].as_str().expect("an id");
        assert_eq!(
            made["apiEndpoint"],
            format!("http://{id}.execute-api.eu-central-1.localhost:4566")
        );
        for other in [format!("{id}%2Fs"), format!("{id}%00"), id.to_uppercase()] {
            let (status, answer) = house
                .ask(Method::GET, format!("/v2/apis/{other}"), &[], &Value::Null)
                .await;
            assert_eq!(status, 404, "{answer}");
        }
        let (status, answer) = house.ask(Method::GET, "/restapis".into(), &[], &Value::Null).await;
        assert_eq!(status, 400);
        assert!(
            answer["message"]
                .as_str()
                .is_some_and(|text| text.contains("REST APIs"))
        );
    });
}

fn junk() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop_oneof![
            Just("HTTP"),
            Just("JWT"),
            Just("REQUEST"),
            Just("AWS_PROXY"),
            Just("HTTP_PROXY"),
            Just("$default"),
            Just("GET /{a+}"),
            Just("https://example.com/{a}"),
            Just("2.0"),
            Just("1.0"),
            Just("$request.header.A"),
            Just("arn:aws:lambda:eu-central-1:111111111111:function:f"),
            Just("POST"),
            Just("a.example.com"),
            Just("openapi: 3.0.1\ninfo: {title: x}\npaths: {/a: {get: {}}}"),
        ]
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            proptest::collection::btree_map("[a-zA-Z:.]{0,10}|GET /|append:header.x|issuer|audience", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn body() -> impl Strategy<Value = Value> {
    let members = proptest::collection::vec((proptest::sample::select(MEMBERS), junk()), 0..8);
    members.prop_map(|members| {
        let members: Map<String, Value> = members
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        Value::Object(members)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    /// Whatever is asked in whichever order: it is answered, never with a failure of ours, and what is there stays readable.
    #[test]
    fn no_request_breaks_the_service(
        requests in proptest::collection::vec((any::<proptest::sample::Index>(), body(), any::<u8>(), ".{0,8}"), 1..12),
    ) {
        run(async {
            let house = House::new().await;
            let api = json!({ "name": "n", "protocolType": "HTTP", "target": "https://example.com" });
            let (_, made) = house.ask(Method::POST, "/v2/apis".into(), &[], &api).await;
            let id = made["apiId"].as_str().expect("an id").to_owned();
            let base = format!("/v2/apis/{id}");
            let first = async |list: &str, member: &str| {
                let (_, found) = house.ask(Method::GET, format!("{base}/{list}"), &[], &Value::Null).await;
                found["items"][0][member].as_str().unwrap_or("none").to_owned()
            };
            let domain = json!({ "domainName": "a.example.com" });
            house.ask(Method::POST, "/v2/domainnames".into(), &[], &domain).await;
            let rows = rows();
            for (row, body, choice, text) in &requests {
                let (method, path, operation) = &rows[row.index(rows.len())];
                let mut path = (*path).to_owned();
                for (label, value) in [
                    ("apiId", id.clone()),
                    ("routeId", first("routes", "routeId").await),
                    ("integrationId", first("integrations", "integrationId").await),
                    ("authorizerId", first("authorizers", "authorizerId").await),
                    ("deploymentId", first("deployments", "deploymentId").await),
                    ("stageName", "$default".to_owned()),
                    ("routeKey", "$default".to_owned()),
                    ("requestParameterKey", "x".to_owned()),
                    ("specification", "OAS30".to_owned()),
                    ("domainName", "a.example.com".to_owned()),
                    ("apiMappingId", "x".to_owned()),
                    ("resource-arn", format!("arn:aws:apigateway:eu-central-1::/apis/{id}")),
                    ("rest+", "x".to_owned()),
                ] {
                    let value = if choice % 8 == 0 { text.clone() } else { value };
                    let value = utf8_percent_encode(&value, NON_ALPHANUMERIC).to_string();
                    path = path.replace(&format!("{{{label}}}"), &value);
                }
                let query = [("outputType", "YAML"), ("maxResults", "2"), ("tagKeys", text.as_str())];
                let (status, answer) = house.ask(method.clone(), path.clone(), &query, body).await;
                assert!(status < 500, "{operation:?} {path}: {status} {answer}");
                assert!(status < 300 || answer["message"].is_string(), "{operation:?}: {answer}");
            }
            let (status, _) = house.ask(Method::GET, base, &[], &Value::Null).await;
            assert!(status == 200 || status == 404);
        });
    }
}
