//! Requests from the door to the answer, with functions, logs and other servers made up here.

mod back;

mod guard;
mod way;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ephyra_core::arn::Place;
use ephyra_core::compute::{EventConfig, Invoke, Resolve, ResolveError, Resolved};
use ephyra_core::digest::Digest;
use ephyra_core::id::{FunctionName, Qualifier, RequestId, RevisionId, Version};
use ephyra_core::invocation::{Invocation, InvokeError, Measures, Outcome};
use ephyra_core::logs::{LogSink, LogStream};
use ephyra_core::revision::{LogFormat, LogLevel, Logging, Revision};
use ephyra_store::clock::SystemClock;
use ephyra_store::{Change, Entry, Expect, StoreError, Table};
use ephyra_wire::front::{Peer, SiteRequest};
use ephyra_wire::service::Body;
use ephyra_wire::sigv4::{Credential, Credentials, Secret, Verifier};
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::fetch::Client;
use super::integrate::function::Functions;
use super::way::{DataPlane, Dependencies};
use crate::api::model::{Content, LiveApi, LiveDomain, LiveStage};
use crate::api::store::ApiStore;
use crate::door;

const ACCOUNT: &str = "000000000000";
const HOST: &str = "abc.execute-api.us-east-1.localhost:4566";

/// What a function does with its event.
type Deed = Box<dyn Fn(Value) -> Result<Value, InvokeError> + Send + Sync>;

/// Functions, by name.
#[derive(Default)]
struct Stand {
    deeds: HashMap<String, Deed>,
    calls: AtomicU32,
}

impl Resolve for Stand {
    fn resolve<'a>(
        &'a self,
        function: &'a FunctionName,
        qualifier: Option<&'a Qualifier>,
    ) -> BoxFuture<'a, Result<Resolved, ResolveError>> {
        Box::pin(async move {
            if !self.deeds.contains_key(function.as_str()) {
                return Err(ResolveError::NotFound(function.to_string()));
            }
            let revision = Revision {
                id: RevisionId::new(),
                function: function.clone(),
                version: Version::Latest,
                function_arn: arn(function.as_str()),
                runtime: "python3.13".to_owned(),
                handler: "a.b".to_owned(),
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
                    group: "/aws/lambda/x".to_owned(),
                },
            };
            let qualifier = qualifier.map(|qualifier| format!(":{qualifier}")).unwrap_or_default();
            let invoked_arn = arn(function.as_str()) + &qualifier;
            let events = EventConfig {
                max_retries: 2,
                max_age_seconds: 60,
            };
            Ok(Resolved {
                revision: Arc::new(revision),
                invoked_arn,
                events,
            })
        })
    }

    fn is_stopped<'a>(&'a self, _: &'a FunctionName) -> BoxFuture<'a, Result<bool, ResolveError>> {
        Box::pin(async { Ok(false) })
    }
}

impl Invoke for Stand {
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Result<Outcome, InvokeError>> {
        Box::pin(async move {
            self.calls.fetch_add(1, Ordering::Relaxed);
            let event: Value = serde_json::from_slice(&invocation.payload).expect("an event is JSON");
            let name = invocation.revision.function.as_str();
            if name == "never" {
                std::future::pending::<()>().await;
            }
            let answer = (self.deeds[name])(event)?;
            let result = match answer.get("raise") {
                Some(what) => Err(ephyra_core::invocation::FunctionError {
                    error_type: what.as_str().unwrap_or_default().to_owned(),
                    payload: Bytes::from_static(br#"{"errorMessage":"secret"}"#),
                }),
                None => Ok(Bytes::from(answer.to_string())),
            };
            Ok(Outcome {
                executed_version: Version::Latest,
                result,
                log_tail: None,
                measures: Measures::default(),
            })
        })
    }
}

fn arn(function: &str) -> String {
    format!("arn:aws:lambda:us-east-1:{ACCOUNT}:function:{function}")
}

/// A table with nothing in it.
struct Nothing;

impl Table for Nothing {
    fn get<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    fn put<'a>(&'a self, _: &'a str, _: Bytes, _: Expect) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(async { Err(StoreError::Conflict) })
    }

    fn delete<'a>(&'a self, _: &'a str, _: Expect) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async { Err(StoreError::Conflict) })
    }

    fn scan<'a>(
        &'a self,
        _: &'a str,
        _: Option<&'a str>,
        _: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Entry)>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn watch(&self, _: &str) -> mpsc::Receiver<Change> {
        mpsc::channel(1).1
    }
}

/// The only credentials.
struct Root;

impl Credentials for Root {
    fn find(&self, access_key: &str, _: Option<&str>) -> Option<Credential> {
        let account = ACCOUNT.parse().expect("an account");
        (access_key == "root").then(|| Credential {
            secret: Secret::new("secret"),
            account,
        })
    }
}

/// Lines of logs, as they were flushed.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Stream(Lines, Vec<String>);

impl LogSink for Lines {
    fn open(&self, _: &str, _: &str) -> Box<dyn LogStream> {
        Box::new(Stream(self.clone(), Vec::new()))
    }
}

impl LogStream for Stream {
    fn append(&mut self, _: i64, message: &[u8]) {
        self.1.push(String::from_utf8_lossy(message).into_owned());
    }

    fn flush(&mut self) {
        self.0.0.lock().append(&mut self.1);
    }
}

/// An answer, as a client sees it.
#[derive(Debug)]
struct Seen {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Seen {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("a body of JSON")
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    #[track_caller]
    fn is(&self, status: u16, message: &str) {
        assert_eq!(
            (self.status, &*self.body),
            (status, &*json!({"message": message}).to_string())
        );
        assert_eq!(self.header("content-type"), "application/json");
        assert_eq!(self.header("apigw-requestid").len(), 16);
    }
}

struct House {
    apis: DataPlane,
    stand: Arc<Stand>,
    lines: Lines,
}

impl House {
    /// A house with an API `abc` of these documents in its stages `$default` and `dev`, and these functions.
    async fn new(content: &Value, stage: &Value, deeds: Vec<(&str, Deed)>) -> Self {
        let deeds = deeds.into_iter().map(|(name, deed)| (name.to_owned(), deed)).collect();
        let stand = Arc::new(Stand {
            deeds,
            calls: AtomicU32::new(0),
        });
        let lines = Lines::default();
        let place = Place {
            region: "us-east-1".parse().expect("a region"),
            account: ACCOUNT.parse().expect("an account"),
        };
        let apis = DataPlane::open(Dependencies {
            store: Arc::new(ApiStore::open(Arc::new(Nothing)).await.expect("a store")),
            functions: Functions {
                resolve: stand.clone(),
                invoke: stand.clone(),
            },
            verifier: Verifier::new(Arc::new(Root)),
            logs: Arc::new(lines.clone()),
            client: Client::new(Vec::new()),
            place,
            clock: Arc::new(SystemClock),
        })
        .await
        .expect("a data plane");
        apis.plant("abc", &live(content, stage));
        Self { apis, stand, lines }
    }

    async fn ask(&self, method: &str, path: &str) -> Seen {
        self.send(method, path, &[], "").await
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Seen {
        self.at(HOST, method, path, headers, body).await
    }

    /// Asks a host, by the door that leads there.
    async fn at(&self, host: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Seen {
        let mut request = Request::builder().method(method).uri(path).header("host", host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).expect("a request").into_parts();
        let address: SocketAddr = "127.0.0.1:9".parse().expect("an address");
        let request = SiteRequest {
            id: RequestId::new(),
            head,
            body: Bytes::from(body.to_owned()),
            peer: Peer { address, is_tls: false },
            received: Instant::now(),
        };
        let is_domain = |host: &str| host.ends_with("example.com");
        let Some(door::Door::Api(address)) = door::find(&request.head, "us-east-1", is_domain) else {
            panic!("{host} is no API's");
        };
        let response = self.apis.answer(&request, &address).await;
        let Body::Full(body) = response.body else {
            panic!("an answer of an API is whole");
        };
        let body = String::from_utf8(body.to_vec()).expect("text");
        Seen {
            status: response.status.as_u16(),
            headers: response.headers,
            body,
        }
    }

    fn calls(&self) -> u32 {
        self.stand.calls.load(Ordering::Relaxed)
    }

    /// The last line of the access log, once there are `count`.
    async fn line(&self, count: usize) -> String {
        let wait = async {
            loop {
                if let Some(line) = self.lines.0.lock().get(count - 1) {
                    return line.clone();
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait)
            .await
            .expect("the line was not written")
    }
}

/// Documents as they are served. Routes are `{"routeKey": …, "target": …}`, integrations and authorizers have their ids.
fn live(content: &Value, stage: &Value) -> LiveApi {
    let list = |name: &str| content.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    fn read<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
        Arc::new(serde_json::from_value(value).expect("a document"))
    }
    let content = Arc::new(Content {
        routes: list("routes").into_iter().map(read).collect(),
        integrations: list("integrations")
            .into_iter()
            .map(|mut value| {
                for (name, default) in [("connectionType", json!("INTERNET")), ("timeoutInMillis", json!(5_000))] {
                    value.as_object_mut().expect("an object").entry(name).or_insert(default);
                }
                (value["integrationId"].as_str().expect("an id").to_owned(), read(value))
            })
            .collect(),
        authorizers: list("authorizers")
            .into_iter()
            .map(|value| (value["authorizerId"].as_str().expect("an id").to_owned(), read(value)))
            .collect(),
        cors: content
            .get("cors")
            .map(|cors| serde_json::from_value(cors.clone()).expect("CORS")),
        is_endpoint_disabled: content.get("isEndpointDisabled").is_some(),
    });
    let stages = ["$default", "dev"].map(|name| {
        let mut stage = stage.clone();
        stage["stageName"] = json!(name);
        (
            name.to_owned(),
            LiveStage {
                stage: read(stage),
                content: Some(Arc::clone(&content)),
            },
        )
    });
    let api = json!({
        "apiId": "abc", "name": "abc", "protocolType": "HTTP", "routeSelectionExpression": "",
        "apiKeySelectionExpression": "", "ipAddressType": "ipv4", "createdDate": "2026-11-23T18:40:00Z",
    });
    LiveApi {
        api: serde_json::from_value(api).expect("an API"),
        stages: BTreeMap::from(stages),
    }
}

/// An integration with a function.
fn function(id: &str, name: &str, version: &str) -> Value {
    json!({"integrationId": id, "integrationType": "AWS_PROXY", "integrationUri": arn(name),
        "payloadFormatVersion": version})
}

/// A function that answers with its event.
fn echo() -> (&'static str, Deed) {
    (
        "echo",
        Box::new(|event| Ok(json!({"statusCode": 200, "body": event.to_string()}))),
    )
}

/// A custom domain name with base paths that lead to stages of `abc`.
fn domain(mappings: &[(&str, &str)]) -> LiveDomain {
    let mappings = mappings
        .iter()
        .map(|(key, stage)| json!({"apiMappingId": key, "apiMappingKey": key, "apiId": "abc", "stage": stage}));
    let domain = json!({"domainName": "api.example.com", "apiMappingSelectionExpression": "", "routingMode": ""});
    LiveDomain {
        domain: serde_json::from_value(domain).expect("a domain name"),
        mappings: mappings
            .map(|mapping| serde_json::from_value(mapping).expect("a mapping"))
            .collect(),
    }
}
