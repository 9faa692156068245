//! What building an event and reading an answer cost, in nanoseconds: `cargo run --release -p ephyra-gateway --example event_cost`.
//!
//! The machine's noise is held out by taking the best of many rounds.

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use ephyra_gateway::answer;
use ephyra_gateway::door;
use ephyra_gateway::event::{v1, v2};
use ephyra_gateway::request::HttpRequest;
use ephyra_wire::front::Peer;
use http::{HeaderValue, request};

const ROUNDS: usize = 30;
const CALLS: u32 = 500;

/// Nanoseconds of one call.
fn time<T>(mut call: impl FnMut() -> T) -> u128 {
    let round = || {
        let start = Instant::now();
        for _ in 0..CALLS {
            black_box(call());
        }
        start.elapsed().as_nanos() / u128::from(CALLS)
    };
    std::iter::repeat_with(round).take(ROUNDS).min().unwrap_or_default()
}

/// A browser's request.
fn head() -> request::Parts {
    let request = http::Request::post("/pets/7?name=a%20b&tag=x&tag=y")
        .header(
            "host",
            "abcdefghijklmnopqrstuvwxyz012345.lambda-url.us-east-1.localhost:4566",
        )
        .header(
            "accept",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        )
        .header("accept-encoding", "gzip, deflate, br")
        .header("accept-language", "en-GB,en;q=0.9")
        .header("content-type", "application/json")
        .header("content-length", "27")
        .header("cookie", "session=0123456789abcdef; theme=dark")
        .header("origin", "https://shop.example")
        .header(
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140 Safari/537.36",
        );
    // All of its parts are well-formed.
    request.body(()).unwrap_or_default().into_parts().0
}

fn main() {
    let head = head();
    let peer = Peer {
        address: ([192, 0, 2, 7], 1234).into(),
        is_tls: false,
    };
    let small = Bytes::from_static(br#"{"name":"Rex","tags":[1,2]}"#);
    let large = Bytes::from(vec![b'x'; 1 << 16]);
    let request = |body| HttpRequest {
        method: &head.method,
        path: "/pets/7",
        query: head.uri.query().unwrap_or_default(),
        version: head.version,
        headers: &head.headers,
        authority: door::authority(&head),
        body,
        peer,
    };
    let context = v2::Context {
        account_id: "anonymous",
        api_id: "abcdefghijklmnopqrstuvwxyz012345",
        domain_name: "abcdefghijklmnopqrstuvwxyz012345.lambda-url.us-east-1.localhost",
        domain_prefix: "abcdefghijklmnopqrstuvwxyz012345",
        route_key: "$default",
        stage: "$default",
        request_id: "28d04d7e-7f0b-4521-9484-f7012b07cb68",
        trace_id: "Root=1-643ec28d-5503dc7274559e68706dae64;Parent=53995c3f42cd8ad8;Sampled=0",
        time_ms: 1_764_037_671_023,
        authorizer: None,
        path_parameters: &[],
        stage_variables: None,
        keeps_cookie_header: true,
    };
    let context_v1 = v1::Context {
        account_id: context.account_id,
        api_id: context.api_id,
        domain_name: context.domain_name,
        domain_prefix: context.domain_prefix,
        resource: "/pets/{id}",
        stage: context.stage,
        request_id: context.request_id,
        trace_id: context.trace_id,
        time_ms: context.time_ms,
        authorizer: None,
        path_parameters: &[],
        stage_variables: None,
    };
    let plain = HeaderValue::from_static("application/json");
    let answer = Bytes::from_static(
        br#"{"statusCode":200,"headers":{"Content-Type":"text/html; charset=utf-8"},"body":"<p>hello, world</p>"}"#,
    );
    let report = |what: &str, bytes: usize, ns: u128| println!("{what:32} {bytes:>9} bytes {ns:>9} ns");
    let door = || door::find(&head, "us-east-1", |_| false);
    report("whose the address is", 0, time(door));
    let event = v2::event(&request(&small), &context);
    report("event 2.0", event.len(), time(|| v2::event(&request(&small), &context)));
    report(
        "event 1.0",
        v1::event(&request(&small), &context_v1).len(),
        time(|| v1::event(&request(&small), &context_v1)),
    );
    report(
        "event 2.0, a body of 64 KiB",
        v2::event(&request(&large), &context).len(),
        time(|| v2::event(&request(&large), &context)),
    );
    // What the same costs by way of a tree of values.
    let tree: serde_json::Value = serde_json::from_slice(&event).unwrap_or_default();
    report(
        "event 2.0, from a tree",
        event.len(),
        time(|| serde_json::to_vec(black_box(&tree.clone()))),
    );
    report(
        "answer 2.0",
        answer.len(),
        time(|| answer::v2::read(&answer, plain.clone())),
    );
    let inferred = Bytes::from_static(b"\"hello, world\"");
    report(
        "answer 2.0, inferred",
        inferred.len(),
        time(|| answer::v2::read(&inferred, plain.clone())),
    );
}
