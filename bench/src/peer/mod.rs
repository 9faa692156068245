//! The other platforms, as far as they are installed: each is started, measured and ended by this program.
//!
//! [`install`] puts them into a folder; [`list`] says how each is started and called.

pub(crate) mod install;
mod list;

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
use crate::process::{self, Process};
use crate::report::Report;
use crate::server::free_address;
use crate::stats::Summary;
use crate::stop;

/// How long one may take until it answers.
const START_TIME: Duration = Duration::from_secs(60);
/// Starts of each; slow ones are started less often.
const STARTS: usize = 15;
const STARTS_TIME: Duration = Duration::from_secs(12);
const WARM_UP: Duration = Duration::from_secs(1);
const CALLS: usize = 3000;
const CALLS_TIME: Duration = Duration::from_secs(5);
const CONNECTIONS: usize = 64;
const THROUGHPUT_TIME: Duration = Duration::from_secs(4);
const CONTAINER_TIME: Duration = Duration::from_secs(20);

/// Takes the figures of everything that is installed in `folder`.
pub(crate) fn measure(folder: &Path, bench: &Bench, report: &mut Report) -> Result<()> {
    let folder = folder
        .canonicalize()
        .with_context(|| format!("there is no {}; see `ephyra-bench peers --help`", folder.display()))?;
    list::put_files(&folder)?;
    for peer in list::ALL {
        stop::check()?;
        if !peer.is_in(&folder) {
            report.absent("peers", peer.name, "not installed");
        } else if let Err(error) = one(&folder, bench, report, &peer) {
            report.failed("peers", peer.name, &error);
        }
    }
    for (name, command) in list::CONTAINERS {
        stop::check()?;
        if list::find(name).is_none() || !folder.join("root/usr/bin/python3").exists() {
            report.absent("peers", name, "not installed");
        } else if let Err(error) = container(bench, report, name, |number| command(&folder, number)) {
            report.failed("peers", name, &error);
        }
    }
    Ok(())
}

fn one(folder: &Path, bench: &Bench, report: &mut Report, peer: &Peer) -> Result<()> {
    let mut starts = Vec::new();
    let begin = Instant::now();
    let mut running = None;
    while starts.len() < bench.samples(STARTS).max(3) && begin.elapsed() < STARTS_TIME {
        drop(running.take());
        let (started, took) = Running::start(folder, peer)?;
        starts.push(took);
        running = Some(started);
    }
    let running = running.context("it was not started")?;
    let times = Summary::of(&starts).context("it was not started")?;
    report.times("peers", &format!("{}: start to first answer", peer.name), times);

    let mut connection = Connection::open(running.address)?;
    let begin = Instant::now();
    while begin.elapsed() < bench.time(WARM_UP) {
        send(&mut connection, &running.request)?;
    }
    let mut calls = Vec::new();
    let begin = Instant::now();
    while calls.len() < bench.samples(CALLS) && begin.elapsed() < CALLS_TIME {
        calls.push(send(&mut connection, &running.request)?);
    }
    let times = Summary::of(&calls).context("it was not called")?;
    report.times("peers", &format!("{}: warm call", peer.name), times);

    let mut crowd = Crowd::open(running.address, CONNECTIONS)?;
    let requests = std::slice::from_ref(&running.request);
    crowd.hammer(requests, bench.time(WARM_UP))?.all_good(peer.name)?;
    let run = crowd
        .hammer(requests, bench.time(THROUGHPUT_TIME))?
        .all_good(peer.name)?;
    report.value(
        "peers",
        &format!("{}: {CONNECTIONS} connections", peer.name),
        run.rate(),
        "/s",
    );
    Ok(())
}

fn send(connection: &mut Connection, request: &[u8]) -> Result<Duration> {
    let (reply, took) = connection.send(request)?;
    reply.success("the call")?;
    Ok(took)
}

/// A started peer, and the call that it answers.
struct Running {
    address: SocketAddr,
    request: Bytes,
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
fn container(bench: &Bench, report: &mut Report, name: &str, command: impl Fn(usize) -> Command) -> Result<()> {
    let mut times = Vec::new();
    for number in 0..=bench.samples(STARTS).max(3) {
        let start = Instant::now();
        let output = process::run(command(number), CONTAINER_TIME)?;
        let took = start.elapsed();
        ensure!(output.trim() == "null", "the container said {output:?}");
        if number > 0 {
            times.push(took);
        }
    }
    let times = Summary::of(&times).context("no container was started")?;
    report.times(
        "peers",
        &format!("{name}: a container with python3, start to end"),
        times,
    );
    Ok(())
}
