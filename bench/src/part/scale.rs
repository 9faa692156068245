//! Memory and start of a server with many registered functions, and with none.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::names;
use crate::Bench;
use crate::function::Api;
use crate::language::Language;
use crate::report::{Bar, Report};
use crate::server::Server;
use crate::stats::Summary;
use crate::stop;

const FUNCTIONS: usize = 10_000;
const MEMORY_MB: u32 = 128;
/// The server's memory with none and with all functions, in MiB; and its start, in seconds.
const IDLE_BAR_MIB: f64 = 30.0;
const FULL_BAR_MIB: f64 = 60.0;
const START_BAR_S: f64 = 1.0;
/// What a server does after its start is over by then.
const REST: Duration = Duration::from_secs(1);

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let mut server = bench.program.start(&[])?;
    stop::pause(REST)?;
    memory(&server, report, "no functions", Some(IDLE_BAR_MIB))?;
    report.value("scale", "start, no functions", server.started_in.as_secs_f64(), "s");

    let count = bench.samples(FUNCTIONS);
    let names = names("scale", count);
    let language = |number: usize| Language::INTERPRETED[number % 2];
    let start = Instant::now();
    Api::open(server.address)?.deploy_many(&bench.languages, language, MEMORY_MB, &names)?;
    let title = format!("{count} functions made");
    report.value("scale", &title, start.elapsed().as_secs_f64(), "s");
    memory(&server, report, &format!("{count} functions, as they were made"), None)?;

    server = server.restart(&bench.program)?;
    let started_in = server.started_in.as_secs_f64();
    let title = format!("start, {count} functions");
    report.value_with_bar("scale", &title, started_in, "s", Bar::AtMost(START_BAR_S));
    let (listed, times) = Api::open(server.address)?.list()?;
    ensure!(
        listed == names,
        "{} of {count} functions are listed, or in another order",
        listed.len()
    );
    if let Some(times) = Summary::of(&times) {
        report.times("scale", &format!("a page of 50 among {count}, in order"), times);
    }
    stop::pause(REST)?;
    memory(
        &server,
        report,
        &format!("{count} functions, listed"),
        Some(FULL_BAR_MIB),
    )?;
    server.stop()
}

fn memory(server: &Server, report: &mut Report, when: &str, bar_mib: Option<f64>) -> Result<()> {
    let memory = server.family()?.memory()?;
    let mib = |kib: u64| kib as f64 / 1024.0;
    let title = format!("server memory, {when}");
    match bar_mib {
        Some(bar) => report.value_with_bar("scale", &title, mib(memory.server_kib), "MiB", Bar::AtMost(bar)),
        None => report.value("scale", &title, mib(memory.server_kib), "MiB"),
    }
    let title = format!("all {} processes, {when}", memory.processes);
    report.value("scale", &title, mib(memory.sum_kib), "MiB");
    Ok(())
}
