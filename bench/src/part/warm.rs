//! What the platform adds to a warm call: a signed Invoke of an empty handler on one connection, beside what no platform
//! can do without: a bare HTTP server, and the same interpreter at the other end of a socket.
//!
//! All take turns, each on a connection of its own, and are held against each other turn by turn: where the scheduler
//! puts the two ends of a connection counts for more than the code between them (see [`crate::placement`]). So all are
//! measured once more where they cannot choose. The request is signed before the clock runs: that is the client's work.

use std::time::Duration;

use anyhow::{Context, Result};
use http::Method;

use super::ABSENT;
use crate::Bench;
use crate::bare::front::Front;
use crate::bare::guest::Guest;
use crate::bare::runtime::Runtime;
use crate::connection::{Bytes, Connection, unsigned};
use crate::function::{ANSWER, Api, EVENT, Spec, invocation};
use crate::language::Language;
use crate::placement::{Placement, Processors};
use crate::report::{Bar, Grid, Report, show_us};
use crate::server::Server;
use crate::stats::{Summary, median, micros};

/// What an Invoke may take at the median, of what its peers take together.
const FACTOR: f64 = 1.35;
/// What it may take at the 99th percentile, of its median.
const TAIL_FACTOR: f64 = 3.0;
/// Calls before anything is counted: just-in-time compilers take some thousand.
const WARM_UP: usize = 4000;
/// Calls of one turn before those that are counted, and those.
const BEGIN: usize = 20;
const TURN: usize = 200;
/// Turns where the scheduler chooses, and where it does not.
const TURNS: usize = 40;
const TURNS_HELD: usize = 12;
/// A whole CPU, which a bare interpreter has too.
const MEMORY_MB: u32 = 1769;

/// The placements, as figures are named after them.
const WHERE: [(Placement, &str); 3] = [
    (Placement::Free, ""),
    (Placement::Together, ", all on one processor"),
    (Placement::Apart, ", client on another processor"),
];

/// Something to be called.
trait Contender {
    /// Begins a turn: on a new connection where there is one.
    fn begin(&mut self) -> Result<()> {
        Ok(())
    }
    fn call(&mut self) -> Result<Duration>;
    /// All processes that take part, but this one.
    fn processes(&self) -> Result<Vec<i32>>;
}

impl Contender for Guest {
    fn call(&mut self) -> Result<Duration> {
        Self::call(self, EVENT)
    }

    fn processes(&self) -> Result<Vec<i32>> {
        Ok(vec![self.pid()])
    }
}

impl Contender for Runtime {
    fn call(&mut self) -> Result<Duration> {
        Self::call(self, EVENT)
    }

    fn processes(&self) -> Result<Vec<i32>> {
        Ok(vec![self.pid()])
    }
}

/// A server of HTTP.
struct OverHttp<P> {
    connection: Connection,
    request: Bytes,
    processes: P,
}

impl<P: Fn() -> Result<Vec<i32>>> Contender for OverHttp<P> {
    fn begin(&mut self) -> Result<()> {
        self.connection = Connection::open(self.connection.address())?;
        Ok(())
    }

    fn call(&mut self) -> Result<Duration> {
        self.connection.expect(&self.request, ANSWER)
    }

    fn processes(&self) -> Result<Vec<i32>> {
        (self.processes)()
    }
}

/// One of those that take turns, with its times so far.
struct Side<'a> {
    name: &'static str,
    contender: Box<dyn Contender + 'a>,
    /// By placement.
    times: [Times; 3],
}

#[derive(Default)]
struct Times {
    all: Vec<Duration>,
    /// The median of each turn, in microseconds.
    medians: Vec<f64>,
}

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let server = bench.program.start(&[])?;
    let mut api = Api::open(server.address)?;
    let columns = [
        "p50",
        "p99",
        "p50 on one processor",
        "p50 with the client on another one",
    ];
    let mut grid = Grid::new("warm", &columns);
    for language in Language::ALL {
        if bench.languages.of(language).is_none() {
            report.absent("warm", language.name(), ABSENT);
            continue;
        }
        if let Err(error) = one(bench, report, &mut grid, &server, &mut api, language) {
            report.failed("warm", language.name(), &error);
        }
    }
    report.grid(grid);
    server.stop()
}

fn one(
    bench: &Bench,
    report: &mut Report,
    grid: &mut Grid,
    server: &Server,
    api: &mut Api,
    language: Language,
) -> Result<()> {
    let name = format!("warm-{}-{MEMORY_MB}", language.name());
    let spec = Spec {
        name: &name,
        language,
        memory_mb: MEMORY_MB,
    };
    api.deploy(&bench.languages, &spec)?;
    let hello = Front::hello()?;
    let mut sides = vec![side(
        "signed Invoke",
        OverHttp {
            connection: Connection::open(api.address)?,
            request: invocation(api.address, &name)?,
            processes: || Ok(server.family()?.members().to_vec()),
        },
    )];
    let path = "/2015-03-31/functions/warm/invocations";
    sides.push(side(
        "bare hyper",
        OverHttp {
            connection: Connection::open(hello.address)?,
            request: unsigned(hello.address, &Method::POST, path, EVENT),
            processes: || Ok(vec![hello.pid()]),
        },
    ));
    if Language::INTERPRETED.contains(&language) {
        let guest = Guest::start(language, &bench.languages.need(language)?.executable)?;
        sides.push(side("frames, bare loop", guest));
        match Runtime::start(&bench.languages, language) {
            Ok(runtime) => sides.push(side("frames, its own runtime", runtime)),
            Err(error) => report.failed("warm", &format!("{}: its own runtime", language.name()), &error),
        }
    }
    for side in &mut sides {
        (0..bench.samples(WARM_UP)).try_for_each(|_| side.call().map(drop))?;
    }
    let processors = Processors::find()?;
    for (placement, _) in WHERE {
        if placement == Placement::Free || processors.are_several() {
            take_turns(bench, &mut sides, &processors, placement)?;
        }
    }
    drop(processors);
    tell(report, grid, language, &sides)?;
    drop(sides);
    api.delete(&name)
}

fn side<'a>(name: &'static str, contender: impl Contender + 'a) -> Side<'a> {
    Side {
        name,
        contender: Box::new(contender),
        times: Default::default(),
    }
}

impl Side<'_> {
    fn call(&mut self) -> Result<Duration> {
        self.contender.call().context(self.name)
    }

    fn at(&self, placement: Placement) -> &Times {
        &self.times[placement as usize]
    }

    fn turn(&mut self, placement: Placement) -> Result<()> {
        self.contender.begin()?;
        for _ in 0..BEGIN {
            self.call()?;
        }
        let turn = (0..TURN).map(|_| self.call()).collect::<Result<Vec<_>>>()?;
        let mut of_turn: Vec<_> = turn.iter().copied().map(micros).collect();
        let times = &mut self.times[placement as usize];
        times.medians.extend(median(&mut of_turn));
        times.all.extend(turn);
        Ok(())
    }
}

fn take_turns(bench: &Bench, sides: &mut [Side<'_>], processors: &Processors, placement: Placement) -> Result<()> {
    let mut held = Vec::new();
    for side in &*sides {
        held.push(processors.hold_servers(placement, &side.contender.processes()?)?);
    }
    let turns = bench.samples(if placement == Placement::Free {
        TURNS
    } else {
        TURNS_HELD
    });
    for turn in 0..turns {
        // Nobody always follows the same one.
        let count = sides.len();
        for number in 0..count {
            processors.place_client(placement, turn)?;
            sides[(number + turn) % count].turn(placement)?;
        }
    }
    drop(held);
    Ok(())
}

/// The median over the turns of what an Invoke takes, in parts of what its two peers take in the same turn.
fn ratio(invoke: &Times, hyper: &Times, frames: &Times) -> Option<f64> {
    let peers = hyper.medians.iter().zip(&frames.medians);
    let mut ratios: Vec<_> = invoke
        .medians
        .iter()
        .zip(peers)
        .map(|(invoke, (hyper, frames))| invoke / (hyper + frames))
        .collect();
    median(&mut ratios)
}

fn tell(report: &mut Report, grid: &mut Grid, language: Language, sides: &[Side<'_>]) -> Result<()> {
    let language = language.name();
    for side in sides {
        let mut cells = Vec::new();
        for (placement, where_) in WHERE {
            let Some(times) = Summary::of(&side.at(placement).all) else {
                continue;
            };
            report.detail_times("warm", &format!("{language}: {}{where_}", side.name), times);
            cells.push(show_us(times.p50_us));
            if placement == Placement::Free {
                cells.push(show_us(times.p99_us));
            }
        }
        grid.row(&format!("{language}: {}", side.name), cells);
    }
    let [invoke, hyper, rest @ ..] = sides else {
        return Ok(());
    };
    let of = |side: &Side<'_>| Summary::of(&side.at(Placement::Free).all).context("no call was made");
    let (invoke_free, hyper_free) = (of(invoke)?, of(hyper)?);
    if let Some(frames) = rest.first() {
        for (placement, where_) in WHERE {
            if let Some(ratio) = ratio(invoke.at(placement), hyper.at(placement), frames.at(placement)) {
                let title = format!("{language}: Invoke / (hyper + frames){where_}");
                report.value_with_bar("warm", &title, ratio, "×", Bar::AtMost(FACTOR));
            }
        }
        let title = format!("{language}: Invoke, p99 / p50");
        report.value_with_bar(
            "warm",
            &title,
            invoke_free.p99_us / invoke_free.p50_us,
            "×",
            Bar::AtMost(TAIL_FACTOR),
        );
        let title = format!("{language}: bare hyper, p99 / p50");
        report.value("warm", &title, hyper_free.p99_us / hyper_free.p50_us, "×");
    }
    Ok(())
}
