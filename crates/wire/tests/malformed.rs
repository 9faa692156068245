//! Requests that are malformed, or that a proxy in front could read in another way: each is refused, and nothing that comes
//! behind it on the connection is taken for a request.
#![allow(clippy::unwrap_used, reason = "a test panics by design")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use ephyra_core::id::RequestId;
use ephyra_wire::front::{Front, FrontOptions, Handle, Plain, Refused, Services, Site, SiteRequest};
use ephyra_wire::service::{Body, Response};
use ephyra_wire::sigv4::{Credential, Credentials};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode, request};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);
/// What must never be answered.
const SECOND: &[u8] = b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n";
/// What stands before something malformed.
const GOOD: &[u8] = b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n";
/// What ends a connection that is whole.
const LAST: &[u8] = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

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

/// Answers everything, and remembers what it was asked.
#[derive(Default)]
struct Everything(Mutex<Vec<String>>);

impl Site for Everything {
    fn body_limit(&self, _: &request::Parts) -> Option<usize> {
        Some(100_000)
    }

    fn call(&self, request: SiteRequest) -> BoxFuture<'_, Response> {
        let asked = format!(
            "{} {} {}",
            request.head.method,
            request.head.uri.path(),
            request.body.len()
        );
        self.0.lock().push(asked);
        async { response(StatusCode::OK) }.boxed()
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
    _handle: Handle,
}

async fn start() -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let site = Arc::new(Everything::default());
    let front = Front {
        options: FrontOptions {
            header_time: Duration::from_millis(300),
            body_grace: Duration::from_millis(300),
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
        _handle: front.start(vec![listener]),
    }
}

/// Sends the parts, one write each, and reads to the end of the connection.
async fn exchange(address: SocketAddr, parts: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for part in parts {
        // It may be closed already.
        let _ = stream.write_all(part).await;
    }
    let mut answer = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut answer))
        .await
        .unwrap_or_else(|_| panic!("the connection stays open: {}", String::from_utf8_lossy(&answer)));
    String::from_utf8_lossy(&answer).into_owned()
}

/// The statuses of all answers on a connection.
fn statuses(answer: &str) -> Vec<u16> {
    let lines = answer.match_indices("HTTP/1.1 ");
    lines.map(|(at, _)| answer[at + 9..at + 12].parse().unwrap()).collect()
}

/// Requests that are refused by their head.
fn heads() -> Vec<Vec<u8>> {
    let mut corpus: Vec<Vec<u8>> = Vec::new();
    let chunks = "0\r\n\r\n";
    // Two lengths.
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length: 5,6",
        "Content-Length: 0\r\ncontent-length: 5",
        // Lengths that are none.
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5 ",
        "Content-Length: 5e0",
        "Content-Length: 5;",
        "Content-Length: \"5\"",
        "Content-Length: 5 5",
        "Content-Length:",
        "Content-Length: ",
        "Content-Length: 18446744073709551616",
        "Content-Length: 99999999999999999999999999999999999999999",
        "Content-Length: ५",
        "Content-Length: 5\u{a0}",
        // Codings that one of two may not see.
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: 'chunked'",
        "Transfer-Encoding: chunked;q=0.5",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: deflate",
        "Transfer-Encoding:",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding: \x0cchunked",
        "Transfer-Encoding:\x00chunked",
        "Transfer-Encoding: chunked\x00",
        "Transfer-Encoding: chun\tked",
        "Transfer-Encoding: chunKed\u{212a}",
        // Names that one of two may not know.
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "\tTransfer-Encoding: chunked",
        "Transfer_Encoding: chunked",
        "Content_Length: 5",
        "Content-Length : 5",
        "Content-Length\x00: 5",
        "Transfer\x00-Encoding: chunked",
        "Transfer Encoding: chunked",
        "(Transfer-Encoding): chunked",
        ": chunked",
        "Transfer-Encoding",
        "\u{2010}Transfer-Encoding: chunked",
        // Lines that one of two may cut.
        "X: y\r\n Transfer-Encoding: chunked",
        "X: y\r\n\tz",
        "Transfer-Encoding:\r\n chunked",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\r\r\nTransfer-Encoding: chunked",
        "X: y\n\nGET /second HTTP/1.1\r\nHost: a",
        "X: y\x00",
        "X: y\x07",
        "X: \x7f",
        "X\x7f: y",
        // More than one host, or none that is one.
        "Host: b",
        "Host: a",
        "Expect: 200-maybe",
        "Expect: 100-continue, 100-continue",
    ] {
        // Behind "5 " follows nothing: white space around a value is no part of it.
        let is_sound = lines == "Content-Length: 5 ";
        if !is_sound {
            corpus.push(format!("POST /first HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n{chunks}").into_bytes());
        }
    }
    for whole in [
        // Hosts.
        "GET /first HTTP/1.1\r\n\r\n",
        "GET /first HTTP/1.1\r\nHost:\r\n\r\n",
        "GET /first HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET /first HTTP/1.1\r\nHost: a,b\r\n\r\n",
        "GET /first HTTP/1.1\r\nHost: a@b\r\n\r\n",
        "GET /first HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET /first HTTP/1.1\r\nHost: a:b\r\n\r\n",
        "GET /first HTTP/1.1\r\nHost: a:80:80\r\n\r\n",
        "GET /first HTTP/1.1\r\nHost: a#b\r\n\r\n",
        "GET /first HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
        "GET /first HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET /first HTTP/1.1\r\nHost: \u{e4}\r\n\r\n",
        "GET http://b/first HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a:80/first HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://u@a/first HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://u@a/first HTTP/1.1\r\nHost: u@a\r\n\r\n",
        "GET ftp://a/first HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http:///first HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET //a HTTP/1.1\r\nHost: b\r\nHost: a\r\n\r\n",
        // Versions.
        "GET /first\r\n",
        "GET /first\r\n\r\n",
        "GET /first HTTP/0.9\r\nHost: a\r\n\r\n",
        "GET /first HTTP/1.2\r\nHost: a\r\n\r\n",
        "GET /first HTTP/1.10\r\nHost: a\r\n\r\n",
        "GET /first HTTP/01.1\r\nHost: a\r\n\r\n",
        "GET /first HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET /first HTTP/3\r\nHost: a\r\n\r\n",
        "GET /first http/1.1\r\nHost: a\r\n\r\n",
        "GET /first HTTP/1,1\r\nHost: a\r\n\r\n",
        "GET /first HTTP /1.1\r\nHost: a\r\n\r\n",
        "GET /first HTTPS/1.1\r\nHost: a\r\n\r\n",
        "POST /first HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nGET ",
        // Request lines.
        "GET  /first HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /first  HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET\t/first HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /first\tHTTP/1.1\r\nHost: a\r\n\r\n",
        " GET /first HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /first HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET /first HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /fir st HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /first HTTP/1.1\nHost: a\r\n\r\n",
        "GET /first HTTP/1.1\rHost: a\r\n\r\n",
        "GET /first HTTP/1.1\r\nHost: a\n\r\n",
        "GET /first HTTP/1.1\r\nHost: a\r\n\n",
        "GET /first HTTP/1.1\r\nHost: a\n\n",
        "\n\nGET /first HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\n\r\nGET /first HTTP/1.1\r\nHost: a\r\n\r\n",
        "/first HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET first HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        "G\u{c9}T /first HTTP/1.1\r\nHost: a\r\n\r\n",
        "GE(T /first HTTP/1.1\r\nHost: a\r\n\r\n",
        "\0GET /first HTTP/1.1\r\nHost: a\r\n\r\n",
        // Paths.
        "GET /fi\x00rst HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /fi\x01rst HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /fi\x7frst HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /f\u{e9}rst HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /first#second HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /first%00 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /first% HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /first%2 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /first%zz HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /first%%32 HTTP/1.1\r\nHost: a\r\n\r\n",
        // Methods.
        "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
        "CONNECT /first HTTP/1.1\r\nHost: a\r\n\r\n",
        "TRACE /first HTTP/1.1\r\nHost: a\r\n\r\n",
        "TRACK /first HTTP/1.1\r\nHost: a\r\n\r\n",
        // Other protocols.
        "\x16\x03\x01\x02\x00\x01\x00\x01\n\x03\x03\r\n\r\n",
        "SSH-2.0-OpenSSH_9.9\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ] {
        corpus.push(whole.as_bytes().to_vec());
    }
    corpus.push(b"GET /first HTTP/1.1\r\nHost: a\r\nX: \xff\xfe\r\nContent-Length: \xff\r\n\r\n".to_vec());
    corpus.push(b"GET /first\xff HTTP/1.1\r\nHost: a\r\n\r\n".to_vec());
    corpus.push(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(70_000)).into_bytes());
    corpus.push(format!("GET /first HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(140_000)).into_bytes());
    corpus.push(format!("GET /first HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(200)).into_bytes());
    corpus
}

/// Bodies in chunks that are none.
fn bodies() -> Vec<String> {
    let mut corpus: Vec<String> = [
        "x\r\n",
        "\r\n",
        "-1\r\na\r\n0\r\n\r\n",
        "+1\r\na\r\n0\r\n\r\n",
        "0x1\r\na\r\n0\r\n\r\n",
        " 1\r\na\r\n0\r\n\r\n",
        "1 \r\na\r\n0\r\n\r\n",
        "1\t;x\r\na\r\n0\r\n\r\n",
        "1\na\r\n0\r\n\r\n",
        "1\r\na\n0\r\n\r\n",
        "1\r\na\r0\r\n\r\n",
        "1\r\nab\r\n0\r\n\r\n",
        "1\r\na0\r\n\r\n",
        "2\r\na\r\n0\r\n\r\n",
        "1,1\r\na\r\n0\r\n\r\n",
        "1_0\r\na\r\n0\r\n\r\n",
        "1;a\nb\r\na\r\n0\r\n\r\n",
        "1;\x00\r\na\r\n0\r\n\r\n",
        "1;a\rb\r\na\r\n0\r\n\r\n",
        "10000000000000000\r\na\r\n0\r\n\r\n",
        "100000000000000000000000000000001\r\na\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\na\r\n0\r\n\r\n",
        "g\r\na\r\n0\r\n\r\n",
        "1\r\na\r\n0\n\r\n",
        "1\r\na\r\n0\r\n\n",
        "1\r\na\r\n0\r\r\n",
        "0\r\nContent-Length: 5\r\n\r\n",
        "0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "0\r\nHost: b\r\n\r\n",
        "0\r\n x: y\r\n\r\n",
        "0\r\nx y\r\n\r\n",
        "0\r\nx : y\r\n\r\n",
        "0\r\nx: y\nGET /second HTTP/1.1\r\n\r\n",
        "0\r\nx: y\n\n",
        "\u{661}\r\na\r\n0\r\n\r\n",
        "1\r\na\r\n00000000000000000\r\n\r\n",
    ]
    .map(str::to_owned)
    .into();
    corpus.push(format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(2000)));
    corpus.push(format!("0\r\n{}\r\n", "x: y\r\n".repeat(5000)));
    corpus.push(format!("0\r\nx: {}\r\n\r\n", "y".repeat(70_000)));
    corpus
}

#[tokio::test]
async fn malformed_requests_are_refused_with_all_that_follows() {
    let running = start().await;
    let mut corpus = heads();
    let head = "POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    corpus.extend(bodies().iter().map(|body| format!("{head}{body}").into_bytes()));
    assert!(corpus.len() >= 150, "{}", corpus.len());
    for malformed in &corpus {
        let shown = String::from_utf8_lossy(&malformed[..malformed.len().min(200)]).into_owned();
        let whole = [malformed, SECOND].concat();
        let halves: Vec<&[u8]> = malformed.chunks(malformed.len().div_ceil(2)).chain([SECOND]).collect();
        for parts in [&[&whole[..]][..], &halves] {
            let answer = exchange(running.address, parts).await;
            let statuses = statuses(&answer);
            assert!(statuses.len() <= 1, "{shown:?}: {answer}");
            // 501 and 505 would be right for some, too.
            assert!(
                statuses.iter().all(|status| (400..500).contains(status)),
                "{shown:?}: {answer}"
            );
            let asked = std::mem::take(&mut *running.site.0.lock());
            assert!(asked.is_empty(), "{shown:?} reached the site: {asked:?}");
        }
    }
}

#[tokio::test]
async fn what_follows_a_good_request_is_held_to_the_same() {
    let running = start().await;
    for malformed in heads() {
        let answer = exchange(running.address, &[GOOD, &malformed, SECOND]).await;
        let asked = std::mem::take(&mut *running.site.0.lock());
        let shown = String::from_utf8_lossy(&malformed[..malformed.len().min(200)]).into_owned();
        assert_eq!(asked, ["GET /good 0"], "{shown:?}: {answer}");
        let statuses = statuses(&answer);
        assert!(matches!(statuses[..], [200] | [200, 400..500]), "{shown:?}: {answer}");
    }
}

#[tokio::test]
async fn good_requests_are_served_however_they_are_cut() {
    let running = start().await;
    let good: &[(&str, &str)] = &[
        ("GET /a?b=%zz&c=100% HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a 0"),
        ("GET http://A.b:80/a HTTP/1.1\r\nHost: a.b:80\r\n\r\n", "GET /a 0"),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * 0"),
        ("\r\nGET /a HTTP/1.1\r\nHost:[::1]:80\r\n\r\n", "GET /a 0"),
        (
            "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5 \r\n\r\nabcde",
            "POST /a 5",
        ),
        (
            "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n\r\n",
            "POST /a 0",
        ),
        (
            "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 00005\r\n\r\n\n\n\r\n\r",
            "POST /a 5",
        ),
        (
            "POST /a HTTP/1.1\r\nHost: a\r\ntransfer-encoding:\tCHUNKED \r\n\r\n3;a=\"b c\"\r\nabc\r\n0A\r\n0123456789\r\n000\r\nx: y\r\n\r\n",
            "POST /a 13",
        ),
        ("GET /a HTTP/1.1\r\nHost: a\r\nX_Y: z\r\nX:\r\n\r\n", "GET /a 0"),
        // An upgrade that we do not make is ignored, as curl and Java's client count on it.
        (
            "GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
            "GET /a 0",
        ),
    ];
    for (text, want) in good {
        for size in [usize::MAX, 7, 1] {
            let text = [text.as_bytes(), LAST].concat();
            let parts: Vec<&[u8]> = text.chunks(size).collect();
            let answer = exchange(running.address, &parts).await;
            let asked = std::mem::take(&mut *running.site.0.lock());
            assert_eq!(asked, [*want, "GET /last 0"], "{answer}");
            assert_eq!(statuses(&answer), [200, 200], "{answer}");
        }
    }
}

#[tokio::test]
async fn an_upgrade_to_http2_makes_no_tunnel() {
    let running = start().await;
    let upgrade = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n";
    let answer = exchange(running.address, &[upgrade, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", SECOND]).await;
    assert_eq!(statuses(&answer), [200, 400], "{answer}");
    assert_eq!(*running.site.0.lock(), ["GET /a 0"]);
}

#[tokio::test]
async fn a_request_that_comes_drop_by_drop_is_cut_off() {
    let running = start().await;
    let chunked = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (begin, drop) in [(&b"GET /"[..], &b"a"[..]), (chunked, b"1\r\na\r\n")] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(begin).await.unwrap();
        let mut answer = [0; 1000];
        let dripping = async {
            // Each drop comes in time; all of them together do not.
            while stream.write_all(drop).await.is_ok() {
                if timeout(Duration::from_millis(10), stream.read(&mut answer))
                    .await
                    .is_ok()
                {
                    return;
                }
            }
        };
        timeout(SOON, dripping).await.expect("the connection stays open");
    }
    assert!(running.site.0.lock().is_empty());
}
