//! A whole service for tests: the embedded store in a temporary folder, and functions that only pretend to run.

use std::collections::HashMap;
use std::io::{Cursor, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ephyra_core::arn::Place;
use ephyra_core::compute::{Accept, AcceptError, AcceptedEvent, Invoke, ProvisionedStatus, SnapStartError, Steer};
use ephyra_core::digest::Digest;
use ephyra_core::id::{FunctionName, RequestId, RevisionId};
use ephyra_core::invocation::{Invocation, InvokeError, Measures, Outcome, StreamPart};
use ephyra_core::prepare::{Prepare, PrepareError};
use ephyra_core::revision::Revision;
use ephyra_store::clock::ManualClock;
use ephyra_store::files::FileBlobs;
use ephyra_store::sqlite::Sqlite;
use ephyra_wire::service::{Body, Caller, Request, Response, Service as _};
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Dependencies, Lambda, Options};

const ROLE: &str = "arn:aws:iam::111111111111:role/r";

/// What the functions did, and what the scheduler was told.
pub(crate) struct World {
    pub invocations: Mutex<Vec<(String, String, Bytes)>>,
    pub accepted: Mutex<Vec<AcceptedEvent>>,
    pub reserved: Mutex<HashMap<FunctionName, Option<u32>>>,
    pub provisioned: Mutex<HashMap<RevisionId, u32>>,
    pub retired: Mutex<Vec<RevisionId>>,
    pub snap_started: Mutex<HashMap<RevisionId, bool>>,
    /// What becomes of every template; the default is well.
    pub snap_start: Mutex<Result<(), SnapStartError>>,
    /// What becomes of every revision that is prepared; the default is well.
    pub prepared: Mutex<Result<(), PrepareError>>,
    /// Packages that are gone.
    pub forgotten: Mutex<Vec<Digest>>,
    /// What every invocation ends with; the default is an echo.
    pub outcome: Mutex<Option<Result<Outcome, InvokeError>>>,
    /// Parts that every streamed invocation sends.
    pub parts: Mutex<Vec<StreamPart>>,
    /// The next numbers of the dice; 0 when there are none.
    pub dice: Mutex<Vec<f64>>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            invocations: Mutex::default(),
            accepted: Mutex::default(),
            reserved: Mutex::default(),
            provisioned: Mutex::default(),
            retired: Mutex::default(),
            snap_started: Mutex::default(),
            snap_start: Mutex::new(Ok(())),
            prepared: Mutex::new(Ok(())),
            forgotten: Mutex::default(),
            outcome: Mutex::default(),
            parts: Mutex::default(),
            dice: Mutex::default(),
        }
    }
}

impl Invoke for World {
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Result<Outcome, InvokeError>> {
        Box::pin(async move {
            let version = invocation.revision.version;
            self.invocations.lock().push((
                invocation.invoked_arn.clone(),
                version.to_string(),
                invocation.payload.clone(),
            ));
            if let Some(stream) = &invocation.stream {
                let parts = self.parts.lock().clone();
                for part in parts {
                    let _ = stream.send(part).await;
                }
            }
            if let Some(outcome) = self.outcome.lock().clone() {
                return outcome;
            }
            Ok(Outcome {
                executed_version: version,
                result: Ok(invocation.payload),
                log_tail: invocation.wants_log_tail.then(|| Bytes::from_static(b"a line\n")),
                measures: Measures::default(),
            })
        })
    }
}

impl Accept for World {
    fn accept(&self, event: AcceptedEvent) -> BoxFuture<'_, Result<(), AcceptError>> {
        self.accepted.lock().push(event);
        Box::pin(async { Ok(()) })
    }
}

impl Steer for World {
    fn set_reserved(&self, function: &FunctionName, limit: Option<u32>) {
        self.reserved.lock().insert(function.clone(), limit);
    }

    fn set_provisioned(&self, revision: Arc<Revision>, count: u32) {
        self.provisioned.lock().insert(revision.id, count);
    }

    fn provisioned(&self, revision: RevisionId) -> ProvisionedStatus {
        let count = self.provisioned.lock().get(&revision).copied().unwrap_or_default();
        ProvisionedStatus {
            available: count,
            allocated: count,
            failure: None,
        }
    }

    fn set_snap_start(&self, revision: Arc<Revision>, is_on: bool) {
        self.snap_started.lock().insert(revision.id, is_on);
    }

    fn first_template(&self, revision: Arc<Revision>) -> BoxFuture<'static, Result<(), SnapStartError>> {
        self.snap_started.lock().insert(revision.id, true);
        let outcome = self.snap_start.lock().clone();
        Box::pin(async move { outcome })
    }

    fn retire(&self, revision: RevisionId) -> BoxFuture<'static, ()> {
        self.retired.lock().push(revision);
        Box::pin(async {})
    }
}

impl Prepare for World {
    fn prepare(&self, _: Arc<Revision>) -> BoxFuture<'static, Result<(), PrepareError>> {
        let outcome = self.prepared.lock().clone();
        Box::pin(async move { outcome })
    }

    fn forget(&self, package: Digest) {
        self.forgotten.lock().push(package);
    }
}

/// An answer with its body read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {:?}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The code and text of an error.
    pub(crate) fn error(&self) -> (String, String) {
        let body = self.json();
        let text = body.get("message").or_else(|| body.get("Message"));
        let text = text.and_then(Value::as_str).unwrap_or_default().to_owned();
        (self.header("x-amzn-errortype").to_owned(), text)
    }
}

/// A service and its world.
pub(crate) struct Harness {
    pub lambda: Lambda,
    pub world: Arc<World>,
    pub data: Arc<TempDir>,
}

pub(crate) fn place() -> Place {
    Place {
        region: "us-east-1".parse().unwrap(),
        account: "111111111111".parse().unwrap(),
    }
}

impl Harness {
    pub(crate) async fn new() -> Self {
        Self::open(Arc::new(TempDir::new().unwrap())).await
    }

    /// Opens a service on a data folder that may have been used before.
    pub(crate) async fn open(data: Arc<TempDir>) -> Self {
        let world = Arc::new(World::default());
        let clock = Arc::new(ManualClock::new(1_764_037_671_023));
        let blobs = FileBlobs::open(&data.path().join("blobs")).unwrap();
        let dice = Arc::clone(&world);
        let deps = Dependencies {
            table: Arc::new(Sqlite::open(data.path(), clock.clone()).unwrap()),
            blobs: Arc::new(blobs),
            invoke: world.clone(),
            accept: world.clone(),
            steer: world.clone(),
            prepare: world.clone(),
            clock,
            presign: Arc::new(|path, _| format!("http://127.0.0.1:4566{path}?signed")),
            dice: Arc::new(move || dice.dice.lock().pop().unwrap_or_default()),
        };
        let options = Options {
            place: place(),
            data: data.path().to_owned(),
            runtimes: vec![
                "python3.12".to_owned(),
                "python3.11".to_owned(),
                "provided.al2023".to_owned(),
            ],
            architecture: "x86_64".to_owned(),
            concurrency: 1000,
            origin: "http://localhost:4566".parse().unwrap(),
        };
        Self {
            lambda: Lambda::open(options, deps).await.unwrap(),
            world,
            data,
        }
    }

    /// Ends the service and opens another on the same data, as a restart does.
    pub(crate) async fn reopen(self) -> Self {
        let data = Arc::clone(&self.data);
        let inner = Arc::downgrade(&self.lambda.inner);
        drop(self);
        // Tasks in the background hold the service until they are done.
        until(|| inner.strong_count() == 0).await;
        Self::open(data).await
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (name.to_owned(), value.to_owned())
            })
            .collect();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(
                http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        let request = Request {
            id: RequestId::new(),
            method: Method::from_bytes(method.as_bytes()).unwrap(),
            path: path.to_owned(),
            query,
            headers: map,
            body: body.into(),
            caller: Caller {
                access_key: "key".to_owned(),
                account: place().account,
                region: "us-east-1".to_owned(),
            },
            received: Instant::now(),
        };
        let Response { status, headers, body } = self.lambda.call(request).await;
        let body = match body {
            Body::Full(bytes) => bytes,
            Body::Stream(mut parts) => {
                let mut all = Vec::new();
                while let Some(part) = parts.recv().await {
                    all.extend_from_slice(&part.unwrap());
                }
                all.into()
            }
            Body::Parts(_) => unreachable!("the Lambda service makes no such bodies"),
        };
        Answer {
            status: status.as_u16(),
            headers,
            body,
        }
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], Bytes::new()).await
    }

    pub(crate) async fn delete(&self, target: &str) -> Answer {
        self.send("DELETE", target, &[], Bytes::new()).await
    }

    pub(crate) async fn post(&self, target: &str, body: Value) -> Answer {
        self.send("POST", target, &[], body.to_string()).await
    }

    pub(crate) async fn put(&self, target: &str, body: Value) -> Answer {
        self.send("PUT", target, &[], body.to_string()).await
    }

    /// Creates a function and waits until it is active.
    pub(crate) async fn function(&self, name: &str) -> Value {
        let created = self.post("/2015-03-31/functions", create(name)).await;
        assert_eq!(created.status, 201, "{:?}", created.body);
        self.settled(name).await;
        created.json()
    }

    /// Waits until nothing is under way for a function, and returns its configuration.
    pub(crate) async fn settled(&self, name: &str) -> Value {
        for _ in 0..1000 {
            let config = self
                .get(&format!("/2015-03-31/functions/{name}/configuration"))
                .await
                .json();
            if config["State"] == "Active" && config["LastUpdateStatus"] == "Successful" {
                return config;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{name} does not settle");
    }
}

/// Waits for a condition.
pub(crate) async fn until(is_met: impl Fn() -> bool) {
    for _ in 0..1000 {
        if is_met() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the condition is not met in time");
}

/// A zip with one file.
pub(crate) fn zip(content: &str) -> Bytes {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer
        .start_file("app.py", zip::write::SimpleFileOptions::default())
        .unwrap();
    writer.write_all(content.as_bytes()).unwrap();
    writer.finish().unwrap().into_inner().into()
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// The body of a `CreateFunction`.
pub(crate) fn create(name: &str) -> Value {
    json!({
        "FunctionName": name,
        "Runtime": "python3.12",
        "Handler": "app.handler",
        "Role": ROLE,
        "Code": { "ZipFile": base64(&zip(name)) },
    })
}
