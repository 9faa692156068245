//! The other platforms, as far as they are installed: each is started, measured and ended by this program.
//!
//! [`install`] puts them into a folder; [`list`] says how each is started and called. The platform under test is
//! measured in the same way ([`own`]): what is a process's start for the others is a function's first call for it.

pub(crate) mod install;
mod list;
mod own;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::Method;

use self::list::Peer;
use crate::Bench;
use crate::connection::{Bytes, Connection, unsigned};
use crate::crowd::Crowd;
use crate::function::EVENT;
use crate::language::Language;
use crate::part::CONNECTIONS;
use crate::placement::{Placement, Processors};
use crate::process::{self, Process};
use crate::report::{Grid, Report, show, show_us};
use crate::server::free_address;
use crate::stats::Summary;
use crate::stop;

/// How long one may take until it answers.
const START_TIME: Duration = Duration::from_secs(60);
/// Starts of each; slow ones are started less often.
const STARTS: usize = 12;
const STARTS_TIME: Duration = Duration::from_secs(6);
const FEWEST_STARTS: usize = 3;
/// Between first calls of the platform under test, so that its pools can be filled.
const PAUSE: Duration = Duration::from_millis(120);
/// Warm calls on one connection: each turn on another one, which begins on another processor.
const WARM_UP: Duration = Duration::from_secs(1);
const TURNS: usize = 12;
const TURN: usize = 200;
const TURNS_TIME: Duration = Duration::from_secs(4);
const THROUGHPUT_TIME: Duration = Duration::from_secs(2);
const CONTAINER_TIME: Duration = Duration::from_secs(20);
/// A whole CPU for each environment.
const MEMORY_MB: u32 = 1769;

/// What is told of each.
struct Told {
    starts: Summary,
    /// Not of what has a new process for each call.
    calls: Option<(Summary, f64)>,
}

/// Takes the figures of everything that is installed, and those of the platform under test in the same way.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let Some(folder) = &bench.peers else {
        report.absent("peers", "other platforms", "--peers does not say where they are");
        return Ok(());
    };
    let folder = folder
        .canonicalize()
        .with_context(|| format!("there is no {}; see `ephyra-bench peers --help`", folder.display()))?;
    list::put_files(&folder)?;
    let throughput = format!("{CONNECTIONS} connections");
    let mut grid = Grid::new("peers", &["first answer", "p99", "warm call", "p99", &throughput]);
    for language in Language::ALL {
        let name = format!("Ephyra: {}", language.name());
        if bench.languages.of(language).is_none() {
            report.absent("peers", &name, "not on this machine");
            continue;
        }
        add(report, &mut grid, &name, own::measure(bench, language));
    }
    for peer in list::ALL {
        stop::check()?;
        if peer.is_in(&folder) {
            add(report, &mut grid, peer.name, one(&folder, bench, &peer));
        } else {
            report.absent("peers", peer.name, "not installed");
        }
    }
    for (name, command) in list::CONTAINERS {
        stop::check()?;
        if list::find(name).is_none() || !folder.join("root/usr/bin/python3").exists() {
            report.absent("peers", name, "not installed");
            continue;
        }
        let name = format!("{name}: a container with python3 for each call");
        let starts = container(bench, |number| command(&folder, number));
        add(
            report,
            &mut grid,
            &name,
            starts.map(|starts| Told { starts, calls: None }),
        );
    }
    report.grid(grid);
    Ok(())
}

/// Starts one of the others by its name; None where it is not installed.
pub(crate) fn start(bench: &Bench, name: &str) -> Result<Option<Running>> {
    let Some(folder) = &bench.peers else { return Ok(None) };
    let folder = folder.canonicalize()?;
    list::put_files(&folder)?;
    let peer = list::ALL.iter().find(|peer| peer.name == name);
    let peer = peer.with_context(|| format!("there is no {name}"))?;
    if !peer.is_in(&folder) {
        return Ok(None);
    }
    Ok(Some(Running::start(&folder, peer)?.0))
}

fn add(report: &mut Report, grid: &mut Grid, name: &str, told: Result<Told>) {
    let told = match told {
        Ok(told) => told,
        Err(error) => return report.failed("peers", name, &error),
    };
    report.detail_times("peers", &format!("{name}: first answer"), told.starts);
    let mut cells = vec![show_us(told.starts.p50_us), show_us(told.starts.p99_us)];
    if let Some((times, rate)) = told.calls {
        report.detail_times("peers", &format!("{name}: warm call"), times);
        report.detail("peers", &format!("{name}: {CONNECTIONS} connections"), rate, "/s");
        cells.extend([show_us(times.p50_us), show_us(times.p99_us), show(rate, "/s")]);
    }
    grid.row(name, cells);
}

fn one(folder: &Path, bench: &Bench, peer: &Peer) -> Result<Told> {
    let mut starts = Vec::new();
    let begin = Instant::now();
    let mut running = None;
    while starts.len() < FEWEST_STARTS || (starts.len() < bench.samples(STARTS) && begin.elapsed() < STARTS_TIME) {
        drop(running.take());
        let (started, took) = Running::start(folder, peer)?;
        starts.push(took);
        running = Some(started);
    }
    let running = running.context("it was not started")?;
    Ok(Told {
        starts: Summary::of(&starts).context("it was not started")?,
        calls: Some(calls(bench, running.address, &running.request)?),
    })
}

/// Times of warm calls on one connection, and how many a second there are on several.
fn calls(bench: &Bench, address: SocketAddr, request: &Bytes) -> Result<(Summary, f64)> {
    let mut connection = Connection::open(address)?;
    let begin = Instant::now();
    while begin.elapsed() < bench.time(WARM_UP) {
        send(&mut connection, request)?;
    }
    let processors = Processors::find()?;
    let mut times = Vec::new();
    let begin = Instant::now();
    for turn in 0..bench.samples(TURNS) {
        processors.place_client(Placement::Free, turn)?;
        connection = Connection::open(address)?;
        for _ in 0..TURN {
            times.push(send(&mut connection, request)?);
        }
        if begin.elapsed() > TURNS_TIME {
            break;
        }
    }
    let times = Summary::of(&times).context("it was not called")?;
    let mut crowd = Crowd::open(address, CONNECTIONS)?;
    let requests = std::slice::from_ref(request);
    crowd.hammer(requests, bench.time(WARM_UP))?.all_good("warming up")?;
    let run = crowd.hammer(requests, bench.time(THROUGHPUT_TIME))?;
    Ok((times, run.all_good("many connections")?.rate()))
}

fn send(connection: &mut Connection, request: &[u8]) -> Result<Duration> {
    let (reply, took) = connection.send(request)?;
    reply.success("the call")?;
    Ok(took)
}

/// A started peer, and the call that it answers.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) request: Bytes,
    _process: Process,
}

impl Running {
    /// Starts it, and says how long it took until it had answered a call.
    fn start(folder: &Path, peer: &Peer) -> Result<(Self, Duration)> {
        let address = free_address()?;
        let request = unsigned(address, &Method::POST, peer.path, EVENT);
        let mut command = (peer.command)(folder, address)?;
        if command.get_current_dir().is_none() {
            command.current_dir(folder);
        }
        let log = folder.join(format!("{}.log", peer.name));
        let start = Instant::now();
        let mut process = Process::start(command, Some(&log))?;
        stop::until("its first answer", START_TIME, || {
            process.ensure_running()?;
            let answered = Connection::open(address).and_then(|mut connection| send(&mut connection, &request));
            Ok(answered.is_ok())
        })
        .with_context(|| process.last_words())?;
        let took = start.elapsed();
        let running = Self {
            address,
            request,
            _process: process,
        };
        Ok((running, took))
    }
}

/// A container for each call, from its start to its end.
fn container(bench: &Bench, command: impl Fn(usize) -> Command) -> Result<Summary> {
    let mut times = Vec::new();
    for number in 0..=bench.samples(STARTS).max(FEWEST_STARTS) {
        let start = Instant::now();
        let output = process::run(command(number), CONTAINER_TIME)?;
        let took = start.elapsed();
        ensure!(output.trim() == "null", "the container said {output:?}");
        if number > 0 {
            times.push(took);
        }
    }
    Summary::of(&times).context("no container was started")
}
