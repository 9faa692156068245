//! The time of one round trip through a warm environment without isolation: a thread that only answers frames,
//! Python, Node and a program of one's own over HTTP, each with an empty handler; and the start of each.
//!
//! `cargo run --release -p ephyra-guest --example latency`
#![allow(clippy::unwrap_used, reason = "a benchmark stops when something is amiss")]

#[path = "../tests/guest/support.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod support;

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use support::Rig;

const ROUNDS: usize = 10_000;

#[tokio::main(worker_threads = 2)]
async fn main() {
    println!(
        "{:<8} {:>10} {:>10} {:>12} {:>12}",
        "guest", "p50 µs", "p99 µs", "boot ms", "init ms"
    );
    let mut ping = Rig::python("app.handler", "");
    ping.native = Some(answer_frames);
    measure("frames", &ping).await;
    measure(
        "python",
        &Rig::python("app.handler", "def handler(event, context): return None"),
    )
    .await;
    measure(
        "node",
        &Rig::node("app.handler", &[("app.js", "exports.handler = async () => null;")]),
    )
    .await;
    measure(
        "http",
        &Rig::provided(
            "while True:\n    id, _, _ = next()\n    call('POST', f'runtime/invocation/{id}/response', 'null')\n",
        ),
    )
    .await;
}

async fn measure(name: &str, rig: &Rig) {
    // The first start finds cold caches.
    drop(rig.launch().await);
    let mut starts = Vec::new();
    for _ in 0..10 {
        let (_, execution) = rig.once("{}").await;
        starts.push(execution.measures.cold.unwrap());
    }
    starts.sort_by_key(|start| start.boot + start.init);
    let start = starts[starts.len() / 2];
    let mut environment = rig.launch().await;
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let invocation = rig.invocation("{}");
        let began = Instant::now();
        let (back, execution) = environment.invoke(invocation).await;
        times.push(began.elapsed());
        assert!(execution.result.is_ok());
        environment = back.unwrap();
    }
    times.sort();
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "{name:<8} {:>10.1} {:>10.1} {:>12.2} {:>12.2}",
        us(times[ROUNDS / 2]),
        us(times[ROUNDS * 99 / 100]),
        ms(start.boot),
        ms(start.init)
    );
}

/// A guest that costs nothing.
fn answer_frames(control: OwnedFd) {
    let mut control = UnixStream::from(control);
    let mut event = [0; 16 * 1024];
    control.write_all(&[0, 0, 0, 0, 0x81, 2, 0, 0]).unwrap();
    // The configuration fits: this function has no variables.
    assert!(control.read(&mut event).unwrap() > 8);
    control.write_all(&[0, 0, 0, 0, 0x82, 2, 0, 0]).unwrap();
    let mut answer = [
        20, 0, 0, 0, 0x84, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b'n', b'u', b'l', b'l',
    ];
    while control.read(&mut event).is_ok_and(|count| count > 24) {
        answer[8..24].copy_from_slice(&event[8..24]);
        if control.write_all(&answer).is_err() {
            return;
        }
    }
}
