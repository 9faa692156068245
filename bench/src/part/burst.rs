//! Many first calls at once: a hundred of one function, and six different functions beside each of them alone.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::Bench;
use crate::crowd::Crowd;
use crate::function::{Api, Spec, invocation};
use crate::language::Language;
use crate::report::{Bar, Report, cores};
use crate::stats::Summary;
use crate::stop;

const MEMORY_MB: u32 = 128;
/// Calls of one function at once, what each may take of a core, and what may be added to all of it.
const CALLS: usize = 100;
const EACH_MS: f64 = 4.0;
const ADDED_MS: f64 = 100.0;
/// Functions at once, and how much slower than alone none may be.
const FUNCTIONS: usize = 6;
const FACTOR: f64 = 2.0;
const ROUNDS: usize = 9;
/// Until what the last round has started is gone and pools are filled again.
const REST: Duration = Duration::from_millis(800);

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    if let Err(error) = hundred(bench, report) {
        report.failed("burst", "a hundred calls at once", &error);
    }
    if let Err(error) = six(bench, report) {
        report.failed("burst", "six functions at once", &error);
    }
    Ok(())
}

fn hundred(bench: &Bench, report: &mut Report) -> Result<()> {
    let server = bench.program.start(&[])?;
    let mut api = Api::open(server.address)?;
    let spec = Spec {
        name: "hundred",
        language: Language::Python,
        memory_mb: MEMORY_MB,
    };
    api.deploy(&bench.languages, &spec)?;
    let mut lasts = Vec::new();
    // The first round fills the caches of files and is not counted.
    for round in 0..=bench.samples(ROUNDS) {
        api.renew(&bench.languages, spec.name, spec.language, &format!("round {round}"))?;
        stop::pause(REST)?;
        let request = invocation(server.address, spec.name)?;
        let mut crowd = Crowd::open(server.address, CALLS)?;
        let mut sent = 0;
        let run = crowd
            .run(|_| {
                sent += 1;
                (sent <= CALLS).then(|| request.clone())
            })?
            .all_good("a hundred at once")?;
        if round > 0 {
            lasts.push(run.took);
        }
    }
    let lasts = Summary::of(&lasts).context("no round was made")?;
    let bar = CALLS as f64 * EACH_MS / cores()? as f64 + ADDED_MS;
    let title = format!("{CALLS} first calls of one Python function at once: the last answer");
    report.times_with_bars("burst", &title, lasts, bar, None);
    server.stop()
}

fn six(bench: &Bench, report: &mut Report) -> Result<()> {
    let server = bench.program.start(&[])?;
    let mut api = Api::open(server.address)?;
    let there: Vec<_> = Language::ALL
        .into_iter()
        .filter(|language| bench.languages.of(*language).is_some())
        .collect();
    let kinds: Vec<_> = there.iter().copied().cycle().take(FUNCTIONS).collect();
    let names: Vec<_> = (0..FUNCTIONS).map(|number| format!("six-{number}")).collect();
    for (name, language) in names.iter().zip(&kinds) {
        let spec = Spec {
            name,
            language: *language,
            memory_mb: MEMORY_MB,
        };
        api.deploy(&bench.languages, &spec)?;
    }
    let mut alone: Vec<Vec<Duration>> = vec![Vec::new(); FUNCTIONS];
    let mut together = alone.clone();
    for round in 0..=bench.samples(ROUNDS) {
        renew_all(bench, &mut api, &names, &kinds, &format!("alone {round}"))?;
        for (name, times) in names.iter().zip(&mut alone) {
            let took = api.invoke(name)?;
            stop::pause(REST / 8)?;
            if round > 0 {
                times.push(took);
            }
        }
        renew_all(bench, &mut api, &names, &kinds, &format!("together {round}"))?;
        let took = at_once(server.address, &names)?;
        if round > 0 {
            together.iter_mut().zip(took).for_each(|(times, took)| times.push(took));
        }
    }
    let mut worst: f64 = 0.0;
    for ((language, alone), together) in kinds.iter().zip(&alone).zip(&together) {
        let median = |times: &[Duration]| Summary::of(times).context("no round was made");
        let (alone, together) = (median(alone)?, median(together)?);
        report.times("burst", &format!("{}: first call alone", language.name()), alone);
        report.times(
            "burst",
            &format!("{}: with five others at once", language.name()),
            together,
        );
        worst = worst.max(together.p50_us / alone.p50_us);
    }
    report.value_with_bar(
        "burst",
        "six functions at once: the worst against itself alone",
        worst,
        "×",
        Bar::AtMost(FACTOR),
    );
    server.stop()
}

/// Makes all functions as new, and waits until their old environments are gone.
fn renew_all(bench: &Bench, api: &mut Api, names: &[String], kinds: &[Language], note: &str) -> Result<()> {
    for (name, language) in names.iter().zip(kinds) {
        api.renew(&bench.languages, name, *language, &format!("{name} {note}"))?;
    }
    stop::pause(REST)
}

/// Calls each function on a connection of its own, and says how long each took.
fn at_once(address: std::net::SocketAddr, names: &[String]) -> Result<Vec<Duration>> {
    let requests: Vec<_> = names
        .iter()
        .map(|name| invocation(address, name))
        .collect::<Result<_>>()?;
    let mut crowd = Crowd::open(address, names.len())?;
    let mut is_sent = vec![false; names.len()];
    let run = crowd
        .run(|number| (!std::mem::replace(&mut is_sent[number], true)).then(|| requests[number].clone()))?
        .all_good("six at once")?;
    let mut times = vec![Duration::ZERO; names.len()];
    for sample in &run.samples {
        times[sample.connection] = sample.took;
    }
    Ok(times)
}
