//! Memory and start of a server with many registered functions, and with none.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use tokio::time::sleep;

use super::Fresh;
use crate::Bench;
use crate::connection::Connection;
use crate::function::{self, Spec};
use crate::language::Language;
use crate::report::Report;
use crate::server::Server;
use crate::stats::Summary;

/// Connections on which functions are made.
const MAKERS: usize = 32;
/// The server's memory with none and with all functions, in MiB; and its start, in seconds.
const IDLE_BAR_MIB: f64 = 30.0;
const FULL_BAR_MIB: f64 = 60.0;
const START_BAR_S: f64 = 1.0;
/// What a server does after its start is over by then.
const REST: Duration = Duration::from_secs(1);

pub(crate) async fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let mut fresh = Fresh::start(bench).await?;
    sleep(REST).await;
    memory(&fresh.server, report, "no functions", Some(IDLE_BAR_MIB))?;
    report.value(
        "scale",
        "start, no functions",
        fresh.server.started_in.as_secs_f64(),
        "s",
    );

    let count = if bench.is_quick {
        bench.functions / 10
    } else {
        bench.functions
    };
    let start = Instant::now();
    make(bench, &fresh.server, count).await?;
    report.value(
        "scale",
        &format!("{count} functions made"),
        start.elapsed().as_secs_f64(),
        "s",
    );
    memory(
        &fresh.server,
        report,
        &format!("{count} functions, as they were made"),
        None,
    )?;

    fresh.server.stop().await?;
    fresh.server = bench.program.start(&fresh.folder.path().join("data")).await?;
    let started_in = fresh.server.started_in.as_secs_f64();
    report.value_with_bar(
        "scale",
        &format!("start, {count} functions"),
        started_in,
        "s",
        START_BAR_S,
    );
    let mut connection = Connection::open(fresh.server.address).await?;
    let (names, times) = function::list(&mut connection).await?;
    ensure!(names.len() == count, "{} of {count} functions are listed", names.len());
    ensure!(
        names.is_sorted_by(|one, other| one < other),
        "the pages are not in order"
    );
    if let Some(times) = Summary::of(&times) {
        report.times("scale", &format!("a page of 50 among {count}, in order"), times);
    }
    sleep(REST).await;
    memory(
        &fresh.server,
        report,
        &format!("{count} functions, listed"),
        Some(FULL_BAR_MIB),
    )?;
    fresh.stop().await
}

fn memory(server: &Server, report: &mut Report, when: &str, bar_mib: Option<f64>) -> Result<()> {
    let memory = server.memory()?;
    let mib = |kib: u64| kib as f64 / 1024.0;
    let title = format!("server memory, {when}");
    match bar_mib {
        Some(bar) => report.value_with_bar("scale", &title, mib(memory.server_kib), "MiB", bar),
        None => report.value("scale", &title, mib(memory.server_kib), "MiB"),
    }
    let title = format!("all {} processes, {when}", memory.processes);
    report.value("scale", &title, mib(memory.sum_kib), "MiB");
    Ok(())
}

/// Makes functions on many connections at once, half of them in each language.
async fn make(bench: &Bench, server: &Server, count: usize) -> Result<()> {
    let next = AtomicUsize::new(0);
    let makers = (0..MAKERS).map(|_| async {
        let mut connection = Connection::open(server.address).await?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return anyhow::Ok(());
            }
            let spec = Spec {
                name: &format!("scale-{number:06}"),
                language: Language::ALL[number % 2],
                memory_mb: 128,
            };
            function::create(&mut connection, &bench.interpreters, &spec).await?;
        }
    });
    try_join_all(makers).await?;
    Ok(())
}
