//! The platform under test, as a row among the others: its first answer is that of a function which has never run.

use anyhow::{Context, Result};

use super::{PAUSE, STARTS, Told, calls};
use crate::Bench;
use crate::function::{Api, Spec, invocation};
use crate::language::Language;
use crate::stats::Summary;
use crate::stop;

/// First calls that are not counted: they tell the pools that there is a demand.
const UNCOUNTED: usize = 4;

pub(super) fn measure(bench: &Bench, language: Language) -> Result<Told> {
    let server = bench.program.start(&[])?;
    let mut api = Api::open(server.address)?;
    let mut starts = Vec::new();
    let mut last = String::new();
    for number in 0..UNCOUNTED + bench.samples(STARTS) {
        last = format!("peer-{number}");
        let spec = Spec {
            name: &last,
            language,
            memory_mb: super::MEMORY_MB,
        };
        api.deploy(&bench.languages, &spec)?;
        stop::pause(PAUSE)?;
        starts.push(api.invoke(&last)?);
    }
    let told = Told {
        starts: Summary::of(&starts[UNCOUNTED..]).context("no function was called")?,
        calls: Some(calls(bench, server.address, &invocation(server.address, &last)?)?),
    };
    server.stop()?;
    Ok(told)
}
