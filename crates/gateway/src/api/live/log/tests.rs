//! Formats, and the way of a line to its group.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ephyra_core::logs::{LogSink, LogStream};
use ephyra_wire::front::Peer;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use parking_lot::Mutex;
use proptest::prelude::*;

use super::StageLog;
use super::format::{Format, LINE_BYTES};
use super::sink::AccessLog;
use crate::api::live::record::{Identity, Record};
use crate::request::HttpRequest;

fn with_record<T>(path: &str, agent: &HeaderValue, then: impl FnOnce(&mut Record<'_>) -> T) -> T {
    let (body, mut headers) = (Bytes::from_static(b"12345"), HeaderMap::new());
    headers.insert(http::header::USER_AGENT, agent.clone());
    let request = HttpRequest {
        method: &Method::GET,
        path,
        query: "",
        version: Version::HTTP_11,
        headers: &headers,
        authority: "abc.execute-api.us-east-1.localhost:4566",
        body: &body,
        peer: Peer {
            address: "127.0.0.1:9".parse().expect("an address"),
            is_tls: false,
        },
    };
    let mut record = Record {
        request,
        account_id: "000000000000",
        api_id: "abc",
        domain: ("abc.execute-api.us-east-1.localhost", "abc"),
        base_path: None,
        stage: "$default",
        route_key: Some("GET /a"),
        request_id: "id=",
        time_ms: 1_583_348_638_390,
        identity: Identity::Unknown,
        authorizer_error: None,
        error: None,
        integration_error: None,
        integration_status: Some(200),
        integration_latency: Some(Duration::from_millis(7)),
        status: Some(StatusCode::OK),
        response_length: 10,
        response_latency: Duration::from_millis(9),
    };
    then(&mut record)
}

#[track_caller]
fn check(format: &str, expected: &str) {
    let agent = HeaderValue::from_static("a\"b");
    let line = with_record("/a", &agent, |record| {
        record.error = Some("why".into());
        Format::new(format).line(record)
    });
    assert_eq!(line, expected);
}

#[test]
fn lines_are_written_in_the_words_of_the_format() {
    check(
        r#"$context.identity.sourceIp - - [$context.requestTime] "$context.httpMethod $context.routeKey $context.protocol" $context.status $context.responseLength $context.requestId"#,
        r#"127.0.0.1 - - [04/Mar/2020:19:03:58 +0000] "GET GET /a HTTP/1.1" 200 10 id="#,
    );
    check(r#"{"agent":"$context.identity.userAgent"}"#, r#"{"agent":"a\"b"}"#);
    check(
        "$context.integrationLatency.\n$context.nothing $context.authorizer.x",
        "7.- -",
    );
    check("$context.error.messageString $context.error.message", r#""why" why"#);
    check(
        "$context.dataProcessed $context.requestTimeEpoch $contextual",
        "15 1583348638390 $contextual",
    );
    check("", "");
}

#[test]
fn destinations_are_log_groups() {
    let group = |arn| StageLog::new(arn, "x").map(|log| log.group.to_string());
    assert_eq!(
        group("arn:aws:logs:us-east-1:000000000000:log-group:/a/b:*"),
        Some("/a/b".into())
    );
    assert_eq!(
        group("arn:aws:logs:us-east-1:000000000000:log-group:/a/b"),
        Some("/a/b".into())
    );
    for arn in [
        "",
        "/a/b",
        "arn:aws:logs:r:a:log-group:",
        "arn:aws:s3:r:a:log-group:x",
        "arn:aws:logs:r:a:log-group:a b",
    ] {
        assert_eq!(group(arn), None, "{arn}");
    }
}

/// Remembers what was flushed.
#[derive(Default)]
struct Memory {
    lines: Arc<Mutex<Vec<(String, String)>>>,
}

struct MemoryStream {
    group: String,
    waiting: Vec<String>,
    lines: Arc<Mutex<Vec<(String, String)>>>,
}

impl LogSink for Memory {
    fn open(&self, group: &str, _: &str) -> Box<dyn LogStream> {
        let lines = Arc::clone(&self.lines);
        Box::new(MemoryStream {
            group: group.to_owned(),
            waiting: Vec::new(),
            lines,
        })
    }
}

impl LogStream for MemoryStream {
    fn append(&mut self, _: i64, message: &[u8]) {
        self.waiting.push(String::from_utf8_lossy(message).into_owned());
    }

    fn flush(&mut self) {
        let group = &self.group;
        self.lines
            .lock()
            .extend(self.waiting.drain(..).map(|line| (group.clone(), line)));
    }
}

#[test]
fn lines_come_to_their_groups() {
    let sink = Memory::default();
    let lines = Arc::clone(&sink.lines);
    let log = AccessLog::new(Arc::new(sink));
    for number in 0..200 {
        log.write(&format!("/group/{}", number % 80).into(), 1, number.to_string());
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while lines.lock().len() < 200 {
        assert!(Instant::now() < deadline, "not all lines were written");
        std::thread::yield_now();
    }
    assert!(lines.lock().iter().all(|(group, line)| {
        line.parse::<u32>()
            .is_ok_and(|number| *group == format!("/group/{}", number % 80))
    }));
    assert_eq!(log.dropped(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn no_client_can_end_a_line_or_a_text_in_it(
        format in "(\\$context\\.[a-zA-Z.]{0,20}|[ -~\\n]{0,10}){0,6}",
        path in "\\PC{0,40}",
        agent in proptest::collection::vec(32_u8..127, 0..60),
    ) {
        let agent = HeaderValue::from_bytes(&agent).expect("a value");
        let line = with_record(&path, &agent, |record| Format::new(&format).line(record));
        prop_assert!(!line.contains(['\n', '\r']) && line.len() <= LINE_BYTES);
        let wrapped = r#"{"path":"$context.path","agent":"$context.identity.userAgent"}"#;
        let line = with_record(&path, &agent, |record| Format::new(wrapped).line(record));
        let json: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        prop_assert_eq!(json["path"].as_str(), Some(path.as_str()));
    }
}
