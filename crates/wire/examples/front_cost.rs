//! What the front end costs beside bare hyper: `cargo run --release -p ephyra-wire --example front_cost`.
//!
//! The same signed request, written to both over loopback by blocking clients, one request at a time on each
//! connection; both answer with the same few bytes.
#![allow(clippy::unwrap_used, reason = "a measurement panics when it cannot be made")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use ephyra_wire::error::ApiError;
use ephyra_wire::front::{Front, FrontOptions, Hints, Plain, Services};
use ephyra_wire::service::{Body, BodyLimit, Request, Response, Service};
use ephyra_wire::sigv4::{BodyHash, Credential, Credentials, Secret, Signer, SigningTime};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

const PATH: &str = "/2015-03-31/functions/hello/invocations";
const BODY: &[u8] = br#"{"name":"a small event","numbers":[1,2,3]}"#;
const ANSWER: &[u8] = br#"{"ok":true}"#;
const TIME: Duration = Duration::from_secs(3);

struct OneKey(Credential);

impl Credentials for OneKey {
    fn find(&self, _: &str, _: Option<&str>) -> Option<Credential> {
        Some(self.0.clone())
    }
}

struct Hello;

impl Service for Hello {
    fn signing_name(&self) -> &'static str {
        "lambda"
    }

    fn body_limit(&self, _: &Method, _: &str) -> BodyLimit {
        BodyLimit {
            bytes: 6_291_456,
            error: |_| ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLargeException", "too large"),
        }
    }

    fn call(&self, _: Request) -> BoxFuture<'_, Response> {
        let response = Response {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Body::Full(Bytes::from_static(ANSWER)),
        };
        std::future::ready(response).boxed()
    }
}

impl Plain for Hello {
    fn get<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Option<Response>> {
        std::future::ready(None).boxed()
    }
}

async fn serve_bare(listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async {
                request.into_body().collect().await?;
                Ok::<_, hyper::Error>(http::Response::new(Full::new(Bytes::from_static(ANSWER))))
            });
            // The client closes the connection in the end, which may come as an error.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn request(address: SocketAddr) -> Vec<u8> {
    let host = HeaderValue::from_str(&address.to_string()).unwrap();
    let mut headers = HeaderMap::from_iter([
        (http::header::HOST, host),
        (http::header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (http::header::CONTENT_LENGTH, HeaderValue::from(BODY.len())),
    ]);
    let now = SigningTime::from_clock(SystemTime::now());
    let signer = Signer::new("AKIAIOSFODNN7EXAMPLE", "secret", "us-east-1", "lambda");
    signer
        .sign_headers("POST", PATH, "", &mut headers, BodyHash::of(BODY).as_str(), now)
        .unwrap();
    let mut bytes = format!("POST {PATH} HTTP/1.1\r\n").into_bytes();
    for (name, value) in &headers {
        bytes.extend_from_slice(format!("{name}: {}\r\n", value.to_str().unwrap()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(BODY);
    bytes
}

/// Latencies of one connection, in nanoseconds.
fn drive(address: SocketAddr, request: &[u8]) -> Vec<u128> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut buffer = [0; 4096];
    let mut latencies = Vec::with_capacity(200_000);
    let end = Instant::now() + TIME;
    loop {
        let start = Instant::now();
        if start >= end {
            return latencies;
        }
        stream.write_all(request).unwrap();
        let mut filled = 0;
        while !buffer[..filled].ends_with(ANSWER) {
            let read = stream.read(&mut buffer[filled..]).unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&buffer[..filled]));
            filled += read;
        }
        assert!(buffer.starts_with(b"HTTP/1.1 200 "));
        latencies.push(start.elapsed().as_nanos());
    }
}

fn measure(name: &str, address: SocketAddr, connections: usize) {
    let request = request(address);
    let mut all: Vec<u128> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..connections)
            .map(|_| scope.spawn(|| drive(address, &request)))
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    all.sort_unstable();
    let at = |part: usize| all[(all.len() - 1) * part / 100] as f64 / 1000.0;
    let rate = all.len() as f64 / TIME.as_secs_f64();
    println!(
        "{name:<12} {connections:>2} connections: {rate:>7.0} requests/s, p50 {:.1} µs, p99 {:.1} µs",
        at(50),
        at(99)
    );
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (front, bare, handle) = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = listener.local_addr().unwrap();
        let mut services = Services::default();
        services.add(Arc::new(Hello), Hints::default());
        let handle = Front {
            options: FrontOptions::default(),
            region: "us-east-1".into(),
            credentials: Arc::new(OneKey(Credential {
                secret: Secret::new("secret"),
                account: "000000000000".parse().unwrap(),
            })),
            services,
            plain: Arc::new(Hello),
            site: None,
            tls: None,
            clock: SystemTime::now,
        }
        .start(vec![listener]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bare = listener.local_addr().unwrap();
        tokio::spawn(serve_bare(listener));
        (front, bare, handle)
    });
    for connections in [1, 8] {
        for _ in 0..2 {
            measure("bare hyper", bare, connections);
            measure("front", front, connections);
        }
    }
    drop(handle);
}
