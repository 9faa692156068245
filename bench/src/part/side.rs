//! One of several that take turns under the same load generator, which has the same cores.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::connection::Bytes;
use crate::crowd::Crowd;
use crate::report::{Grid, Report, show, show_us};
use crate::stats::{Summary, median};

pub(crate) const CONNECTIONS: usize = 64;
/// What a grid of sides shows of each.
pub(super) const COLUMNS: [&str; 4] = ["a second", "p50", "p99", "load generator's CPU a call"];

/// One side's turns.
pub(super) struct Side {
    crowd: Crowd,
    requests: Vec<Bytes>,
    /// The status that every answer has to have.
    status: Option<u16>,
    rates: Vec<f64>,
    times: Vec<Duration>,
    own_us: Vec<f64>,
}

impl Side {
    /// One whose calls have to succeed.
    pub(super) fn new(address: SocketAddr, request: Bytes) -> Result<Self> {
        Ok(Self {
            crowd: Crowd::open(address, CONNECTIONS)?,
            requests: vec![request],
            status: None,
            rates: Vec::new(),
            times: Vec::new(),
            own_us: Vec::new(),
        })
    }

    /// The same, where every call has to be answered with this status.
    pub(super) fn answered(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Calls that are not counted.
    pub(super) fn warm_up(&mut self, time: Duration) -> Result<()> {
        let run = self.crowd.hammer(&self.requests, time)?;
        match self.status {
            None => run.all_good("warming up")?,
            Some(status) => run.all_are(status)?,
        };
        Ok(())
    }

    pub(super) fn turn(&mut self, time: Duration) -> Result<()> {
        let run = self.crowd.hammer(&self.requests, time)?;
        let run = match self.status {
            None => run.all_good("a turn")?,
            Some(status) => run.all_are(status)?,
        };
        self.rates.push(run.rate());
        self.own_us
            .push(run.own_cpu.as_secs_f64() * 1e6 / run.samples.len() as f64);
        self.times.extend(run.times());
        Ok(())
    }

    /// What each turn reached of the other's turn beside it.
    pub(super) fn against<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = f64> + 'a {
        self.rates.iter().zip(&other.rates).map(|(own, other)| own / other)
    }

    pub(super) fn times(&self) -> Result<Summary> {
        Summary::of(&self.times).context("no call was made")
    }

    /// Tells the medians of its turns.
    pub(super) fn report(mut self, part: &str, report: &mut Report, grid: &mut Grid, what: &str) -> Result<()> {
        let times = self.times()?;
        let rate = median(&mut self.rates).context("no turn was made")?;
        let own = median(&mut self.own_us).context("no turn was made")?;
        report.detail_times(part, &format!("{what}, latency"), times);
        report.detail(part, &format!("{what} a second"), rate, "/s");
        report.detail(part, &format!("{what}: CPU of the load generator a call"), own, "µs");
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
