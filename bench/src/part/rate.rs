//! First Invokes of different functions, one after the other on several connections, without a pause: what the machine
//! sustains, the end of old environments included as soon as its memory is given out.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{ABSENT, names};
use crate::Bench;
use crate::crowd::{Crowd, Run};
use crate::function::{Api, Spec, invocation, invocations};
use crate::language::Language;
use crate::report::{Bar, Report};
use crate::stats::Summary;
use crate::stop;

/// Calls that wait at once.
const CONNECTIONS: usize = 8;
const MEMORY_MB: u32 = 128;
/// Whatever has not been called by then is left out.
const TIME: Duration = Duration::from_secs(25);
/// What a server does after its start is over by then.
const REST: Duration = Duration::from_secs(1);
/// Calls of one WebAssembly function, each of which is an instance.
const INSTANCES_TIME: Duration = Duration::from_secs(3);
const INSTANCES_CONNECTIONS: usize = 64;
const INSTANCES_BAR: f64 = 20_000.0;

/// How many functions, and how many a second there have to be.
const fn wanted(language: Language) -> (usize, Option<f64>) {
    match language {
        Language::Python => (1500, Some(250.0)),
        Language::Node => (80, Some(15.0)),
        Language::Java => (60, None),
        Language::Provided => (1000, None),
        Language::Wasm => (2000, None),
    }
}

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    for language in Language::ALL {
        if bench.languages.of(language).is_none() {
            report.absent("rate", language.name(), ABSENT);
        } else if let Err(error) = one(bench, report, language) {
            report.failed("rate", language.name(), &error);
        }
    }
    Ok(())
}

fn one(bench: &Bench, report: &mut Report, language: Language) -> Result<()> {
    let (count, bar) = wanted(language);
    let server = bench.program.start(&[])?;
    let mut api = Api::open(server.address)?;
    let names = names(&format!("rate-{}", language.name()), bench.samples(count).max(20));
    api.deploy_many(&bench.languages, |_| language, MEMORY_MB, &names)?;
    api.until_all_ready(&names)?;
    stop::pause(REST)?;
    let mut requests = invocations(server.address, &names)?;
    let end = Instant::now() + TIME;
    let run = Crowd::open(server.address, CONNECTIONS)?
        .run(|_| requests.pop_front().filter(|_| Instant::now() < end))?
        .all_good("first calls")?;
    let title = format!("{}: first Invokes, {CONNECTIONS} at once", language.name());
    report.times("rate", &title, Summary::of(&run.times()).context("no call was made")?);
    let title = format!("{}: cold starts a second, sustained", language.name());
    match bar {
        Some(bar) => report.value_with_bar("rate", &title, sustained(&run)?, "/s", Bar::AtLeast(bar)),
        None => report.value("rate", &title, sustained(&run)?, "/s"),
    }
    if language == Language::Wasm {
        instances(bench, report, &mut api)?;
    }
    server.stop()
}

/// The rate after the first third, which pools have served.
fn sustained(run: &Run) -> Result<f64> {
    let skipped = run.samples.len() / 3;
    let (first, last) = (run.samples.get(skipped), run.samples.last());
    let (first, last) = first.zip(last).context("no call was made")?;
    let time = last.ended.saturating_sub(first.ended);
    ensure!(!time.is_zero(), "too few calls were made");
    Ok((run.samples.len() - skipped - 1) as f64 / time.as_secs_f64())
}

fn instances(bench: &Bench, report: &mut Report, api: &mut Api) -> Result<()> {
    let spec = Spec {
        name: "instances",
        language: Language::Wasm,
        memory_mb: MEMORY_MB,
    };
    api.deploy(&bench.languages, &spec)?;
    let request = invocation(api.address, spec.name)?;
    let mut crowd = Crowd::open(api.address, INSTANCES_CONNECTIONS)?;
    crowd
        .hammer(std::slice::from_ref(&request), Duration::from_millis(300))?
        .all_good("instances")?;
    let run = crowd
        .hammer(&[request], bench.time(INSTANCES_TIME))?
        .all_good("instances")?;
    let title = format!("wasm: instances a second, by signed Invokes on {INSTANCES_CONNECTIONS} connections");
    report.value_with_bar("rate", &title, run.rate(), "/s", Bar::AtLeast(INSTANCES_BAR));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crowd::Sample;

    #[test]
    fn the_rate_is_that_of_the_last_two_thirds() {
        // Ten at once from the pool, then one every 10 ms.
        let at = |index: u64| Duration::from_millis(if index < 10 { 1 } else { 10 * (index - 9) });
        let samples = (0..30).map(|index| Sample {
            connection: 0,
            ended: at(index),
            took: Duration::ZERO,
            is_good: true,
        });
        let mut run = Run {
            samples: samples.collect(),
            took: at(29),
            own_cpu: Duration::ZERO,
            first_bad: None,
        };
        assert!((sustained(&run).unwrap() - 100.0).abs() < 1e-6);
        run.samples.clear();
        assert!(sustained(&run).is_err());
    }
}
