//! An empty function through its URL, beside the same handler in a bare server of its language.

use anyhow::{Context, Result};
use http::Method;

use super::{MEMORY_MB, PART, Side, take_turns};
use crate::Bench;
use crate::connection::to_host;
use crate::function::{Api, EVENT, Spec};
use crate::language::Language;
use crate::part::ABSENT;
use crate::peer;
use crate::report::{Bar, Grid, Report};
use crate::stats::median;

/// What has to be reached of the bare server, and how much slower its slowest calls may be.
const FACTOR: f64 = 0.55;
const TAIL: f64 = 2.0;
/// What stands in the same table without a bar.
const OTHERS: [&str; 3] = ["workerd", "functions-framework, Node", "functions-framework, Python"];

pub(super) fn measure(bench: &Bench, report: &mut Report, grid: &mut Grid) -> Result<()> {
    for (language, bare) in [(Language::Node, "node:http"), (Language::Python, "uvicorn")] {
        if bench.languages.of(language).is_none() {
            report.absent(PART, language.name(), ABSENT);
        } else {
            beside(bench, report, grid, language, bare)?;
        }
    }
    for name in OTHERS {
        let Some(running) = peer::start(bench, name)? else {
            report.absent(PART, name, "not installed");
            continue;
        };
        let mut side = Side::new(running.address, running.request.clone())?;
        take_turns(bench, &mut [&mut side])?;
        side.report(PART, report, grid, name)?;
    }
    Ok(())
}

fn beside(bench: &Bench, report: &mut Report, grid: &mut Grid, language: Language, bare: &str) -> Result<()> {
    let server = bench.program.start(&[])?;
    let mut api = Api::open(server.address)?;
    let spec = Spec {
        name: "door",
        language,
        memory_mb: MEMORY_MB,
    };
    api.deploy(&bench.languages, &spec)?;
    let host = api.open_url("door", "BUFFERED")?;
    let mut own = Side::new(server.address, to_host(&host, &Method::POST, "/", "", EVENT))?;
    let what = format!("{}: function URL", language.name());
    let Some(running) = peer::start(bench, bare)? else {
        report.absent(PART, bare, "not installed");
        take_turns(bench, &mut [&mut own])?;
        own.report(PART, report, grid, &what)?;
        return server.stop();
    };
    let mut other = Side::new(running.address, running.request.clone())?;
    take_turns(bench, &mut [&mut other, &mut own])?;
    let mut ratios: Vec<f64> = own.against(&other).collect();
    let ratio = median(&mut ratios).context("no turn was made")?;
    let tail = own.times()?.p99_us / other.times()?.p99_us;
    other.report(PART, report, grid, &format!("{bare}, always on"))?;
    own.report(PART, report, grid, &what)?;
    report.value_with_bar(PART, &format!("{what}: of {bare}"), ratio, "×", Bar::AtLeast(FACTOR));
    let title = format!("{what}: p99 over that of {bare}");
    report.value_with_bar(PART, &title, tail, "×", Bar::AtMost(TAIL));
    server.stop()
}
