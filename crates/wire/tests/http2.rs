//! HTTP/2 from outside, frame by frame: what must not be a request, and floods of frames that cost the sender nothing.
#![allow(clippy::unwrap_used, reason = "a test panics by design")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use ephyra_core::id::RequestId;
use ephyra_wire::front::{Front, FrontOptions, Handle, Plain, Refused, Services, Site, SiteRequest};
use ephyra_wire::service::{Body, Response};
use ephyra_wire::sigv4::{Credential, Credentials};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode, request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

struct Nobody;

impl Credentials for Nobody {
    fn find(&self, _: &str, _: Option<&str>) -> Option<Credential> {
        None
    }
}

impl Plain for Nobody {
    fn get<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Option<Response>> {
        async { None }.boxed()
    }
}

/// Answers everything but `/hang`, and counts what it was asked.
#[derive(Default)]
struct Everything(AtomicUsize);

impl Site for Everything {
    fn body_limit(&self, _: &request::Parts) -> Option<usize> {
        Some(100_000)
    }

    fn call(&self, request: SiteRequest) -> BoxFuture<'_, Response> {
        self.0.fetch_add(1, SeqCst);
        async move {
            if request.head.uri.path() == "/hang" {
                std::future::pending::<()>().await;
            }
            response(StatusCode::OK)
        }
        .boxed()
    }

    fn refuse(&self, _: &request::Parts, _: RequestId, _: Refused) -> Response {
        response(StatusCode::BAD_REQUEST)
    }
}

fn response(status: StatusCode) -> Response {
    Response {
        status,
        headers: HeaderMap::new(),
        body: Body::Full(Bytes::from_static(b"{}")),
    }
}

struct Running {
    site: Arc<Everything>,
    address: SocketAddr,
    handle: Handle,
}

async fn start() -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let site = Arc::new(Everything::default());
    let front = Front {
        options: FrontOptions {
            write_time: Duration::from_millis(300),
            ..FrontOptions::default()
        },
        region: "us-east-1".into(),
        credentials: Arc::new(Nobody),
        services: Services::default(),
        plain: Arc::new(Nobody),
        site: Some(site.clone()),
        tls: None,
        clock: SystemTime::now,
    };
    Running {
        site,
        address,
        handle: front.start(vec![listener]),
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Headers as literals without an index (RFC 7541, 6.2.2).
fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "one byte of length");
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

const GET: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "a"),
];

/// A connection whose settings were exchanged.
async fn open(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    stream
}

/// The next frame: its kind, stream and payload; None at the end.
async fn next(stream: &mut TcpStream) -> Option<(u8, u32, Vec<u8>)> {
    let reading = async {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).await.ok()?;
        let id = u32::from_be_bytes(head[5..].try_into().unwrap());
        Some((head[3], id, payload))
    };
    timeout(SOON, reading).await.expect("nothing comes")
}

/// What became of stream 1: the first byte of its answer's headers, or None when it or the connection was ended.
async fn outcome(stream: &mut TcpStream) -> Option<u8> {
    loop {
        match next(stream).await {
            Some((HEADERS, 1, payload)) => return Some(payload[0]),
            None | Some((RESET, 1, _) | (GO_AWAY, ..)) => return None,
            Some(_) => {}
        }
    }
}

/// The static table's `:status: 200` (RFC 7541, A).
const OK: Option<u8> = Some(0x88);

#[tokio::test]
async fn what_is_no_request_reaches_nobody() {
    let running = start().await;
    let with = |more: &[(&'static str, &'static str)]| [GET, more].concat();
    let without = |name: &str| GET.iter().filter(|(n, _)| *n != name).copied().collect::<Vec<_>>();
    let replaced = |name: &'static str, value: &'static str| {
        let mut headers = without(name);
        headers.push((name, value));
        headers
    };
    let malformed = [
        without(":method"),
        without(":scheme"),
        without(":path"),
        without(":authority"),
        with(&[(":method", "GET")]),
        with(&[(":path", "/b")]),
        with(&[(":authority", "b")]),
        with(&[(":status", "200")]),
        with(&[(":unknown", "x")]),
        with(&[("x", "y"), (":path", "/")]),
        [&[("x", "y")], GET].concat(),
        replaced(":path", ""),
        replaced(":path", "b"),
        replaced(":path", "*"),
        replaced(":path", "http://a/"),
        replaced(":path", "/a b"),
        replaced(":path", "/a%00"),
        replaced(":path", "/a%zz"),
        replaced(":path", "/\r\nx: y"),
        replaced(":scheme", "ftp"),
        replaced(":method", "CONNECT"),
        replaced(":method", "TRACE"),
        replaced(":method", "GET / HTTP/1.1\r\nx: y"),
        replaced(":authority", ""),
        replaced(":authority", "u@a"),
        replaced(":authority", "a/b"),
        replaced(":authority", "a b"),
        with(&[("host", "b")]),
        with(&[("host", "a"), ("host", "a")]),
        with(&[("X-Upper", "y")]),
        with(&[("x y", "z")]),
        with(&[("x:", "z")]),
        with(&[("x", "y\r\nz: w")]),
        with(&[("x", "y\nz: w")]),
        with(&[("x", "y\0")]),
        with(&[("connection", "close")]),
        with(&[("proxy-connection", "close")]),
        with(&[("keep-alive", "timeout=5")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("upgrade", "h2c")]),
        with(&[("te", "gzip")]),
        with(&[("content-length", "x")]),
        with(&[("content-length", "5")]),
        with(&[("content-length", "0"), ("content-length", "5")]),
        with(&[("expect", "200-ok")]),
    ];
    for headers in malformed {
        let mut stream = open(running.address).await;
        let request = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&headers));
        stream.write_all(&request).await.unwrap();
        assert_ne!(outcome(&mut stream).await, OK, "{headers:?}");
        assert_eq!(running.site.0.load(SeqCst), 0, "{headers:?}");
    }
    for headers in [
        GET.to_vec(),
        with(&[("host", "a"), ("te", "trailers"), ("content-length", "0")]),
    ] {
        let mut stream = open(running.address).await;
        let request = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&headers));
        stream.write_all(&request).await.unwrap();
        assert_eq!(outcome(&mut stream).await, OK, "{headers:?}");
    }
}

#[tokio::test]
async fn a_body_has_the_length_that_was_said() {
    let running = start().await;
    for (said, sent) in [("3", &b"four"[..]), ("5", b"four"), ("0", b"four")] {
        let mut stream = open(running.address).await;
        let headers = [GET, &[("content-length", said)]].concat();
        stream
            .write_all(&frame(HEADERS, END_HEADERS, 1, &block(&headers)))
            .await
            .unwrap();
        stream.write_all(&frame(DATA, END_STREAM, 1, sent)).await.unwrap();
        assert_ne!(outcome(&mut stream).await, OK, "{said}");
        assert_eq!(running.site.0.load(SeqCst), 0, "{said}");
    }
}

/// Sends until the other side has had enough, reading nothing.
async fn flood(stream: &mut TcpStream, frames: &[u8]) {
    let flooding = async { while stream.write_all(frames).await.is_ok() {} };
    timeout(SOON, flooding).await.expect("it is taken for ever");
}

#[tokio::test]
async fn headers_without_an_end_are_cut_off() {
    let running = start().await;
    for part in [&block(&[("x", "y")])[..], &[]] {
        let mut stream = open(running.address).await;
        stream
            .write_all(&frame(HEADERS, END_STREAM, 1, &block(GET)))
            .await
            .unwrap();
        flood(&mut stream, &frame(CONTINUATION, 0, 1, part).repeat(1000)).await;
    }
    assert_eq!(running.site.0.load(SeqCst), 0);
}

#[tokio::test]
async fn who_asks_for_answers_and_does_not_read_them_is_cut_off() {
    let running = start().await;
    for asking in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 0, 0, &[])] {
        let mut stream = open(running.address).await;
        flood(&mut stream, &asking.repeat(1000)).await;
    }
    let mut stream = open(running.address).await;
    stream
        .write_all(&frame(HEADERS, END_HEADERS, 1, &block(GET)))
        .await
        .unwrap();
    flood(&mut stream, &frame(DATA, 0, 1, &[]).repeat(1000)).await;
}

#[tokio::test]
async fn requests_that_are_taken_back_at_once_are_bounded() {
    let running = start().await;
    let hang: Vec<_> = GET
        .iter()
        .map(|(name, value)| (*name, if *name == ":path" { "/hang" } else { value }))
        .collect();
    let ask = |id: u32| frame(HEADERS, END_HEADERS | END_STREAM, id, &block(&hang));
    let take_back = |id: u32| frame(RESET, 0, id, &8_u32.to_be_bytes());
    // All in one write, and so that each is asked for before it is taken back.
    for size in [1, 100] {
        let mut stream = open(running.address).await;
        let before = running.site.0.load(SeqCst);
        let mut id = 1;
        let flooding = async {
            loop {
                let ids: Vec<u32> = (0..size).map(|i| id + 2 * i).collect();
                id += 2 * size;
                let asked: Vec<u8> = ids.iter().flat_map(|id| ask(*id)).collect();
                let taken: Vec<u8> = ids.iter().flat_map(|id| take_back(*id)).collect();
                if stream.write_all(&asked).await.is_err() {
                    return;
                }
                if size > 1 {
                    let want = before + usize::try_from(id / 2).unwrap();
                    while running.site.0.load(SeqCst) < want && running.handle.connections() > 0 {
                        tokio::task::yield_now().await;
                    }
                }
                if stream.write_all(&taken).await.is_err() {
                    return;
                }
            }
        };
        timeout(SOON, flooding).await.expect("they are taken for ever");
        let asked = running.site.0.load(SeqCst) - before;
        assert!(asked <= 500, "{asked} were worked on");
    }
}
