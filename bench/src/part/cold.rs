//! The first Invoke of functions that have never run, end to end, with their code on disk: one at a time, at a pace that
//! lets pools be filled again; and for Node without a pause, as it is beyond the pool.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{ABSENT, names};
use crate::Bench;
use crate::function::Api;
use crate::language::Language;
use crate::process::Process;
use crate::report::{Bar, Report};
use crate::stats::Summary;
use crate::stop;

const MEMORY_MB: u32 = 512;
/// First calls that are not counted: they fill caches of files, as any earlier function would have, and tell the pools
/// that there is a demand.
const UNCOUNTED: usize = 5;
/// First calls without a pause; the last half is counted.
const WITHOUT_PAUSE: usize = 40;
/// Of a bare `node` boot.
const NODE_FACTOR: f64 = 1.4;
/// What a server does after its start is over by then.
const REST: Duration = Duration::from_secs(1);

/// What is asked of one language.
struct Bars {
    functions: usize,
    pause: Duration,
    p50_ms: f64,
    p99_ms: Option<f64>,
}

const fn bars(language: Language) -> Bars {
    let (functions, pause, p50_ms, p99_ms) = match language {
        Language::Python => (200, 15, 6.0, Some(15.0)),
        Language::Node => (120, 120, 5.0, Some(15.0)),
        Language::Java => (100, 200, 20.0, Some(60.0)),
        Language::Provided => (100, 15, 5.0, None),
        Language::Wasm => (300, 2, 0.3, None),
    };
    Bars {
        functions,
        pause: Duration::from_millis(pause),
        p50_ms,
        p99_ms,
    }
}

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    for language in Language::ALL {
        if bench.languages.of(language).is_none() {
            report.absent("cold", language.name(), ABSENT);
            continue;
        }
        if let Err(error) = paced(bench, report, language) {
            report.failed("cold", language.name(), &error);
        }
    }
    if bench.languages.of(Language::Node).is_some()
        && let Err(error) = without_pause(bench, report)
    {
        report.failed("cold", "node beyond the pool", &error);
    }
    Ok(())
}

fn paced(bench: &Bench, report: &mut Report, language: Language) -> Result<()> {
    let bars = bars(language);
    let count = UNCOUNTED + bench.samples(bars.functions);
    let times = first_calls(bench, language, count, bars.pause)?;
    let times = Summary::of(&times[UNCOUNTED..]).context("no call was made")?;
    let name = format!("{}: first Invoke", language.name());
    report.times_with_bars("cold", &name, times, bars.p50_ms, bars.p99_ms);
    Ok(())
}

fn without_pause(bench: &Bench, report: &mut Report) -> Result<()> {
    let executable = &bench.languages.need(Language::Node)?.executable;
    let count = bench.samples(WITHOUT_PAUSE).max(10);
    // Both take turns in the large: bare boots before and after.
    let mut bare = bare_boots(executable, count / 2)?;
    let times = first_calls(bench, Language::Node, count, Duration::ZERO)?;
    bare.extend(bare_boots(executable, count / 2)?);
    let bare = Summary::of(&bare).context("node was not started")?;
    let times = Summary::of(&times[count / 2..]).context("no call was made")?;
    report.times("cold", "node: bare `node -e 0`", bare);
    report.times("cold", "node: first Invoke beyond the pool", times);
    let ratio = times.p50_us / bare.p50_us;
    report.value_with_bar(
        "cold",
        "node: beyond the pool / bare boot",
        ratio,
        "×",
        Bar::AtMost(NODE_FACTOR),
    );
    Ok(())
}

/// How long the first calls of so many functions take, one after the other.
fn first_calls(bench: &Bench, language: Language, count: usize, pause: Duration) -> Result<Vec<Duration>> {
    let server = bench.program.start(&[])?;
    let mut api = Api::open(server.address)?;
    let names = names(&format!("cold-{}", language.name()), count);
    api.deploy_many(&bench.languages, |_| language, MEMORY_MB, &names)?;
    api.until_all_ready(&names)?;
    stop::pause(REST)?;
    let mut times = Vec::new();
    for name in &names {
        times.push(api.invoke(name)?);
        stop::pause(pause)?;
    }
    server.stop()?;
    Ok(times)
}

fn bare_boots(executable: &str, count: usize) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..count {
        let mut command = Command::new(executable);
        command
            .args(["-e", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let start = Instant::now();
        let status = Process::start_as_is(command)?.child().wait()?;
        times.push(start.elapsed());
        ensure!(status.success(), "a bare node ended with {status}");
    }
    Ok(times)
}
