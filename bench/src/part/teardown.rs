//! What ten thousand environments leave behind: each call ends its environment, so that the next one starts another.
//!
//! The pool of blank environments is as large as the last burst, and shrinks within minutes. It is kept small here, so
//! that it is full before and after, and what is counted is what is left and not how fast the last calls came.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::Bench;
use crate::census::Leftovers;
use crate::connection::Bytes;
use crate::crowd::Crowd;
use crate::function::{Api, Spec, invocation};
use crate::language::{self, Language};
use crate::report::{Bar, Report};
use crate::server::Server;
use crate::stop;

const ENVIRONMENTS: usize = 10_000;
/// Those before the first count, so that pools and caches are as they will be.
const UNCOUNTED: usize = 500;
const CONNECTIONS: usize = 4;
/// Then it is told that it came to fewer.
const TIME: Duration = Duration::from_secs(120);
const MEMORY_MB: u32 = 128;
const HANDLER: &str = "import os\n\n\ndef handler(event, context):\n    os._exit(0)\n";
/// Memory for blank environments, in MB: a dozen.
const POOL_MB: &str = "64";
/// How many more there may be of processes, and of what a blank environment has several of: the pool may hold some more,
/// as what one takes is measured anew each time. A leak would show as ten thousand.
const SLACK_PROCESSES: f64 = 16.0;
const SLACK: f64 = 100.0;
const GROWTH_BAR_MIB: f64 = 5.0;
/// Nothing changes any more when nothing has for so long.
const REST: Duration = Duration::from_secs(2);
/// How long tear-down may lag behind.
const SETTLE_TIME: Duration = Duration::from_secs(30);

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let server = bench.program.start(&["--pool-memory", POOL_MB])?;
    let mut api = Api::open(server.address)?;
    let spec = Spec {
        name: "teardown",
        language: Language::Python,
        memory_mb: MEMORY_MB,
    };
    api.deploy_package(&bench.languages, &spec, &language::python(HANDLER)?)?;
    let request = invocation(server.address, spec.name)?;
    let count = bench.samples(ENVIRONMENTS);
    end_environments(&server, &request, UNCOUNTED)?;
    let (before, memory) = (at_rest(&server)?, server.family()?.own_kib()?);
    let (ended, rate) = end_environments(&server, &request, count)?;
    let (after, grown) = (at_rest(&server)?, server.family()?.own_kib()?);
    let title = "environments started and ended";
    report.value_with_bar("teardown", title, ended as f64, "", Bar::AtLeast(count as f64));
    report.value("teardown", &format!("{title}, a second"), rate, "/s");
    for (what, before, after, slack) in [
        ("processes", before.processes, after.processes, SLACK_PROCESSES),
        ("mounts", before.mounts, after.mounts, 0.0),
        ("control groups", before.cgroups, after.cgroups, SLACK),
        ("namespaces", before.namespaces, after.namespaces, SLACK),
        (
            "descriptors of server and warden",
            before.descriptors,
            after.descriptors,
            SLACK,
        ),
    ] {
        let more = after.saturating_sub(before) as f64;
        report.value_with_bar("teardown", &format!("{what} left"), more, "", Bar::AtMost(slack));
    }
    for (what, before, after) in [("warden", memory[0], grown[0]), ("server", memory[1], grown[1])] {
        let growth = after.saturating_sub(before) as f64 / 1024.0;
        report.value_with_bar(
            "teardown",
            &format!("the {what} has grown by"),
            growth,
            "MiB",
            Bar::AtMost(GROWTH_BAR_MIB),
        );
    }
    server.stop()
}

/// What there is once nothing changes any more: the last environments are gone and the pool is full.
fn at_rest(server: &Server) -> Result<Leftovers> {
    let mut last = server.family()?.leftovers()?;
    let mut since = Instant::now();
    stop::until("the end of all environments", SETTLE_TIME, || {
        stop::pause(Duration::from_millis(100))?;
        let now = server.family()?.leftovers()?;
        if now != last {
            (last, since) = (now, Instant::now());
        }
        Ok(since.elapsed() >= REST)
    })?;
    Ok(last)
}

/// Calls the function that ends its environment so many times, and says how many ended, and how many a second.
fn end_environments(server: &Server, request: &Bytes, count: usize) -> Result<(usize, f64)> {
    let (mut left, end) = (count, Instant::now() + TIME);
    let run = Crowd::open(server.address, CONNECTIONS)?.run(|_| {
        left = left.checked_sub(1)?;
        (Instant::now() < end).then(|| request.clone())
    })?;
    let ended = run.samples.iter().filter(|sample| !sample.is_good).count();
    let first = run.first_bad.as_ref().context("no environment ended")?;
    ensure!(
        ended == run.samples.len() && first.is_function_error,
        "{ended} of {} calls ended their environment; the first said {} {}",
        run.samples.len(),
        first.status,
        String::from_utf8_lossy(&first.body)
    );
    Ok((ended, run.rate()))
}
