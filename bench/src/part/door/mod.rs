//! Functions behind HTTP: through their URLs and through an HTTP API, beside the same handlers in bare servers that are
//! always on; and the front door alone, beside bare hyper. Sides take turns under the same load generator, which has
//! the same cores.

mod api;
mod issuer;
mod stream;
mod url;

use std::time::Duration;

use anyhow::Result;

use crate::Bench;
use crate::report::{Grid, Report};

use super::side::{COLUMNS, Side};

const PART: &str = "door";
/// A whole CPU for each environment.
const MEMORY_MB: u32 = 1769;
/// Until all environments are there.
const WARM_UP: Duration = Duration::from_secs(3);
const TURN: Duration = Duration::from_millis(1200);
const TURNS: usize = 5;

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let mut grid = Grid::new(PART, &COLUMNS);
    let mut each = |name: &str, part: &dyn Fn(&Bench, &mut Report, &mut Grid) -> Result<()>| {
        if let Err(error) = part(bench, report, &mut grid) {
            report.failed(PART, name, &error);
        }
        crate::stop::check()
    };
    each("function URLs", &url::measure)?;
    each("HTTP APIs", &api::measure)?;
    report.grid(grid);
    if let Err(error) = stream::measure(bench, report) {
        report.failed(PART, "streams", &error);
    }
    Ok(())
}

/// Warms all sides up and lets them take turns.
fn take_turns(bench: &Bench, sides: &mut [&mut Side]) -> Result<()> {
    for side in &mut *sides {
        side.warm_up(bench.time(WARM_UP))?;
    }
    for _ in 0..bench.samples(TURNS) {
        for side in &mut *sides {
            side.turn(bench.time(TURN))?;
        }
    }
    Ok(())
}
