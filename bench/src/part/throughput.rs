//! Warm Invokes of one function on 64 connections, beside a bare skeleton under the same load generator, which has the
//! same cores. Both take turns.

use std::time::Duration;

use anyhow::{Context, Result};
use http::Method;

use super::ABSENT;
use crate::Bench;
use crate::bare::front::Front;
use crate::connection::{Bytes, unsigned};
use crate::crowd::Crowd;
use crate::function::{Api, EVENT, Spec, invocation};
use crate::language::Language;
use crate::report::{Bar, Grid, Report, show, show_us};
use crate::stats::{Summary, median};

pub(crate) const CONNECTIONS: usize = 64;
/// A whole CPU each: what is measured is the way to them.
const MEMORY_MB: u32 = 256;
/// What the platform has to reach of the skeleton.
const FACTOR: f64 = 0.8;
/// Until all environments are there.
const WARM_UP: Duration = Duration::from_secs(3);
const TURN: Duration = Duration::from_millis(1200);
const TURNS: usize = 5;

/// One side's turns.
struct Side {
    crowd: Crowd,
    requests: Vec<Bytes>,
    rates: Vec<f64>,
    times: Vec<Duration>,
    own_us: Vec<f64>,
}

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let server = bench.program.start(&[])?;
    let mut api = Api::open(server.address)?;
    let mut grid = Grid::new("throughput", &["a second", "p50", "p99", "load generator's CPU a call"]);
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
    platform
        .crowd
        .hammer(&platform.requests, bench.time(WARM_UP))?
        .all_good(&name)?;
    let mut ratios = Vec::new();
    if Language::INTERPRETED.contains(&language) {
        let front = Front::skeleton(language, &bench.languages.need(language)?.executable)?;
        let mut bare = Side::new(front.address, unsigned(front.address, &Method::POST, "/", EVENT))?;
        bare.turn(turn)?;
        bare = bare.fresh();
        for _ in 0..turns {
            bare.turn(turn)?;
            platform.turn(turn)?;
        }
        drop(front);
        let rates = platform.rates.iter().zip(&bare.rates);
        ratios.extend(rates.map(|(platform, bare)| platform / bare));
        bare.report(report, grid, &format!("{}: bare skeleton", language.name()))?;
    } else {
        for _ in 0..turns {
            platform.turn(turn)?;
        }
    }
    platform.report(report, grid, &format!("{}: signed Invokes", language.name()))?;
    if let Some(ratio) = median(&mut ratios) {
        let title = format!("{}: of the skeleton", language.name());
        report.value_with_bar("throughput", &title, ratio, "×", Bar::AtLeast(FACTOR));
    }
    api.delete(&name)
}

impl Side {
    fn new(address: std::net::SocketAddr, request: Bytes) -> Result<Self> {
        Ok(Self {
            crowd: Crowd::open(address, CONNECTIONS)?,
            requests: vec![request],
            rates: Vec::new(),
            times: Vec::new(),
            own_us: Vec::new(),
        })
    }

    /// The same, without what was measured so far.
    fn fresh(self) -> Self {
        Self {
            rates: Vec::new(),
            times: Vec::new(),
            own_us: Vec::new(),
            ..self
        }
    }

    fn turn(&mut self, time: Duration) -> Result<()> {
        let run = self.crowd.hammer(&self.requests, time)?.all_good("a turn")?;
        self.rates.push(run.rate());
        self.own_us
            .push(run.own_cpu.as_secs_f64() * 1e6 / run.samples.len() as f64);
        self.times.extend(run.times());
        Ok(())
    }

    /// Tells the medians of its turns.
    fn report(mut self, report: &mut Report, grid: &mut Grid, what: &str) -> Result<()> {
        let times = Summary::of(&self.times).context("no call was made")?;
        let rate = median(&mut self.rates).context("no turn was made")?;
        let own = median(&mut self.own_us).context("no turn was made")?;
        report.detail_times("throughput", &format!("{what}, latency"), times);
        report.detail("throughput", &format!("{what} a second"), rate, "/s");
        report.detail(
            "throughput",
            &format!("{what}: CPU of the load generator a call"),
            own,
            "µs",
        );
        let cells = [
            show(rate, ""),
            show_us(times.p50_us),
            show_us(times.p99_us),
            show_us(own),
        ];
        grid.row(what, cells);
        Ok(())
    }
}
