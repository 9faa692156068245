//! One file for each measurement.

mod burst;
mod cold;
mod density;
mod door;
mod rate;
mod scale;
mod side;
mod storm;
mod teardown;
mod throughput;
mod trace;
mod warm;

use anyhow::Result;

use crate::report::Report;
use crate::{Bench, Part, peer};

/// Takes the figures of one part.
pub(crate) fn measure(part: Part, bench: &Bench, report: &mut Report) -> Result<()> {
    match part {
        Part::Warm => warm::measure(bench, report),
        Part::Throughput => throughput::measure(bench, report),
        Part::Cold => cold::measure(bench, report),
        Part::Rate => rate::measure(bench, report),
        Part::Burst => burst::measure(bench, report),
        Part::Density => density::measure(bench, report),
        Part::Teardown => teardown::measure(bench, report),
        Part::Storm => storm::measure(bench, report),
        Part::Trace => trace::measure(bench, report),
        Part::Scale => scale::measure(bench, report),
        Part::Door => door::measure(bench, report),
        Part::Peers => peer::measure(bench, report),
    }
}

pub(crate) use self::side::CONNECTIONS;

/// Told of a language that is not there.
const ABSENT: &str = "not on this machine";

/// Names of functions: `what` and a number.
fn names(what: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{what}-{number:05}")).collect()
}
