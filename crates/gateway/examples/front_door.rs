//! What an HTTP API's door costs a request, without connection and function: 404, a refusal that an authorizer has said before,
//! and a function that answers at once.
//!
//!     cargo run --release -p ephyra-gateway --example front_door

#![expect(clippy::unwrap_used, reason = "a program for developers")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use ephyra_core::arn::Place;
use ephyra_core::compute::{EventConfig, Invoke, Resolve, ResolveError, Resolved};
use ephyra_core::digest::Digest;
use ephyra_core::id::{FunctionName, Qualifier, RequestId, RevisionId, Version};
use ephyra_core::invocation::{Invocation, InvokeError, Measures, Outcome};
use ephyra_core::logs::{LogSink, LogStream};
use ephyra_core::revision::{LogFormat, LogLevel, Logging, Revision};
use ephyra_gateway::api::live::fetch::Client;
use ephyra_gateway::api::live::integrate::function::Functions;
use ephyra_gateway::api::live::way::{DataPlane, Dependencies};
use ephyra_gateway::api::service::{ApiOptions, ApiService};
use ephyra_gateway::api::store::ApiStore;
use ephyra_gateway::door::{self, Door};
use ephyra_store::clock::SystemClock;
use ephyra_store::sqlite::Sqlite;
use ephyra_wire::front::{Peer, SiteRequest};
use ephyra_wire::service::{Body, Caller, Request, Service as _};
use ephyra_wire::sigv4::{Credential, Credentials, Verifier};
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

const REGION: &str = "us-east-1";
const ACCOUNT: &str = "000000000000";

/// Functions that answer at once: one lets nobody in, the others greet.
struct Functionary(Arc<Revision>);

impl Resolve for Functionary {
    fn resolve<'a>(
        &'a self,
        function: &'a FunctionName,
        _: Option<&'a Qualifier>,
    ) -> BoxFuture<'a, Result<Resolved, ResolveError>> {
        Box::pin(async move {
            Ok(Resolved {
                revision: Arc::clone(&self.0),
                invoked_arn: function.to_string(),
                events: EventConfig {
                    max_retries: 0,
                    max_age_seconds: 60,
                },
            })
        })
    }

    fn is_stopped<'a>(&'a self, _: &'a FunctionName) -> BoxFuture<'a, Result<bool, ResolveError>> {
        Box::pin(async { Ok(false) })
    }
}

impl Invoke for Functionary {
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Result<Outcome, InvokeError>> {
        let answer: &[u8] = match invocation.invoked_arn.as_str() {
            "guard" => br#"{"isAuthorized":false}"#,
            _ => br#"{"statusCode":200,"body":"hello"}"#,
        };
        let result = Ok(Bytes::from_static(answer));
        let outcome = Outcome {
            executed_version: Version::Latest,
            result,
            log_tail: None,
            measures: Measures::default(),
        };
        Box::pin(async { Ok(outcome) })
    }
}

struct Nobody;

impl Credentials for Nobody {
    fn find(&self, _: &str, _: Option<&str>) -> Option<Credential> {
        None
    }
}

struct NoLog;

impl LogSink for NoLog {
    fn open(&self, _: &str, _: &str) -> Box<dyn LogStream> {
        Box::new(Self)
    }
}

impl LogStream for NoLog {
    fn append(&mut self, _: i64, _: &[u8]) {}

    fn flush(&mut self) {}
}

/// One operation of the control plane.
async fn configure(service: &ApiService, path: &str, document: Value) -> Value {
    let request = Request {
        id: RequestId::new(),
        method: Method::POST,
        path: path.to_owned(),
        query: Vec::new(),
        headers: HeaderMap::new(),
        body: document.to_string().into(),
        caller: Caller {
            access_key: "root".to_owned(),
            account: ACCOUNT.parse().unwrap(),
            region: REGION.to_owned(),
        },
        received: Instant::now(),
    };
    let response = service.call(request).await;
    let Body::Full(body) = response.body else {
        panic!("a streamed answer to {path}");
    };
    assert!(
        response.status.is_success(),
        "{path}: {}",
        String::from_utf8_lossy(&body)
    );
    serde_json::from_slice(&body).unwrap()
}

fn request(host: &str, path: &str) -> SiteRequest {
    let mut head = http::Request::builder().uri(path);
    for (name, value) in [
        ("host", host),
        ("user-agent", "front_door/1.0"),
        ("accept", "*/*"),
        ("accept-encoding", "gzip, br"),
        ("x-word", "abracadabra"),
    ] {
        head = head.header(name, value);
    }
    SiteRequest {
        id: RequestId::new(),
        head: head.body(()).unwrap().into_parts().0,
        body: Bytes::new(),
        peer: Peer {
            address: "127.0.0.1:9".parse().unwrap(),
            is_tls: false,
        },
        received: Instant::now(),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SystemClock);
    let table = Arc::new(Sqlite::open(folder.path(), clock.clone()).unwrap());
    let store = Arc::new(ApiStore::open(table).await.unwrap());
    let place = Place {
        region: REGION.parse().unwrap(),
        account: ACCOUNT.parse().unwrap(),
    };
    let options = ApiOptions {
        place: place.clone(),
        origin: "http://localhost:4566".parse().unwrap(),
    };
    let service = ApiService::new(
        options,
        Arc::clone(&store),
        clock.clone(),
        Arc::new(|| u64::from_le_bytes(RequestId::new().as_bytes()[8..].try_into().unwrap())),
    );
    let revision = Revision {
        id: RevisionId::new(),
        function: "greeter".parse().unwrap(),
        version: Version::Latest,
        function_arn: String::new(),
        runtime: String::new(),
        handler: String::new(),
        code: Digest::of(b""),
        layers: Vec::new(),
        memory_mb: 128,
        ephemeral_storage_mb: 512,
        timeout_seconds: 3,
        variables: Vec::new(),
        logging: Logging {
            format: LogFormat::Text,
            application_level: LogLevel::Info,
            system_level: LogLevel::Info,
            group: String::new(),
        },
    };
    let functions = Arc::new(Functionary(Arc::new(revision)));
    let plane = DataPlane::open(Dependencies {
        store,
        functions: Functions {
            resolve: functions.clone(),
            invoke: functions,
        },
        verifier: Verifier::new(Arc::new(Nobody)),
        logs: Arc::new(NoLog),
        client: Client::new(Vec::new()),
        place,
        clock,
    });
    let plane = plane.await.unwrap();

    let arn = |name: &str| format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}");
    let api = configure(&service, "/v2/apis", json!({"name": "a", "protocolType": "HTTP"})).await;
    let id = api["apiId"].as_str().unwrap();
    let integration =
        json!({"integrationType": "AWS_PROXY", "integrationUri": arn("greeter"), "payloadFormatVersion": "2.0"});
    let integration = configure(&service, &format!("/v2/apis/{id}/integrations"), integration).await;
    let target = format!("integrations/{}", integration["integrationId"].as_str().unwrap());
    let uri = format!(
        "arn:aws:apigateway:{REGION}:lambda:path/2015-03-31/functions/{}/invocations",
        arn("guard")
    );
    let authorizer = json!({
        "name": "g", "authorizerType": "REQUEST", "authorizerUri": uri, "authorizerPayloadFormatVersion": "2.0",
        "enableSimpleResponses": true, "identitySource": ["$request.header.X-Word"], "authorizerResultTtlInSeconds": 3600,
    });
    let authorizer = configure(&service, &format!("/v2/apis/{id}/authorizers"), authorizer).await;
    for route in [
        json!({"routeKey": "GET /hello/{name}", "target": target}),
        json!({"routeKey": "GET /closed", "target": target, "authorizationType": "CUSTOM",
            "authorizerId": authorizer["authorizerId"]}),
    ] {
        configure(&service, &format!("/v2/apis/{id}/routes"), route).await;
    }
    configure(
        &service,
        &format!("/v2/apis/{id}/stages"),
        json!({"stageName": "$default", "autoDeploy": true}),
    )
    .await;

    let host = format!("{id}.execute-api.{REGION}.localhost:4566");
    for (path, status) in [("/missing", 404), ("/closed", 403), ("/hello/me", 200)] {
        let request = request(&host, path);
        let mut samples = Vec::new();
        for _ in 0..201 {
            let start = Instant::now();
            for _ in 0..500 {
                let Some(Door::Api(address)) = door::find(black_box(&request.head), REGION, |_| false) else {
                    panic!("{host} is no API's");
                };
                let response = plane.answer(&request, &address).await;
                assert_eq!(black_box(response).status, status);
            }
            samples.push(start.elapsed().as_secs_f64() * 1e9 / 500.0);
        }
        samples.sort_by(f64::total_cmp);
        println!("{status}: {:.0} ns a request", samples[samples.len() / 2]);
    }
}
