//! Warm Invokes of one function on 64 connections at once. The client takes one of the cores.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::future::try_join_all;

use super::Fresh;
use crate::Bench;
use crate::connection::Connection;
use crate::function::{self, Spec};
use crate::language::Language;
use crate::report::Report;
use crate::stats::Summary;

const CONNECTIONS: usize = 64;
/// Small, so that 64 environments fit; the CPU share of each is more than it can get.
const MEMORY_MB: u32 = 128;
/// Until all environments are there, then as long as is measured.
const WARM_UP: Duration = Duration::from_secs(6);
const TIME: Duration = Duration::from_secs(5);

pub(crate) async fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let fresh = Fresh::start(bench).await?;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Connection::open(fresh.server.address).await?);
    }
    for language in Language::ALL {
        let name = format!("throughput-{}", language.name());
        let spec = Spec {
            name: &name,
            language,
            memory_mb: MEMORY_MB,
        };
        let first = connections.first_mut().context("there are connections")?;
        function::deploy(first, &bench.interpreters, &spec).await?;
        crowd(&mut connections, &name, bench.time(WARM_UP)).await?;
        let start = Instant::now();
        let times = crowd(&mut connections, &name, bench.time(TIME)).await?;
        let took = start.elapsed();
        let summary = Summary::of(&times).context("no call was made")?;
        let what = format!("{}, {MEMORY_MB} MB, {CONNECTIONS} connections", language.name());
        report.times("throughput", &what, summary);
        report.value("throughput", &what, times.len() as f64 / took.as_secs_f64(), "calls/s");
        function::delete(connections.first_mut().context("there are connections")?, &name).await?;
    }
    fresh.stop().await
}

/// Calls on all connections, each as fast as it is answered.
async fn crowd(connections: &mut [Connection], name: &str, time: Duration) -> Result<Vec<Duration>> {
    let end = Instant::now() + time;
    let each = connections.iter_mut().map(|connection| async move {
        let mut times = Vec::new();
        while Instant::now() < end {
            times.push(function::invoke(connection, name).await?);
        }
        anyhow::Ok(times)
    });
    Ok(try_join_all(each).await?.concat())
}
