//! `ephyra logs`.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Deserialize;

use crate::cli;
use crate::endpoint::{Platform, label};
use crate::lines::Lines;
use crate::output::{Colour, Output};

/// One line of the platform's answer.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Line {
    Event {
        /// Milliseconds since 1970.
        timestamp: i64,
        message: String,
    },
    Skipped {
        /// So many lines came faster than they were read.
        skipped: u64,
    },
}

pub(crate) async fn run(options: &cli::Logs, output: &Output) -> anyhow::Result<ExitCode> {
    let platform = Platform::find(&options.target)?;
    let query = [
        ("since", options.since.as_millis().to_string()),
        ("limit", options.limit.to_string()),
        ("follow", options.follow.to_string()),
    ];
    let path = format!("/_ephyra/logs/{}", label(&options.name));
    let mut lines = Lines::new(platform.stream_own(&path, &query).await?);
    while let Some(line) = lines.next().await? {
        print(&line, output)?;
    }
    if options.follow {
        output.note("The platform has ended this log: it goes down. Follow again when it is back.");
    }
    Ok(ExitCode::SUCCESS)
}

fn print(line: &[u8], output: &Output) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    if output.json {
        stdout.write_all(line)?;
        stdout.write_all(b"\n")?;
    } else {
        let line: Line = serde_json::from_slice(line).context("the platform sent a log line that is not JSON")?;
        match line {
            Line::Event { timestamp, message } => {
                let time = jiff::Timestamp::from_millisecond(timestamp)?;
                let time = output.paint(Colour::Dim, &format!("{time:.3}"));
                writeln!(stdout, "{time} {}", message.trim_end())?;
            }
            Line::Skipped { skipped } => {
                let note = format!("({skipped} lines came too fast and are left out; they are kept: ephyra logs)");
                writeln!(stdout, "{}", output.paint(Colour::Yellow, &note))?;
            }
        }
    }
    stdout.flush()?;
    Ok(())
}
