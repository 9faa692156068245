//! Measures the real program from outside, each figure beside a peer or a bar, in one run on one machine.
//!
//! It starts `ephyra serve` on a folder of its own and a free port of 127.0.0.1, deploys functions through the API,
//! calls them over kept-alive connections, and ends everything it started. Read `server` (the program under test),
//! `connection` and `crowd` (the clients), `bare` (what it is held against), then `part`, which has one file for each
//! measurement, and `peer`, which has the other platforms.
//!
//! **Invariant:** a figure that could not be taken is a failure, never a silence; only what this machine does not have
//! is told as absent.
#![forbid(unsafe_code)]

mod answer;
mod bare;
mod census;
mod connection;
mod crowd;
mod function;
mod language;
mod part;
mod peer;
mod placement;
mod process;
mod report;
mod server;
mod stats;
mod stop;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::language::Languages;
use crate::report::Report;
use crate::server::Program;

/// Benchmarks of Ephyra, end to end.
#[derive(Parser)]
#[command(
    name = "ephyra-bench",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true
)]
struct Options {
    #[command(subcommand)]
    command: Option<Task>,
    #[command(flatten)]
    run: RunOptions,
}

#[derive(Subcommand)]
enum Task {
    /// Install the other platforms that are measured beside it, as far as the registries have them
    Peers(peer::install::Options),
    /// Serve as one of the bare servers that figures are held against
    #[command(hide = true)]
    Bare { kind: String, executable: Option<String> },
}

#[derive(Args)]
struct RunOptions {
    /// The program to be measured; a release build
    #[arg(long, value_name = "FILE", default_value = "target/release/ephyra")]
    ephyra: PathBuf,
    /// Measure these parts alone; comma-separated
    #[arg(long, value_name = "PART", value_delimiter = ',', value_enum)]
    parts: Vec<Part>,
    /// Take about a tenth of the samples: for trying it out, not for figures
    #[arg(long)]
    quick: bool,
    /// End with exit code 1 when a bar is missed
    #[arg(long)]
    check: bool,
    /// Write the figures as JSON to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print the table as Markdown
    #[arg(long)]
    markdown: bool,
    /// Where `ephyra-bench peers` has installed the other platforms; without it they are not measured
    #[arg(long, value_name = "DIR")]
    peers: Option<PathBuf>,
    /// Measure this runtime of its language, such as python3.12; comma-separated
    #[arg(long, value_name = "RUNTIME", value_delimiter = ',')]
    runtimes: Vec<String>,
    /// Measure these languages alone, such as python,node,java,bootstrap,wasm; comma-separated
    #[arg(long, value_name = "LANGUAGE", value_delimiter = ',')]
    languages: Vec<String>,
    /// One more argument for `ephyra serve`; may be given again
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    serve_arg: Vec<String>,
    /// End with an error when it takes longer than this, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1200)]
    time_limit: u64,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A warm Invoke beside bare hyper and the same interpreter on a socket
    Warm,
    /// Warm Invokes on 64 connections beside a bare skeleton
    Throughput,
    /// First Invokes of functions that have never run
    Cold,
    /// First Invokes, one after the other without a pause
    Rate,
    /// A hundred first Invokes of one function at once, and six functions at once
    Burst,
    /// Memory and CPU of a thousand warm environments
    Density,
    /// What ten thousand environments leave behind
    Teardown,
    /// What one function's storm does to another's calls
    Storm,
    /// A day of calls as a public cloud sees them, compressed
    Trace,
    /// Memory and time of start with ten thousand functions, and with none
    Scale,
    /// Functions behind HTTP: URLs, HTTP APIs with authorizers, streams; beside bare servers
    Door,
    /// The other platforms, from where `--peers` says, and this one beside them
    Peers,
}

/// What all parts need.
struct Bench {
    program: Program,
    languages: Languages,
    is_quick: bool,
    /// Where the other platforms are installed.
    peers: Option<PathBuf>,
}

impl Bench {
    /// How many samples to take where `full` are wanted.
    fn samples(&self, full: usize) -> usize {
        if self.is_quick { full.div_ceil(10) } else { full }
    }

    /// How long to measure where `full` is wanted.
    fn time(&self, full: Duration) -> Duration {
        if self.is_quick { full / 10 } else { full }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match &options.command {
        None => run(&options.run),
        Some(Task::Peers(options)) => peer::install::run_all(options).map(|()| true),
        Some(Task::Bare { kind, executable }) => bare::front::serve(kind, executable.as_deref()).map(|()| true),
    };
    match done {
        Ok(is_good) if is_good || !options.run.check => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("ephyra-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures, prints, and says whether all bars hold.
fn run(options: &RunOptions) -> Result<bool> {
    stop::watch(Duration::from_secs(options.time_limit))?;
    let program = Program::new(&options.ephyra, options.serve_arg.clone())?;
    let mut languages = Languages::find(&program.executable, &options.serve_arg, &options.runtimes)?;
    languages.keep(&options.languages)?;
    let bench = Bench {
        languages,
        program,
        is_quick: options.quick,
        peers: options.peers.clone(),
    };
    let mut report = Report::new(bench.languages.all(), options.quick)?;
    let parts = if options.parts.is_empty() {
        Part::value_variants()
    } else {
        &options.parts
    };
    // What was measured before an interruption is told.
    let ended = parts.iter().try_for_each(|part| {
        let name = format!("{part:?}").to_lowercase();
        measure(&name, &mut report, |report| part::measure(*part, &bench, report))
    });
    println!("{}", report.text(options.markdown));
    if let Some(path) = &options.json {
        std::fs::write(path, report.json()?).with_context(|| format!("could not write {}", path.display()))?;
    }
    ended?;
    Ok(report.is_good())
}

/// One part; its failure is told in the report, and ends the run only when the run has to end.
fn measure(name: &str, report: &mut Report, part: impl FnOnce(&mut Report) -> Result<()>) -> Result<()> {
    let start = Instant::now();
    eprintln!("measuring: {name} …");
    if let Err(error) = part(report) {
        stop::check()?;
        report.failed(name, "all of it", &error);
    }
    eprintln!("           {name} took {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}
