//! What the platform adds to a warm call: a signed Invoke of an empty handler on one connection, beside what no platform
//! can do without: a bare HTTP server, and the same interpreter at the other end of a socket.
//!
//! All take turns, so that whatever else the machine does meets all. The request is signed before the clock runs: that
//! is the client's work.

use std::time::Duration;

use anyhow::{Context, Result};
use http::Method;

use super::ABSENT;
use crate::Bench;
use crate::bare::front::Front;
use crate::bare::guest::Guest;
use crate::bare::runtime::Runtime;
use crate::connection::{Connection, unsigned};
use crate::function::{ANSWER, Api, EVENT, Spec, invocation};
use crate::language::Language;
use crate::report::{Bar, Report};
use crate::stats::Summary;

/// What an Invoke may take at the median, of what its peers take together.
const FACTOR: f64 = 1.35;
/// What it may take at the 99th percentile, of its median.
const TAIL_FACTOR: f64 = 3.0;
/// Calls of one turn, and turns.
const TURN: usize = 150;
const TURNS: usize = 30;
/// A whole CPU, which a bare interpreter has too.
const MEMORY_MB: u32 = 1769;

/// Something to be called, and its times so far.
struct Contender<'a> {
    name: &'static str,
    call: Box<dyn FnMut() -> Result<Duration> + 'a>,
    times: Vec<Duration>,
}

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let server = bench.program.start(&[])?;
    let mut api = Api::open(server.address)?;
    for language in Language::ALL {
        if bench.languages.of(language).is_none() {
            report.absent("warm", language.name(), ABSENT);
            continue;
        }
        if let Err(error) = one(bench, report, &mut api, language) {
            report.failed("warm", language.name(), &error);
        }
    }
    server.stop()
}

fn one(bench: &Bench, report: &mut Report, api: &mut Api, language: Language) -> Result<()> {
    let name = format!("warm-{}-{MEMORY_MB}", language.name());
    let spec = Spec {
        name: &name,
        language,
        memory_mb: MEMORY_MB,
    };
    api.deploy(&bench.languages, &spec)?;
    let mut connection = Connection::open(api.address)?;
    let request = invocation(api.address, &name)?;
    let mut contenders = vec![contender("signed Invoke", move || connection.expect(&request, ANSWER))];

    let hello = Front::hello()?;
    let mut connection = Connection::open(hello.address)?;
    let request = unsigned(
        hello.address,
        &Method::POST,
        "/2015-03-31/functions/warm/invocations",
        EVENT,
    );
    contenders.push(contender("bare hyper", move || connection.expect(&request, ANSWER)));

    if Language::INTERPRETED.contains(&language) {
        let mut guest = Guest::start(language, &bench.languages.need(language)?.executable)?;
        contenders.push(contender("frames, bare loop", move || guest.call(EVENT)));
        match Runtime::start(&bench.languages, language) {
            Ok(mut runtime) => contenders.push(contender("frames, its own runtime", move || runtime.call(EVENT))),
            Err(error) => report.failed("warm", &format!("{}: its own runtime", language.name()), &error),
        }
    }
    take_turns(&mut contenders, bench.samples(TURNS))?;
    let mut medians = Vec::new();
    for contender in &contenders {
        let times = Summary::of(&contender.times).context("no call was made")?;
        report.times("warm", &format!("{}: {}", language.name(), contender.name), times);
        medians.push((times.p50_us, times.p99_us));
    }
    let [invoke, hyper, rest @ ..] = medians.as_slice() else {
        return Ok(());
    };
    if let Some(frames) = rest.first() {
        let title = format!("{}: Invoke / (hyper + frames)", language.name());
        let ratio = invoke.0 / (hyper.0 + frames.0);
        report.value_with_bar("warm", &title, ratio, "×", Bar::AtMost(FACTOR));
        let title = format!("{}: p99 / p50", language.name());
        report.value_with_bar("warm", &title, invoke.1 / invoke.0, "×", Bar::AtMost(TAIL_FACTOR));
    }
    drop(contenders);
    api.delete(&name)
}

fn contender<'a>(name: &'static str, call: impl FnMut() -> Result<Duration> + 'a) -> Contender<'a> {
    Contender {
        name,
        call: Box::new(call),
        times: Vec::new(),
    }
}

/// The first turn warms all up and is not counted.
fn take_turns(contenders: &mut [Contender<'_>], turns: usize) -> Result<()> {
    for turn in 0..=turns {
        for contender in &mut *contenders {
            for _ in 0..TURN {
                let took = (contender.call)().context(contender.name)?;
                if turn > 0 {
                    contender.times.push(took);
                }
            }
        }
    }
    Ok(())
}
