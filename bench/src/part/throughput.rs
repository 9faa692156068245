//! Warm Invokes of one function on 64 connections, beside a bare skeleton under the same load generator, which has the
//! same cores. Both take turns.

use std::time::Duration;

use anyhow::Result;
use http::Method;

use super::ABSENT;
use super::side::{COLUMNS, Side};
use crate::Bench;
use crate::bare::front::Front;
use crate::connection::unsigned;
use crate::function::{Api, EVENT, Spec, invocation};
use crate::language::Language;
use crate::report::{Bar, Grid, Report};
use crate::stats::median;

/// A whole CPU each: what is measured is the way to them.
const MEMORY_MB: u32 = 1769;
/// What the platform has to reach of the skeleton.
const FACTOR: f64 = 0.8;
/// Until all environments are there.
const WARM_UP: Duration = Duration::from_secs(3);
const TURN: Duration = Duration::from_millis(1200);
const TURNS: usize = 5;

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let server = bench.program.start(&[])?;
    let mut api = Api::open(server.address)?;
    let mut grid = Grid::new("throughput", &COLUMNS);
    for language in Language::ALL {
        if bench.languages.of(language).is_none() {
            report.absent("throughput", language.name(), ABSENT);
            continue;
        }
        if let Err(error) = one(bench, report, &mut grid, &mut api, language) {
            report.failed("throughput", language.name(), &error);
        }
    }
    report.grid(grid);
    server.stop()
}

fn one(bench: &Bench, report: &mut Report, grid: &mut Grid, api: &mut Api, language: Language) -> Result<()> {
    let name = format!("throughput-{}", language.name());
    let spec = Spec {
        name: &name,
        language,
        memory_mb: MEMORY_MB,
    };
    api.deploy(&bench.languages, &spec)?;
    let mut platform = Side::new(api.address, invocation(api.address, &name)?)?;
    let (turns, turn) = (bench.samples(TURNS), bench.time(TURN));
    platform.warm_up(bench.time(WARM_UP))?;
    let mut ratios = Vec::new();
    if Language::INTERPRETED.contains(&language) {
        let front = Front::skeleton(language, &bench.languages.need(language)?.executable)?;
        let mut bare = Side::new(front.address, unsigned(front.address, &Method::POST, "/", EVENT))?;
        bare.warm_up(turn)?;
        for _ in 0..turns {
            bare.turn(turn)?;
            platform.turn(turn)?;
        }
        drop(front);
        ratios.extend(platform.against(&bare));
        bare.report(
            "throughput",
            report,
            grid,
            &format!("{}: bare skeleton", language.name()),
        )?;
    } else {
        for _ in 0..turns {
            platform.turn(turn)?;
        }
    }
    platform.report(
        "throughput",
        report,
        grid,
        &format!("{}: signed Invokes", language.name()),
    )?;
    if let Some(ratio) = median(&mut ratios) {
        let title = format!("{}: of the skeleton", language.name());
        report.value_with_bar("throughput", &title, ratio, "×", Bar::AtLeast(FACTOR));
    }
    api.delete(&name)
}
