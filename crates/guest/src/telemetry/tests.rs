//! The hub with real sockets and subscribers of all kinds.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use ephyra_core::id::{RequestId, Version};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde_json::{Value, json};

use super::*;
use crate::supervisor::Supervisor;

const LIMIT: Duration = Duration::from_secs(10);

/// A hub, and pid 1's end of the line.
fn hub() -> (Hub, OwnedFd) {
    let (here, there) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let line = Supervisor::open(here).unwrap().line();
    (Hub::new(line, LogFormat::Text), there)
}

fn give_socket(hub: &Hub) {
    let fd = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    hub.take_socket(fd).unwrap();
}

fn request(port: u16, types: &[&str]) -> Vec<u8> {
    json!({
        "schemaVersion": "2022-12-13", "types": types, "buffering": { "timeoutMs": 25 },
        "destination": { "protocol": "HTTP", "URI": format!("http://sandbox.localdomain:{port}/in?x=1") },
    })
    .to_string()
    .into_bytes()
}

fn start() -> Event<'static> {
    Event::Start {
        request_id: RequestId::from_bytes([0; 16]),
        version: Version::Latest,
        trace_id: None,
    }
}

/// Reads one request: its first line and its body.
fn read_request(reader: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((first.trim_end().to_owned(), body))
}

/// A subscriber over HTTP that answers each request with the next of `replies`, and the last of them for ever; an
/// empty one closes the connection instead.
fn subscriber(replies: Vec<&'static str>) -> (u16, Receiver<Heard>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = channel();
    std::thread::spawn(move || serve(&listener, &replies, &sender));
    (port, receiver)
}

fn serve(listener: &TcpListener, replies: &[&str], sender: &Sender<Heard>) {
    let mut count = 0;
    while let Ok((stream, _)) = listener.accept() {
        let mut writer = stream.try_clone().unwrap();
        let mut reader = BufReader::new(stream);
        while let Some((first, body)) = read_request(&mut reader) {
            let reply = replies[count.min(replies.len() - 1)];
            count += 1;
            if reply.is_empty() {
                break;
            }
            let heard = serde_json::from_slice(&body).unwrap();
            writer.write_all(reply.as_bytes()).unwrap();
            if reply.starts_with("HTTP/1.1 200") && sender.send((first, heard)).is_err() {
                return;
            }
            if reply.contains("close") {
                break;
            }
        }
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK";
const OK_AND_CLOSE: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
const ERROR: &str = "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n";

type Heard = (String, Vec<Value>);

/// The next request: its first line, and the types of its records.
async fn next(receiver: Receiver<Heard>) -> (Receiver<Heard>, String, Vec<String>) {
    tokio::task::spawn_blocking(move || {
        let (first, records) = receiver.recv_timeout(LIMIT).unwrap();
        let types = records.iter().map(|record| record["type"].as_str().unwrap().to_owned());
        (receiver, first, types.collect())
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_subscriber_hears_what_was_and_what_comes() {
    for reply in [OK, OK_AND_CLOSE] {
        let (port, heard) = subscriber(vec![reply]);
        let (hub, _pid_1) = hub();
        hub.platform(start(), 0);
        hub.line(Category::Function, "early", 0);
        hub.subscribe("x", Api::Telemetry, &request(port, &["platform", "function"]), 0)
            .unwrap();
        hub.subscribe("x", Api::Telemetry, &request(port, &["platform", "function"]), 0)
            .unwrap();
        give_socket(&hub);
        assert!(hub.close());
        hub.line(Category::Extension, "not wanted", 0);
        let (heard, first, types) = next(heard).await;
        assert_eq!(first, "POST /in?x=1 HTTP/1.1");
        assert_eq!(types, ["platform.start", "function", "platform.telemetrySubscription"]);
        for _ in 0..3 {
            hub.line(Category::Function, "late", 0);
        }
        let (_, first, types) = next(heard).await;
        assert_eq!(first, "POST /in?x=1 HTTP/1.1");
        assert_eq!(types, ["function", "function", "function"]);
        assert_eq!(
            hub.subscribe("y", Api::Telemetry, &request(port, &["platform"]), 0),
            Err(Refusal::Closed)
        );
    }
}

#[tokio::test]
async fn errors_and_broken_connections_are_tried_again() {
    let (port, heard) = subscriber(vec![ERROR, "", OK]);
    let (hub, _pid_1) = hub();
    hub.subscribe("x", Api::Logs, &logs(port), 0).unwrap();
    give_socket(&hub);
    let (_, _, types) = next(heard).await;
    assert_eq!(types, ["platform.logsSubscription"]);
}

fn logs(port: u16) -> Vec<u8> {
    json!({
        "types": ["platform", "function"], "buffering": { "timeoutMs": 25, "maxItems": 1000 },
        "destination": { "protocol": "HTTP", "URI": format!("http://sandbox:{port}") },
    })
    .to_string()
    .into_bytes()
}

#[tokio::test]
async fn one_that_hangs_loses_records_and_is_told_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (hub, _pid_1) = hub();
    hub.subscribe("x", Api::Logs, &logs(port), 0).unwrap();
    give_socket(&hub);
    let (mut stream, first) = tokio::task::spawn_blocking(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (_, body) = read_request(&mut reader).unwrap();
        (stream, body)
    })
    .await
    .unwrap();
    assert_eq!(serde_json::from_slice::<Vec<Value>>(&first).unwrap().len(), 1);
    // It does not answer, and nobody waits for it.
    for _ in 0..2000 {
        hub.line(Category::Function, "x", 0);
    }
    let second = tokio::task::spawn_blocking(move || {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        stream.write_all(OK.as_bytes()).unwrap();
        read_request(&mut reader).unwrap().1
    })
    .await
    .unwrap();
    let second: Vec<Value> = serde_json::from_slice(&second).unwrap();
    assert_eq!(second.len(), 1001);
    assert_eq!(second[0]["type"], "platform.logsDropped");
    assert_eq!(second[0]["record"]["droppedRecords"], 1000);
}

#[tokio::test]
async fn tcp_subscribers_get_lines() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (hub, _pid_1) = hub();
    let request = json!({
        "schemaVersion": "2022-07-01", "types": ["function", "extension"], "buffering": { "timeoutMs": 30_000 },
        "destination": { "protocol": "TCP", "port": port },
    });
    hub.subscribe("x", Api::Telemetry, request.to_string().as_bytes(), 0)
        .unwrap();
    give_socket(&hub);
    hub.line(Category::Function, "one", 0);
    hub.line(Category::Extension, "two", 0);
    hub.hurry();
    let lines = tokio::task::spawn_blocking(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream).lines();
        [lines.next().unwrap().unwrap(), lines.next().unwrap().unwrap()]
    })
    .await
    .unwrap();
    let [one, two] = lines.map(|line| serde_json::from_str::<Value>(&line).unwrap());
    assert_eq!(
        (&one["type"], &one["record"], &two["type"]),
        (&json!("function"), &json!("one"), &json!("extension"))
    );
}

#[tokio::test]
async fn the_past_is_bounded_and_what_is_missing_of_it_is_told() {
    let (port, heard) = subscriber(vec![OK]);
    let (hub, _pid_1) = hub();
    for number in 0..PAST_RECORDS + 5 {
        hub.line(Category::Function, &number.to_string(), 0);
    }
    hub.subscribe("x", Api::Telemetry, &request(port, &["platform", "function"]), 0)
        .unwrap();
    give_socket(&hub);
    let (_, _, types) = next(heard).await;
    assert_eq!(types.len(), PAST_RECORDS + 2);
    assert_eq!(types[0], "platform.logsDropped");
}
