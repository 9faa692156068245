//! The front end, from outside: signed requests, bad clients, limits, shutdown.
#![allow(clippy::unwrap_used, reason = "a test panics by design")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use ephyra_core::id::RequestId;
use ephyra_wire::client::{Client, Outgoing, Whole};
use ephyra_wire::error::ApiError;
use ephyra_wire::front::{Front, FrontOptions, Handle, Hints, Plain, Refused, Services, Site, SiteRequest};
use ephyra_wire::rest::{empty_response, json_response};
use ephyra_wire::service::{Body, BodyLimit, BrokenBody, Request, Response, Service};
use ephyra_wire::sigv4::{Credential, Credentials, Secret, Signer, SigningTime, UNSIGNED_PAYLOAD};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

const LIMIT: usize = 1_000_000;
const SOON: Duration = Duration::from_secs(10);

struct OneKey;

impl Credentials for OneKey {
    fn find(&self, access_key: &str, session_token: Option<&str>) -> Option<Credential> {
        (access_key == "AKID" && session_token.is_none()).then(|| Credential {
            secret: Secret::new("secret"),
            account: "000000000000".parse().unwrap(),
        })
    }
}

/// Says what it was asked; some paths make it misbehave.
#[derive(Default)]
struct Echo {
    entered: Notify,
    release: Notify,
    dropped: Arc<AtomicUsize>,
}

struct CountDrop(Arc<AtomicUsize>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Service for Echo {
    fn signing_name(&self) -> &'static str {
        "lambda"
    }

    fn body_limit(&self, _: &Method, _: &str) -> BodyLimit {
        BodyLimit {
            bytes: LIMIT,
            error: |limit| {
                let message = format!("larger than {limit}");
                ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLargeException", message)
            },
        }
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Response> {
        async move {
            match request.path.as_str() {
                "/panic" => panic!("as asked"),
                "/hang" => {
                    let _guard = CountDrop(self.dropped.clone());
                    self.entered.notify_one();
                    self.release.notified().await;
                    empty_response(StatusCode::OK)
                }
                "/stream" | "/broken" => {
                    let (sender, parts) = mpsc::channel(1);
                    let last = if request.path == "/broken" {
                        Err(BrokenBody)
                    } else {
                        Ok(Bytes::from("end"))
                    };
                    tokio::spawn(async move {
                        let _ = sender.send(Ok(Bytes::from("begin "))).await;
                        let _ = sender.send(last).await;
                    });
                    Response {
                        status: StatusCode::OK,
                        headers: HeaderMap::new(),
                        body: Body::Stream(parts),
                    }
                }
                path => json_response(
                    StatusCode::OK,
                    &json!({
                        "path": path,
                        "query": request.query,
                        "bytes": request.body.len(),
                        "account": request.caller.account,
                        "id": request.id.to_string(),
                    }),
                ),
            }
        }
        .boxed()
    }
}

struct Health;

impl Plain for Health {
    fn get<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Option<Response>> {
        let found = path == "/_ephyra/health";
        async move { found.then(|| json_response(StatusCode::OK, &json!({"status": "ok"}))) }.boxed()
    }
}

/// All that begins with `/site/`.
struct Pages;

impl Site for Pages {
    fn body_limit(&self, head: &http::request::Parts) -> Option<usize> {
        head.uri.path().starts_with("/site/").then_some(1000)
    }

    fn call(&self, request: SiteRequest) -> BoxFuture<'_, Response> {
        assert!(request.head.uri.path() != "/site/panic", "as asked");
        let said =
            json!({ "bytes": request.body.len(), "peer": request.peer.address.ip(), "tls": request.peer.is_tls });
        async move { json_response(StatusCode::OK, &said) }.boxed()
    }

    fn refuse(&self, _: &http::request::Parts, _: RequestId, why: Refused) -> Response {
        json_response(StatusCode::IM_A_TEAPOT, &json!(format!("{why:?}")))
    }
}

struct Running {
    handle: Handle,
    service: Arc<Echo>,
    address: SocketAddr,
    others: Vec<SocketAddr>,
}

async fn start(options: FrontOptions) -> Running {
    let mut listeners = Vec::new();
    let mut addresses = Vec::new();
    let v4: SocketAddr = "127.0.0.1:0".parse().unwrap();
    // Where there is no IPv6, another IPv4 address stands in for the second loopback.
    let v6 = ["[::1]:0".parse().unwrap(), "127.0.0.2:0".parse().unwrap()];
    for candidates in [&[v4][..], &v6] {
        let listener = TcpListener::bind(candidates).await.unwrap();
        addresses.push(listener.local_addr().unwrap());
        listeners.push(listener);
    }
    let service = Arc::new(Echo::default());
    let mut services = Services::default();
    let hints = Hints {
        targets: &[],
        paths: &["/2015-03-31/"],
    };
    services.add(service.clone(), hints);
    let front = Front {
        options,
        region: "us-east-1".into(),
        credentials: Arc::new(OneKey),
        services,
        plain: Arc::new(Health),
        site: Some(Arc::new(Pages)),
        tls: None,
        clock: SystemTime::now,
    };
    Running {
        handle: front.start(listeners),
        service,
        address: addresses[0],
        others: addresses[1..].to_vec(),
    }
}

fn signer() -> Signer {
    Signer::new("AKID", "secret", "us-east-1", "lambda")
}

fn client(address: SocketAddr, signer: Option<Signer>) -> Client {
    Client::new(format!("http://{address}").parse().unwrap(), signer, SOON)
}

async fn ask(client: &Client, outgoing: Outgoing) -> Whole {
    client.send(outgoing).await.unwrap().whole(10 << 20).await.unwrap()
}

fn document(whole: &Whole) -> Value {
    serde_json::from_slice(&whole.body).unwrap()
}

#[track_caller]
fn check_error(whole: &Whole, status: u16, code: &str, message: &str) {
    assert_eq!(whole.status.as_u16(), status, "{whole:?}");
    assert_eq!(whole.headers["x-amzn-errortype"], code);
    assert_eq!(document(whole)["message"], message);
    assert!(whole.headers.contains_key("x-amzn-requestid"));
}

/// Sends raw bytes and reads to the end of the connection.
async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A connection that is cut off may end in a reset instead of an end.
    let _ = timeout(SOON, stream.read_to_end(&mut answer))
        .await
        .expect("the connection stays open");
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn signed_requests_reach_the_service_on_every_listener() {
    let running = start(FrontOptions::default()).await;
    for address in running.others.iter().chain([&running.address]) {
        let client = client(*address, Some(signer()));
        let path = "/2015-03-31/functions/arn%3Aaws%3Alambda:us-east-1:000000000000:function:f/invocations";
        let sent = Outgoing::new(Method::POST, path)
            .query("Qualifier", "a b")
            .body(vec![b'x'; LIMIT]);
        let whole = ask(&client, sent).await;
        assert_eq!(whole.status, StatusCode::OK);
        let said = document(&whole);
        assert_eq!(said["path"], path);
        assert_eq!(said["query"], json!([["Qualifier", "a b"]]));
        assert_eq!(
            (&said["bytes"], &said["account"]),
            (&json!(LIMIT), &json!("000000000000"))
        );
        assert_eq!(whole.headers["x-amzn-requestid"], said["id"].as_str().unwrap());
        assert!(whole.headers.contains_key("date") && whole.headers.contains_key("content-length"));
        let streamed = ask(&client, Outgoing::new(Method::POST, "/stream")).await;
        assert_eq!(streamed.body, "begin end");
    }
    assert!(running.handle.connections() >= 1);
}

#[tokio::test]
async fn a_presigned_url_works_without_a_header() {
    let running = start(FrontOptions::default()).await;
    let host = HeaderValue::from_str(&running.address.to_string()).unwrap();
    let headers = HeaderMap::from_iter([(http::header::HOST, host)]);
    let now = SigningTime::from_clock(SystemTime::now());
    let query = signer()
        .presign("GET", "/code", "a=b", &headers, UNSIGNED_PAYLOAD, 60, now)
        .unwrap();
    let mut outgoing = Outgoing::new(Method::GET, "/code");
    outgoing.query = query;
    let whole = ask(&client(running.address, None), outgoing.clone()).await;
    assert_eq!(document(&whole)["query"], json!([["a", "b"]]));
    outgoing.query = outgoing.query.replace("a=b", "a=c");
    let whole = ask(&client(running.address, None), outgoing).await;
    assert_eq!(whole.headers["x-amzn-errortype"], "InvalidSignatureException");
}

#[tokio::test]
async fn what_is_not_signed_right_is_refused() {
    let running = start(FrontOptions::default()).await;
    let post = || Outgoing::new(Method::POST, "/x").body(vec![0; 300_000]);
    let whole = ask(&client(running.address, None), post()).await;
    check_error(
        &whole,
        403,
        "MissingAuthenticationTokenException",
        "Missing Authentication Token",
    );
    let unknown = Signer::new("AKIX", "secret", "us-east-1", "lambda");
    let whole = ask(&client(running.address, Some(unknown)), post()).await;
    let text = "The security token included in the request is invalid.";
    check_error(&whole, 403, "UnrecognizedClientException", text);
    let wrong = Signer::new("AKID", "other", "us-east-1", "lambda");
    let whole = ask(&client(running.address, Some(wrong)), post()).await;
    assert_eq!(whole.headers["x-amzn-errortype"], "InvalidSignatureException");
    let elsewhere = Signer::new("AKID", "secret", "eu-west-1", "lambda");
    let whole = ask(&client(running.address, Some(elsewhere)), post()).await;
    let text = "Credential should be scoped to a valid region.";
    check_error(&whole, 403, "InvalidSignatureException", text);
    let sqs = || Some(Signer::new("AKID", "secret", "us-east-1", "sqs"));
    let whole = ask(&client(running.address, sqs()), post()).await;
    check_error(
        &whole,
        501,
        "UnknownServiceException",
        "The service 'sqs' is not served here.",
    );
    let whole = ask(
        &client(running.address, sqs()),
        Outgoing::new(Method::GET, "/2015-03-31/functions"),
    )
    .await;
    let text = "Credential should be scoped to correct service: 'lambda'.";
    check_error(&whole, 403, "InvalidSignatureException", text);
}

#[tokio::test]
async fn only_what_is_answered_plainly_needs_no_signature() {
    let running = start(FrontOptions::default()).await;
    let unsigned = client(running.address, None);
    let whole = ask(&unsigned, Outgoing::new(Method::GET, "/_ephyra/health")).await;
    assert_eq!(document(&whole), json!({"status": "ok"}));
    assert!(whole.headers.contains_key("x-amzn-requestid"));
    // Services have paths there too, such as the download of a function's code: those stay closed.
    let closed = [
        Outgoing::new(Method::GET, "/_ephyra/code/x"),
        Outgoing::new(Method::POST, "/_ephyra/health").body("x"),
        Outgoing::new(Method::GET, "/_ephyra/../_ephyra/health"),
        Outgoing::new(Method::GET, "/_ephyra"),
    ];
    for outgoing in closed {
        let path = outgoing.path.clone();
        let whole = ask(&unsigned, outgoing).await;
        let text = "Missing Authentication Token";
        assert_eq!(document(&whole)["message"], text, "{path}");
        check_error(&whole, 403, "MissingAuthenticationTokenException", text);
    }
    let signed = client(running.address, Some(signer()));
    let whole = ask(&signed, Outgoing::new(Method::GET, "/_ephyra/code/x")).await;
    assert_eq!(document(&whole)["path"], "/_ephyra/code/x");
}

#[tokio::test]
async fn a_site_is_asked_without_a_signature_and_says_its_own_refusals() {
    let running = start(FrontOptions::default()).await;
    let client = client(running.address, None);
    let whole = ask(&client, Outgoing::new(Method::POST, "/site/a").body(vec![0; 1000])).await;
    assert_eq!(
        document(&whole),
        json!({ "bytes": 1000, "peer": "127.0.0.1", "tls": false })
    );
    assert!(!whole.headers.contains_key("x-amzn-requestid"));
    let whole = ask(&client, Outgoing::new(Method::POST, "/site/a").body(vec![0; 1001])).await;
    assert_eq!(
        (whole.status, document(&whole)),
        (StatusCode::IM_A_TEAPOT, json!("TooLarge"))
    );
    let whole = ask(&client, Outgoing::new(Method::GET, "/site/panic")).await;
    assert_eq!(document(&whole), json!({ "message": "Internal Server Error" }));
    running.handle.refuse_new();
    let whole = ask(&client, Outgoing::new(Method::GET, "/site/a")).await;
    assert_eq!(document(&whole), json!("Draining"));
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_and_the_answer_can_be_read() {
    let running = start(FrontOptions::default()).await;
    let client = client(running.address, Some(signer()));
    let whole = ask(&client, Outgoing::new(Method::POST, "/x").body(vec![0; LIMIT * 8])).await;
    check_error(&whole, 413, "RequestTooLargeException", "larger than 1000000");
    // Nothing of a body is read when its client waits for leave to send it.
    let head = signed_head(
        running.address,
        "POST",
        "content-length: 99999999999\r\nexpect: 100-continue\r\n",
    );
    let answer = raw(running.address, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // Chunks are counted as they come.
    let mut chunked = signed_head(running.address, "POST", "transfer-encoding: chunked\r\n").into_bytes();
    for _ in 0..20 {
        chunked.extend_from_slice(format!("{:x}\r\n", 60_000).as_bytes());
        chunked.extend_from_slice(&[b'x'; 60_000]);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    // What is behind it on the connection is answered too, so all of the refused body was read.
    chunked.extend_from_slice(b"GET /_ephyra/health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let answer = raw(running.address, &chunked).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains(r#"{"status":"ok"}"#), "{answer}");
}

/// The head of a request whose signature covers an empty body.
fn signed_head(address: SocketAddr, method: &str, more: &str) -> String {
    let host = HeaderValue::from_str(&address.to_string()).unwrap();
    let mut headers = HeaderMap::from_iter([(http::header::HOST, host)]);
    let empty = ephyra_wire::sigv4::BodyHash::of(b"");
    let now = SigningTime::from_clock(SystemTime::now());
    signer()
        .sign_headers(method, "/x", "", &mut headers, empty.as_str(), now)
        .unwrap();
    let lines = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap()));
    format!("{method} /x HTTP/1.1\r\n{}{more}\r\n", lines.collect::<String>())
}

#[tokio::test]
async fn a_client_that_waits_for_leave_gets_it() {
    let running = start(FrontOptions::default()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let head = signed_head(running.address, "POST", "content-length: 1\r\nexpect: 100-continue\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut leave = [0; 25];
    timeout(SOON, stream.read_exact(&mut leave)).await.unwrap().unwrap();
    assert_eq!(&leave, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"x").await.unwrap();
    let mut status = [0; 12];
    timeout(SOON, stream.read_exact(&mut status)).await.unwrap().unwrap();
    assert_eq!(&status, b"HTTP/1.1 403", "the body is not the signed one");
}

#[tokio::test]
async fn slow_and_silent_clients_are_cut_off() {
    let quick = Duration::from_millis(80);
    let options = FrontOptions {
        header_time: quick,
        idle_time: quick,
        write_time: quick,
        body_grace: quick,
        ..FrontOptions::default()
    };
    let running = start(options).await;
    let address = running.address;
    assert_eq!(raw(address, b"").await, "");
    assert_eq!(raw(address, b"GET / HT").await, "");
    let unfinished = format!("{}abc", signed_head(address, "POST", "content-length: 10\r\n"));
    let answer = raw(address, unfinished.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("the body came too slowly"), "{answer}");
    // A connection that was used is closed after its idle time.
    let answer = raw(address, b"GET /_ephyra/health HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // One that never reads its answers is closed too.
    let mut deaf = TcpStream::connect(address).await.unwrap();
    let request = b"GET /_ephyra/health HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1000);
    let cut = async { while deaf.write_all(&request).await.is_ok() {} };
    timeout(SOON, cut).await.expect("a deaf client is served forever");
    // Meanwhile a request may take longer than any of these times.
    let client = client(address, Some(signer()));
    let hanging = client.send(Outgoing::new(Method::POST, "/hang"));
    let releasing = async {
        running.service.entered.notified().await;
        for _ in 0..3 {
            assert_eq!(raw(address, b"").await, "", "each of these ends with its idle time");
        }
        running.service.release.notify_one();
    };
    let (answer, ()) = tokio::join!(hanging, releasing);
    assert_eq!(answer.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn huge_headers_are_refused() {
    let running = start(FrontOptions::default()).await;
    let huge = format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(70_000));
    let answer = raw(running.address, huge.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 ") || answer.is_empty(), "{answer}");
    let answer = raw(running.address, b"GET / HTTP/1.2\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    // Who speaks something else is not answered in HTTP.
    for begin in ["\x16\x03\x01 and so on", "INVALID CONNECTION PREFACE", "GET /"] {
        assert_eq!(raw(running.address, format!("{begin}\r\n\r\n").as_bytes()).await, "");
    }
}

#[tokio::test]
async fn bodies_share_bounded_room() {
    let options = FrontOptions {
        bodies_bytes: 1000,
        body_grace: Duration::from_millis(50),
        ..FrontOptions::default()
    };
    let running = start(options).await;
    let client = client(running.address, Some(signer()));
    let whole = ask(&client, Outgoing::new(Method::POST, "/x").body(vec![0; 1001])).await;
    let text = "Too many large requests at once. Try again.";
    check_error(&whole, 503, "ServiceUnavailable", text);
    for _ in 0..3 {
        let whole = ask(&client, Outgoing::new(Method::POST, "/x").body(vec![0; 1000])).await;
        assert_eq!(whole.status, StatusCode::OK, "room is given back");
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let options = FrontOptions {
        connections: 1,
        ..FrontOptions::default()
    };
    let running = start(options).await;
    let first = client(running.address, None);
    let health = || Outgoing::new(Method::GET, "/_ephyra/health");
    assert_eq!(ask(&first, health()).await.status, StatusCode::OK);
    let second = client(running.address, None);
    let waiting = second.send(health());
    tokio::pin!(waiting);
    let going_on = async {
        for _ in 0..20 {
            assert_eq!(ask(&first, health()).await.status, StatusCode::OK);
        }
    };
    tokio::select! {
        biased;
        _ = waiting.as_mut() => panic!("two connections are served"),
        () = going_on => {}
    }
    drop(first);
    assert_eq!(waiting.await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn a_panic_is_answered_and_a_broken_stream_breaks() {
    let running = start(FrontOptions::default()).await;
    let client = client(running.address, Some(signer()));
    let whole = ask(&client, Outgoing::new(Method::POST, "/panic")).await;
    check_error(
        &whole,
        500,
        "ServiceException",
        "The service encountered an internal error.",
    );
    let broken = client.send(Outgoing::new(Method::POST, "/broken")).await.unwrap();
    assert!(broken.whole(100).await.is_err());
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_call() {
    let running = start(FrontOptions::default()).await;
    let client = client(running.address, Some(signer()));
    let asked = tokio::spawn(async move { client.send(Outgoing::new(Method::POST, "/hang")).await });
    timeout(SOON, running.service.entered.notified()).await.unwrap();
    asked.abort();
    let gone = async {
        while running.service.dropped.load(SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, gone).await.expect("the call goes on without its client");
}

#[tokio::test]
async fn shutdown_finishes_what_runs_and_cuts_off_what_does_not_end() {
    let running = start(FrontOptions::default()).await;
    let open = client(running.address, Some(signer()));
    assert_eq!(
        ask(&open, Outgoing::new(Method::POST, "/x")).await.status,
        StatusCode::OK
    );
    let busy = client(running.address, Some(signer()));
    let asked = tokio::spawn(async move { ask(&busy, Outgoing::new(Method::POST, "/hang")).await });
    running.service.entered.notified().await;
    running.handle.refuse_new();
    let whole = ask(&open, Outgoing::new(Method::POST, "/x")).await;
    check_error(
        &whole,
        503,
        "ServiceUnavailable",
        "The server is shutting down. Try again.",
    );
    let health = ask(&open, Outgoing::new(Method::GET, "/_ephyra/health")).await;
    assert_eq!(health.status, StatusCode::OK, "a server that drains is not dead");
    let shutdown = tokio::spawn(running.handle.shutdown(SOON));
    // Idle connections are closed and new ones are not accepted, while the busy one goes on.
    let closed = async { while open.send(Outgoing::new(Method::POST, "/x")).await.is_ok() {} };
    timeout(SOON, closed).await.expect("the idle connection stays open");
    assert!(!asked.is_finished());
    running.service.release.notify_one();
    assert_eq!(asked.await.unwrap().status, StatusCode::OK);
    assert_eq!(shutdown.await.unwrap().cut, 0);

    let running = start(FrontOptions::default()).await;
    let busy = client(running.address, Some(signer()));
    let asked = tokio::spawn(async move { busy.send(Outgoing::new(Method::POST, "/hang")).await.is_ok() });
    running.service.entered.notified().await;
    assert_eq!(running.handle.shutdown(Duration::from_millis(20)).await.cut, 1);
    assert!(!asked.await.unwrap());
    assert_eq!(running.service.dropped.load(SeqCst), 1);
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_served() {
    use http_body_util::{BodyExt, Full};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let running = start(FrontOptions::default()).await;
    let stream = TcpStream::connect(running.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let authority = running.address.to_string();
    let mut headers = HeaderMap::from_iter([(http::header::HOST, HeaderValue::from_str(&authority).unwrap())]);
    let hash = ephyra_wire::sigv4::BodyHash::of(b"body");
    let now = SigningTime::from_clock(SystemTime::now());
    signer()
        .sign_headers("POST", "/h2", "", &mut headers, hash.as_str(), now)
        .unwrap();
    headers.remove("host");
    let mut request = http::Request::post(format!("http://{authority}/h2"))
        .body(Full::new(Bytes::from("body")))
        .unwrap();
    *request.headers_mut() = headers;
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["bytes"], 4);
}
