//! Six different functions started cold at once, beside each of them started cold alone.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::future::try_join_all;

use super::Fresh;
use crate::Bench;
use crate::connection::Connection;
use crate::function::{self, Spec};
use crate::language::Language;
use crate::report::{Report, cores};
use crate::stats::micros;

/// Functions that start at once.
const FUNCTIONS: usize = 6;
/// How far above the slowest alone, were the cores shared without loss.
const FACTOR: f64 = 1.5;
const MEMORY_MB: u32 = 512;
/// Bursts; the median of their ratios is held against the bar.
const ROUNDS: usize = 5;

pub(crate) async fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let fresh = Fresh::start(bench).await?;
    let mut connection = Connection::open(fresh.server.address).await?;
    let mut rounds = Vec::new();
    // The first round fills the caches of files and is not counted.
    for round in 0..=bench.samples(ROUNDS) {
        let measured = one_round(bench, &fresh, &mut connection, round).await?;
        if round > 0 {
            rounds.push(measured);
        }
    }
    let ratio = |round: &(Duration, Duration)| round.1.as_secs_f64() / round.0.as_secs_f64();
    rounds.sort_by(|one, other| ratio(one).total_cmp(&ratio(other)));
    let median = rounds.get(rounds.len() / 2).context("no burst was made")?;
    let cores = u32::try_from(cores()?)?;
    let fair = (FUNCTIONS as f64 / f64::from(cores)).max(1.0);
    report.value("burst", "the slowest alone", micros(median.0) / 1000.0, "ms");
    report.value(
        "burst",
        "six different functions at once",
        micros(median.1) / 1000.0,
        "ms",
    );
    let title = format!("at once / (slowest alone × {FUNCTIONS}/{cores})");
    report.value_with_bar("burst", &title, ratio(median) / fair, "×", FACTOR);
    fresh.stop().await
}

/// The time of the slowest alone, and the time until all six that were called at once have answered.
async fn one_round(
    bench: &Bench,
    fresh: &Fresh,
    connection: &mut Connection,
    round: usize,
) -> Result<(Duration, Duration)> {
    let mut slowest = Duration::ZERO;
    for number in 0..FUNCTIONS {
        let name = deploy(bench, connection, &format!("alone-{round}-{number}"), number).await?;
        slowest = slowest.max(function::invoke(connection, &name).await?);
        function::delete(connection, &name).await?;
    }
    let (mut names, mut connections) = (Vec::new(), Vec::new());
    for number in 0..FUNCTIONS {
        names.push(deploy(bench, connection, &format!("burst-{round}-{number}"), number).await?);
        connections.push(Connection::open(fresh.server.address).await?);
    }
    let start = Instant::now();
    let calls = names.iter().zip(&mut connections);
    try_join_all(calls.map(|(name, connection)| function::invoke(connection, name))).await?;
    let together = start.elapsed();
    for name in &names {
        function::delete(connection, name).await?;
    }
    Ok((slowest, together))
}

async fn deploy(bench: &Bench, connection: &mut Connection, name: &str, number: usize) -> Result<String> {
    let spec = Spec {
        name,
        language: Language::ALL[number % 2],
        memory_mb: MEMORY_MB,
    };
    function::deploy(connection, &bench.interpreters, &spec).await?;
    Ok(name.to_owned())
}
