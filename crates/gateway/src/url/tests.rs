//! Requests through the whole gateway, with a function that is a closure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use ephyra_core::arn::Place;
use ephyra_core::compute::{EventConfig, Invoke, Resolve, ResolveError, Resolved};
use ephyra_core::digest::Digest;
use ephyra_core::id::{FunctionName, Qualifier, RequestId, RevisionId, Version};
use ephyra_core::invocation::{FunctionError, Invocation, InvokeError, Measures, Outcome, StreamPart, ThrottleReason};
use ephyra_core::revision::{LogFormat, LogLevel, Logging, Revision};
use ephyra_core::url::{Cors, FunctionUrl, FunctionUrls, InvokeMode, UrlAuth};
use ephyra_store::clock::ManualClock;
use ephyra_wire::front::{Peer, Refused, Site as _, SiteRequest};
use ephyra_wire::service::{Body, Response};
use ephyra_wire::sigv4::{BodyHash, Credential, Credentials, Secret, Signer, SigningTime};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use http::{HeaderMap, HeaderValue, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::gateway::{Dependencies, Gateway};

const ID: &str = "abcdefghijklmnopqrstuvwxyz012345";
const NOW_MS: i64 = 1_800_000_000_000;

type Ran = Result<Bytes, &'static str>;
type Function = Box<dyn Fn(Invocation) -> BoxFuture<'static, Result<Ran, InvokeError>> + Send + Sync>;

/// All that the gateway asks.
struct World {
    urls: Mutex<HashMap<String, Arc<FunctionUrl>>>,
    function: Function,
    invoked: Mutex<Vec<Value>>,
}

impl FunctionUrls for World {
    fn find<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Arc<FunctionUrl>>, ResolveError>> {
        let found = self.urls.lock().get(id).cloned();
        async move { Ok(found) }.boxed()
    }
}

impl Resolve for World {
    fn resolve<'a>(
        &'a self,
        function: &'a FunctionName,
        qualifier: Option<&'a Qualifier>,
    ) -> BoxFuture<'a, Result<Resolved, ResolveError>> {
        let resolved = Resolved {
            revision: Arc::new(revision(function)),
            invoked_arn: place().function_arn(function, qualifier),
            events: EventConfig {
                max_retries: 0,
                max_age_seconds: 60,
            },
        };
        async move { Ok(resolved) }.boxed()
    }

    fn is_stopped<'a>(&'a self, _function: &'a FunctionName) -> BoxFuture<'a, Result<bool, ResolveError>> {
        async { Ok(false) }.boxed()
    }
}

impl Invoke for World {
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Result<Outcome, InvokeError>> {
        let mut event: Value = serde_json::from_slice(&invocation.payload).unwrap();
        event["arn"] = json!(invocation.invoked_arn);
        event["trace"] = json!(invocation.trace_id);
        self.invoked.lock().push(event);
        let ran = (self.function)(invocation);
        async move {
            Ok(Outcome {
                executed_version: Version::Latest,
                result: ran.await?.map_err(|message| FunctionError {
                    error_type: "Error".to_owned(),
                    payload: Bytes::from_static(message.as_bytes()),
                }),
                log_tail: None,
                measures: Measures::default(),
            })
        }
        .boxed()
    }
}

impl Credentials for World {
    fn find(&self, access_key: &str, _session_token: Option<&str>) -> Option<Credential> {
        (access_key == "AKID").then(|| Credential {
            secret: Secret::new("secret"),
            account: place().account,
        })
    }
}

fn place() -> Place {
    Place {
        region: "us-east-1".parse().unwrap(),
        account: "000000000000".parse().unwrap(),
    }
}

fn revision(function: &FunctionName) -> Revision {
    Revision {
        id: RevisionId::new(),
        function: function.clone(),
        version: Version::Latest,
        function_arn: place().function_arn(function, None),
        runtime: "python3.13".to_owned(),
        handler: "app.handler".to_owned(),
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
            group: "/aws/lambda/f".to_owned(),
        },
    }
}

fn open() -> FunctionUrl {
    FunctionUrl {
        id: ID.to_owned(),
        function: "f".parse().unwrap(),
        qualifier: None,
        auth: UrlAuth::None,
        is_open: true,
        invoke_mode: InvokeMode::Buffered,
        cors: None,
    }
}

/// A gateway before one function URL.
struct Setting {
    world: Arc<World>,
    gateway: Gateway,
}

impl Setting {
    fn new(
        url: FunctionUrl,
        function: impl Fn(Invocation) -> BoxFuture<'static, Result<Ran, InvokeError>> + Send + Sync + 'static,
    ) -> Self {
        let world = Arc::new(World {
            urls: Mutex::new(HashMap::from([(url.id.clone(), Arc::new(url))])),
            function: Box::new(function),
            invoked: Mutex::default(),
        });
        let dependencies = Dependencies {
            place: place(),
            urls: world.clone(),
            resolve: world.clone(),
            invoke: world.clone(),
            credentials: world.clone(),
            clock: Arc::new(ManualClock::new(NOW_MS)),
        };
        let gateway = Gateway::new(dependencies, None);
        Self { world, gateway }
    }

    /// A function that answers so.
    fn answering(url: FunctionUrl, payload: &'static str) -> Self {
        Self::new(url, move |_| {
            async move { Ok(Ok(Bytes::from_static(payload.as_bytes()))) }.boxed()
        })
    }

    /// A function that is not run.
    fn refusing(why: InvokeError) -> Self {
        Self::new(open(), move |_| {
            let why = why.clone();
            async move { Err(why) }.boxed()
        })
    }

    /// A function that streams these parts, and ends so.
    fn streaming(parts: &[StreamPart], end: Ran) -> Self {
        let url = FunctionUrl {
            invoke_mode: InvokeMode::ResponseStream,
            ..open()
        };
        let parts = parts.to_vec();
        Self::new(url, move |invocation| {
            let (parts, end) = (parts.clone(), end.clone());
            async move {
                let stream = invocation.stream.unwrap();
                for part in parts {
                    let _closed = stream.send(part).await;
                }
                Ok(end)
            }
            .boxed()
        })
    }

    async fn send(&self, request: http::Request<&'static [u8]>) -> Answered {
        let (head, body) = request.into_parts();
        let request = SiteRequest {
            id: RequestId::from_bytes([7; 16]),
            head,
            body: Bytes::from_static(body),
            peer: Peer {
                address: "192.0.2.7:1234".parse().unwrap(),
                is_tls: false,
            },
            received: Instant::now(),
        };
        Answered::read(self.gateway.call(request).await).await
    }

    async fn get(&self, path: &str) -> Answered {
        self.send(at(path).body(&b""[..]).unwrap()).await
    }

    fn event(&self) -> Value {
        self.world.invoked.lock().last().cloned().unwrap()
    }
}

fn at(path: &str) -> http::request::Builder {
    let host = format!("{ID}.lambda-url.us-east-1.localhost:4566");
    http::Request::builder().uri(path).header("host", host)
}

/// An answer, read to its end.
#[derive(Debug)]
struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    is_broken: bool,
}

impl Answered {
    async fn read(response: Response) -> Self {
        let (mut body, mut is_broken) = (Vec::new(), false);
        match response.body {
            Body::Full(bytes) => body.extend_from_slice(&bytes),
            Body::Parts(mut parts) => {
                while let Some(part) = parts.next().await {
                    match part {
                        Ok(bytes) => body.extend_from_slice(&bytes),
                        Err(_) => is_broken = true,
                    }
                }
            }
            Body::Stream(_) => unreachable!("no URL has such a body"),
        }
        Self {
            status: response.status,
            headers: response.headers,
            body,
            is_broken,
        }
    }

    #[track_caller]
    fn check(&self, status: u16, content_type: &str, body: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.headers.get("content-type").unwrap(), content_type);
        assert_eq!(String::from_utf8_lossy(&self.body), body);
        assert!(self.headers.contains_key("x-amzn-requestid") && !self.is_broken);
    }
}

fn head(content_type: &str) -> StreamPart {
    StreamPart::Head {
        content_type: content_type.to_owned(),
    }
}

fn chunk(bytes: &'static [u8]) -> StreamPart {
    StreamPart::Chunk(Bytes::from_static(bytes))
}

const INTEGRATION: &str = "application/vnd.awslambda.http-integration-response";

#[tokio::test]
async fn a_request_becomes_an_event_and_an_answer_the_response() {
    let setting = Setting::answering(
        FunctionUrl {
            qualifier: Some("live".parse().unwrap()),
            ..open()
        },
        r#"{"statusCode":201,"headers":{"X-A":"b"},"cookies":["c=d"],"body":"hello"}"#,
    );
    let answer = setting.get("/a%20b?x=1&x=2").await;
    answer.check(201, "application/json", "hello");
    assert_eq!(answer.headers["x-a"], "b");
    assert_eq!(answer.headers["set-cookie"], "c=d");
    assert_eq!(
        answer.headers["x-amzn-requestid"],
        "07070707-0707-0707-0707-070707070707"
    );
    let event = setting.event();
    assert_eq!(event["rawPath"], "/a%20b");
    assert_eq!(event["queryStringParameters"], json!({ "x": "1,2" }));
    assert_eq!(
        event["requestContext"]["requestId"],
        "07070707-0707-0707-0707-070707070707"
    );
    assert_eq!(event["requestContext"]["domainPrefix"], ID);
    assert_eq!(event["requestContext"]["accountId"], "anonymous");
    assert_eq!(event["requestContext"]["timeEpoch"], NOW_MS);
    assert_eq!(event["headers"]["x-forwarded-port"], "4566");
    assert_eq!(event["arn"], "arn:aws:lambda:us-east-1:000000000000:function:f:live");
    assert_eq!(event["trace"], answer.headers["x-amzn-trace-id"].to_str().unwrap());
    assert_eq!(event["headers"]["x-amzn-trace-id"], event["trace"]);

    let by_path = http::Request::builder()
        .uri(format!("/_url/{ID}/a%20b"))
        .header("host", "127.0.0.1:4566");
    let answer = setting.send(by_path.body(&b""[..]).unwrap()).await;
    answer.check(201, "application/json", "hello");
    assert_eq!(setting.event()["rawPath"], "/a%20b");
    assert_eq!(setting.event()["requestContext"]["domainName"], "127.0.0.1");
}

#[tokio::test]
async fn a_trace_is_taken_when_it_is_one() {
    let setting = Setting::answering(open(), "1");
    setting
        .send(at("/").header("x-amzn-trace-id", "Root=1-2-3").body(&b""[..]).unwrap())
        .await;
    assert_eq!(setting.event()["trace"], "Root=1-2-3");
    setting
        .send(at("/").header("x-amzn-trace-id", "evil \"x\"").body(&b""[..]).unwrap())
        .await;
    assert!(
        setting.event()["trace"]
            .as_str()
            .unwrap()
            .starts_with("Root=1-6b49d200-")
    );
}

#[tokio::test]
async fn nobody_is_told_what_went_wrong_inside() {
    let unknown = r#"{"Message":null}"#;
    let setting = Setting::answering(open(), "1");
    let gone = http::Request::builder()
        .uri("/")
        .header("host", "x.lambda-url.us-east-1.localhost");
    let answer = setting.send(gone.body(&b""[..]).unwrap()).await;
    answer.check(403, "application/json", unknown);
    assert_eq!(answer.headers["x-amzn-errortype"], "AccessDeniedException");
    let closed = Setting::answering(
        FunctionUrl {
            is_open: false,
            ..open()
        },
        "1",
    );
    let answer = closed.get("/").await;
    answer.check(
        403,
        "application/json",
        "{\"Message\":\"Forbidden. For troubleshooting Function URL authorization issues, see: \
         https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html\"}",
    );
    assert_eq!(answer.headers["x-amzn-errortype"], "AccessDeniedException");
    assert!(closed.world.invoked.lock().is_empty());

    let failing = Setting::new(open(), |_| async { Ok(Err("a secret")) }.boxed());
    failing
        .get("/")
        .await
        .check(502, "application/json", "Internal Server Error");
    let malformed = Setting::answering(open(), r#"{"statusCode":"nonsense"}"#);
    malformed
        .get("/")
        .await
        .check(502, "application/json", "Internal Server Error");
    let throttled = ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded;
    for (why, status, body) in [
        (
            InvokeError::Throttled(throttled),
            429,
            r#"{"message":"Rate Exceeded."}"#,
        ),
        (InvokeError::Draining, 503, r#"{"message":"Service Unavailable"}"#),
        (InvokeError::Launch("a path".to_owned()), 502, "Internal Server Error"),
    ] {
        Setting::refusing(why)
            .get("/")
            .await
            .check(status, "application/json", body);
    }
}

#[tokio::test]
async fn what_is_too_large_is_said_to_be() {
    // In base64 it is a third larger than it came.
    static LARGE: [u8; 5_000_000] = [b'a'; 5_000_000];
    let setting = Setting::answering(open(), "1");
    let answer = setting.send(at("/").body(&LARGE[..]).unwrap()).await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.headers["x-amzn-errortype"], "RequestEntityTooLargeException");
    let text = at("/").header("content-type", "text/plain").body(&LARGE[..]).unwrap();
    assert_eq!(setting.send(text).await.status, 200);
    assert_eq!(setting.event()["body"].as_str().unwrap().len(), LARGE.len());

    let (head, ()) = at("/").body(()).unwrap().into_parts();
    assert_eq!(setting.gateway.body_limit(&head), Some(6_291_456));
    for (why, status) in [
        (Refused::TooLarge, 413),
        (Refused::TooSlow, 408),
        (Refused::NoRoom, 503),
        (Refused::Draining, 503),
    ] {
        let response = setting.gateway.refuse(&head, RequestId::new(), why);
        assert_eq!(response.status, status);
        assert!(response.headers.contains_key("x-amzn-requestid"));
    }
    let (head, ()) = http::Request::get("/2015-03-31/functions")
        .header("host", "localhost")
        .body(())
        .unwrap()
        .into_parts();
    assert_eq!(setting.gateway.body_limit(&head), None);
}

#[tokio::test]
async fn who_signs_is_known_by_host_and_path_alike() {
    let url = FunctionUrl {
        auth: UrlAuth::AwsIam,
        ..open()
    };
    let setting = Setting::answering(url, "1");
    let signed = |path: &str, host: &str, secret: &str, service: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::try_from(host).unwrap());
        let (route, query) = path.split_once('?').unwrap_or((path, ""));
        let now = std::time::UNIX_EPOCH + std::time::Duration::from_millis(NOW_MS.unsigned_abs());
        let now = SigningTime::from_clock(now);
        let hash = BodyHash::of(b"body");
        let signer = Signer::new("AKID", secret, "us-east-1", service);
        let result = signer.sign_headers("PUT", route, query, &mut headers, hash.as_str(), now);
        result.unwrap();
        let mut request = http::Request::put(path).body(&b"body"[..]).unwrap();
        *request.headers_mut() = headers;
        request
    };
    let host = format!("{ID}.lambda-url.us-east-1.localhost:4566");
    let by_path = format!("/_url/{ID}/a%20b?x=%2F");
    for (path, host) in [("/a%20b?x=%2F", host.as_str()), (by_path.as_str(), "127.0.0.1:4566")] {
        assert_eq!(
            setting.send(signed(path, host, "secret", "lambda")).await.status,
            200,
            "{path}"
        );
        let event = setting.event();
        assert_eq!(event["requestContext"]["accountId"], "000000000000");
        assert_eq!(event["requestContext"]["authorizer"]["iam"]["accessKey"], "AKID");
        assert_eq!(
            event["requestContext"]["authorizer"]["iam"]["userArn"],
            "arn:aws:iam::000000000000:root"
        );
        assert!(event["headers"].get("authorization").is_none());
        for (secret, service) in [("other", "lambda"), ("secret", "execute-api")] {
            let answer = setting.send(signed(path, host, secret, service)).await;
            assert_eq!(answer.status, 403);
            assert_eq!(answer.headers["x-amzn-errortype"], "InvalidSignatureException");
        }
        let mut moved = signed(path, host, "secret", "lambda");
        *moved.uri_mut() = format!("{path}&y").parse().unwrap();
        assert_eq!(setting.send(moved).await.status, 403);
    }
    let answer = setting.get("/").await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.headers["x-amzn-errortype"], "AccessDeniedException");
    assert_eq!(setting.world.invoked.lock().len(), 2);
}

#[tokio::test]
async fn pages_are_told_what_they_may() {
    let url = FunctionUrl {
        auth: UrlAuth::AwsIam,
        cors: Some(Cors {
            allow_origins: vec!["https://a.example".to_owned()],
            allow_methods: vec!["*".to_owned()],
            ..Cors::default()
        }),
        ..open()
    };
    let setting = Setting::answering(url, "1");
    let preflight = |origin: &str| {
        let request = at("/").method("OPTIONS").header("origin", origin);
        request
            .header("access-control-request-method", "PUT")
            .body(&b""[..])
            .unwrap()
    };
    let answer = setting.send(preflight("https://a.example")).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
    assert_eq!(answer.headers["access-control-allow-origin"], "https://a.example");
    assert_eq!(answer.headers["access-control-allow-methods"], "*");
    let answer = setting.send(preflight("https://b.example")).await;
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
    // A page is to see that it was refused.
    let answer = setting
        .send(at("/").header("origin", "https://a.example").body(&b""[..]).unwrap())
        .await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.headers["access-control-allow-origin"], "https://a.example");
    assert!(setting.world.invoked.lock().is_empty());
    // Without a configuration it is the function's to answer.
    let plain = Setting::answering(
        open(),
        r#"{"statusCode":418,"headers":{"Access-Control-Allow-Origin":"x"}}"#,
    );
    let answer = plain.send(preflight("https://a.example")).await;
    assert_eq!(answer.status, 418);
    assert_eq!(answer.headers["access-control-allow-origin"], "x");
}

#[tokio::test]
async fn an_answer_to_head_has_no_body() {
    let setting = Setting::answering(open(), "\"hello\"");
    let answer = setting.send(at("/").method("HEAD").body(&b""[..]).unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
    assert_eq!(answer.headers["content-length"], "5");
    assert_eq!(setting.event()["requestContext"]["http"]["method"], "HEAD");
}

#[tokio::test]
async fn a_buffered_url_takes_what_was_streamed() {
    let prelude = "{\"statusCode\":418,\"headers\":{\"content-type\":\"a/b\"}}\0\0\0\0\0\0\0\0some\0body";
    Setting::answering(open(), prelude)
        .get("/")
        .await
        .check(418, "a/b", "some\0body");
    Setting::answering(open(), "plain text")
        .get("/")
        .await
        .check(200, "application/json", "plain text");
    let broken = "{\"statusCode\":0}\0\0\0\0\0\0\0\0body";
    Setting::answering(open(), broken)
        .get("/")
        .await
        .check(502, "application/json", "Internal Server Error");
}

#[tokio::test]
async fn a_stream_begins_with_its_status() {
    let whole: &[StreamPart] = &[
        head(INTEGRATION),
        chunk(b"{\"statusCode\":202,\"headers\":{\"Content-Type\":\"text/html\"},\"cookies\":[\"a=b\"]}\0\0\0\0\0\0\0\0one "),
        chunk(b""),
        chunk(b"two"),
    ];
    let divided: &[StreamPart] = &[
        head(INTEGRATION),
        chunk(b"{\"statusCode\":202,\"headers\":{\"Content-"),
        chunk(b"Type\":\"text/html\"},\"cookies\":[\"a=b\"]}\0\0\0"),
        chunk(b"\0\0\0\0"),
        chunk(b"\0one two"),
    ];
    for parts in [whole, divided] {
        let answer = Setting::streaming(parts, Ok(Bytes::new())).get("/").await;
        answer.check(202, "text/html", "one two");
        assert_eq!(answer.headers["set-cookie"], "a=b");
    }
    let typed = [head("text/event-stream"), chunk(b"data: 1\n\n")];
    let answer = Setting::streaming(&typed, Ok(Bytes::new())).get("/").await;
    answer.check(200, "text/event-stream", "data: 1\n\n");
    let untyped = [head(""), chunk(b"x\0\0\0\0\0\0\0\0y")];
    let answer = Setting::streaming(&untyped, Ok(Bytes::new())).get("/").await;
    answer.check(200, "application/octet-stream", "x\0\0\0\0\0\0\0\0y");
    // What was not streamed is one part.
    let buffered = [head("application/json"), chunk(br#"{"statusCode":404}"#)];
    let answer = Setting::streaming(&buffered, Ok(Bytes::new())).get("/").await;
    answer.check(200, "application/json", r#"{"statusCode":404}"#);
    let empty = Setting::streaming(&[head("a/b")], Ok(Bytes::new())).get("/").await;
    empty.check(200, "a/b", "");
    let bodiless = [head(INTEGRATION), chunk(b"{\"statusCode\":204}\0\0\0\0\0\0\0\0body")];
    let answer = Setting::streaming(&bodiless, Ok(Bytes::new())).get("/").await;
    assert_eq!(
        (answer.status.as_u16(), answer.body.len(), answer.is_broken),
        (204, 0, false)
    );
}

#[tokio::test]
async fn a_stream_that_fails_is_refused_or_broken_off() {
    static LARGE: [u8; 200_000] = [b' '; 200_000];
    let failed = Err("a secret");
    let ended = Ok(Bytes::new());
    for (parts, end) in [
        (vec![], failed.clone()),
        (vec![head("a/b")], failed.clone()),
        (vec![head(INTEGRATION)], failed.clone()),
        (vec![head(INTEGRATION), chunk(b"{\"statusCode\":200}")], failed.clone()),
        (vec![head(INTEGRATION), chunk(b"{\"statusCode\":200}")], ended.clone()),
        (vec![head(INTEGRATION), chunk(b"[]\0\0\0\0\0\0\0\0")], ended.clone()),
        (
            vec![head(INTEGRATION), chunk(&LARGE), chunk(&LARGE), chunk(&[0; 8])],
            ended,
        ),
    ] {
        let answer = Setting::streaming(&parts, end).get("/").await;
        answer.check(502, "application/json", "Internal Server Error");
    }
    for parts in [
        vec![head("a/b"), chunk(b"begun")],
        vec![head(INTEGRATION), chunk(b"{}\0\0\0\0\0\0\0\0begun")],
    ] {
        let answer = Setting::streaming(&parts, failed.clone()).get("/").await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (200, &b"begun"[..]));
        assert!(answer.is_broken);
    }
}

#[tokio::test]
async fn the_first_part_does_not_wait_for_the_next() {
    let (go_on, waits) = tokio::sync::oneshot::channel::<()>();
    let waits = Mutex::new(Some(waits));
    let url = FunctionUrl {
        invoke_mode: InvokeMode::ResponseStream,
        ..open()
    };
    let setting = Setting::new(url, move |invocation| {
        let waits = waits.lock().take().unwrap();
        async move {
            let stream = invocation.stream.unwrap();
            stream.send(head("a/b")).await.unwrap();
            stream.send(chunk(b"first")).await.unwrap();
            waits.await.unwrap();
            stream.send(chunk(b"second")).await.unwrap();
            Ok(Ok(Bytes::new()))
        }
        .boxed()
    });
    let (head, ()) = at("/").body(()).unwrap().into_parts();
    let request = SiteRequest {
        id: RequestId::new(),
        head,
        body: Bytes::new(),
        peer: Peer {
            address: "192.0.2.7:1234".parse().unwrap(),
            is_tls: false,
        },
        received: Instant::now(),
    };
    let response = setting.gateway.call(request).await;
    let Body::Parts(mut parts) = response.body else {
        panic!("{:?}", response.body);
    };
    assert_eq!(parts.next().await.unwrap().unwrap(), "first");
    assert!(parts.next().now_or_never().is_none(), "it waits for the function");
    go_on.send(()).unwrap();
    assert_eq!(parts.next().await.unwrap().unwrap(), "second");
    assert!(parts.next().await.is_none());
}
