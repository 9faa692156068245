//! Measures the real program from outside, each figure beside a peer or a bar, in one run on one machine.
//!
//! It starts `ephyra serve` on a folder of its own and a free port of 127.0.0.1, deploys functions through the API,
//! calls them over kept-alive connections, and ends everything it started. Read `server` (the program under test),
//! `connection` (the client), then `part`, which has one file for each measurement.
//!
//! **Invariant:** a figure that could not be taken is a failure, never a silence.
#![forbid(unsafe_code)]

mod connection;
mod direct;
mod function;
mod language;
mod part;
mod report;
mod server;
mod stats;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::language::Interpreters;
use crate::report::Report;
use crate::server::Program;

/// Benchmarks of Ephyra, end to end.
#[derive(Parser)]
#[command(name = "ephyra-bench", version, max_term_width = 100)]
struct Options {
    /// The program to be measured; a release build
    #[arg(long, value_name = "FILE", default_value = "target/release/ephyra")]
    ephyra: PathBuf,
    /// Measure these parts alone; comma-separated
    #[arg(long, value_name = "PART", value_delimiter = ',', value_enum)]
    only: Vec<Part>,
    /// Take about a tenth of the samples: for trying it out, not for figures
    #[arg(long)]
    quick: bool,
    /// End with exit code 1 when a bar is missed
    #[arg(long)]
    check: bool,
    /// Write the figures as JSON to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Python interpreter: the peer's, and by its version the runtime's
    #[arg(long, value_name = "FILE", default_value = "python3")]
    python: String,
    /// Node interpreter: the peer's, and by its version the runtime's
    #[arg(long, value_name = "FILE", default_value = "node")]
    node: String,
    /// Functions of the `scale` part
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    functions: usize,
    /// One more argument for `ephyra serve`; may be given again
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    serve_arg: Vec<String>,
    /// End with an error when it takes longer than this, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    time_limit: u64,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A warm invoke beside the same interpreter on a pipe
    Warm,
    /// First invokes of fresh functions
    Cold,
    /// Six different functions started at once
    Burst,
    /// Warm invokes on 64 connections
    Throughput,
    /// Memory and time of start with many functions, and with none
    Scale,
}

/// What all parts need.
struct Bench {
    program: Program,
    interpreters: Interpreters,
    is_quick: bool,
    functions: usize,
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

// One thread: the client is to take as little as possible of what the program under test could use.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = Options::parse();
    let limit = Duration::from_secs(options.time_limit);
    let ended = tokio::select! {
        ended = tokio::time::timeout(limit, run(&options)) => ended,
        () = interrupted() => Ok(Err(anyhow::anyhow!("interrupted"))),
    };
    let result = ended.unwrap_or_else(|_| Err(anyhow::anyhow!("it took longer than {limit:?} in all")));
    match result {
        Ok(is_good) if is_good || !options.check => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("ephyra-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Resolves at SIGINT or SIGTERM, so that what was started is ended in both cases.
async fn interrupted() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// Measures, prints, and says whether all bars hold.
async fn run(options: &Options) -> Result<bool> {
    let program = Program::new(&options.ephyra, options.serve_arg.clone())?;
    let bench = Bench {
        program,
        interpreters: Interpreters::find(&options.python, &options.node)?,
        is_quick: options.quick,
        functions: options.functions,
    };
    let mut report = Report::new(&bench.interpreters, options.quick)?;
    let parts = if options.only.is_empty() {
        Part::value_variants()
    } else {
        &options.only
    };
    for part in parts {
        let start = Instant::now();
        eprintln!("measuring: {part:?} …");
        let measured = match part {
            Part::Warm => part::warm::measure(&bench, &mut report).await,
            Part::Cold => part::cold::measure(&bench, &mut report).await,
            Part::Burst => part::burst::measure(&bench, &mut report).await,
            Part::Throughput => part::throughput::measure(&bench, &mut report).await,
            Part::Scale => part::scale::measure(&bench, &mut report).await,
        };
        if let Err(error) = measured {
            report.failed(&format!("{part:?}").to_lowercase(), &error);
        }
        eprintln!("          {part:?} took {:.1} s", start.elapsed().as_secs_f64());
    }
    println!("{}", report.text());
    if let Some(path) = &options.json {
        std::fs::write(path, report.json()?).with_context(|| format!("could not write {}", path.display()))?;
    }
    if parts.is_empty() {
        bail!("nothing was to be measured");
    }
    Ok(report.is_good())
}
