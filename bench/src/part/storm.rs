//! What one function's storm does to another's calls: a steady trickle of calls to one function, alone, and while many
//! connections call another one as fast as it answers, from its first call on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::Bench;
use crate::connection::{Bytes, Connection};
use crate::crowd::{Crowd, Run};
use crate::function::{ANSWER, Api, Spec, invocation};
use crate::language::Language;
use crate::report::{Bar, Report};
use crate::server::Server;
use crate::stats::Summary;
use crate::stop;

const MEMORY_MB: u32 = 128;
/// Connections of the storm.
const STORM: usize = 64;
/// From the start of one call to the start of the next.
const PACE: Duration = Duration::from_millis(4);
const TIME: Duration = Duration::from_secs(6);
/// How much a call may be delayed, of the 99th percentile alone.
const FACTOR: f64 = 2.0;

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let server = bench.program.start(&[])?;
    let mut api = Api::open(server.address)?;
    for name in ["steady", "storm"] {
        let spec = Spec {
            name,
            language: Language::Python,
            memory_mb: MEMORY_MB,
        };
        api.deploy(&bench.languages, &spec)?;
    }
    let steady = invocation(server.address, "steady")?;
    trickle(&server, &steady, bench.time(TIME))?;
    let alone = trickle(&server, &steady, bench.time(TIME))?;
    let (during, run) = in_storm(bench, &server, &steady)?;
    let alone = Summary::of(&alone).context("no call was made")?;
    let during = Summary::of(&during).context("no call was made")?;
    report.times("storm", "a steady function's calls, alone", alone);
    report.times("storm", "its calls while another is stormed", during);
    report.value("storm", &format!("the storm: {STORM} connections"), run.rate(), "/s");
    let delay = (during.p99_us - alone.p50_us) / alone.p99_us;
    let title = "delay at the 99th percentile, of the p99 alone";
    report.value_with_bar("storm", title, delay, "×", Bar::AtMost(FACTOR));
    server.stop()
}

/// One call after the other at a steady pace.
fn trickle(server: &Server, request: &Bytes, time: Duration) -> Result<Vec<Duration>> {
    let mut connection = Connection::open(server.address)?;
    let mut times = Vec::new();
    let start = Instant::now();
    let mut next = start;
    while start.elapsed() < time {
        times.push(connection.expect(request, ANSWER)?);
        next += PACE;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    stop::check()?;
    Ok(times)
}

/// The trickle while the storm goes on in a thread of its own.
fn in_storm(bench: &Bench, server: &Server, steady: &Bytes) -> Result<(Vec<Duration>, Run)> {
    let request = invocation(server.address, "storm")?;
    let mut crowd = Crowd::open(server.address, STORM)?;
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let is_over = &is_over;
        let storm = scope.spawn(move || crowd.run(|_| (!is_over.load(Ordering::Relaxed)).then(|| request.clone())));
        let times = trickle(server, steady, bench.time(TIME));
        is_over.store(true, Ordering::Relaxed);
        let run = storm
            .join()
            .map_err(|_| anyhow!("the storm panicked"))??
            .all_good("the storm")?;
        Ok((times?, run))
    })
}
