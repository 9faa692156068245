//! `ephyra doctor`: can this machine run functions, and how well isolated.

use std::collections::BTreeSet;
use std::process::ExitCode;

use ephyra_sandbox::isolation::{self, TmpPlace};
use ephyra_sandbox::warden::UID_BASE;
use serde_json::json;

use crate::cli;
use crate::command::runtime;
use crate::output::{Colour, Output, table};

pub(crate) fn run(options: &cli::Doctor, output: &Output) -> anyhow::Result<ExitCode> {
    if !rustix::process::geteuid().is_root() {
        anyhow::bail!("only root can try what sandboxes are built of: sudo ephyra doctor");
    }
    let report = isolation::check(&BTreeSet::new(), UID_BASE);
    let runtimes = runtime::discover(&options.runtime_path);
    let missing = report.findings.iter().filter(|piece| piece.failure.is_some()).count();
    output.result(
        &json!({ "isolation": report, "runtimes": runtimes, "ok": missing == 0 }),
        |_| {
            let pieces = table(
                &["ISOLATION", "", ""],
                report.findings.iter().map(|piece| {
                    let state = match &piece.failure {
                        None => output.paint(Colour::Green, "ok"),
                        Some(_) => output.paint(Colour::Red, "missing"),
                    };
                    vec![
                        piece.piece.to_string(),
                        state,
                        piece.failure.clone().unwrap_or_default(),
                    ]
                }),
            );
            let verdict = match missing {
                0 => output.paint(
                    Colour::Green,
                    "This machine can run functions with every piece of isolation.",
                ),
                _ => output.paint(
                    Colour::Yellow,
                    "`ephyra serve` stops on this machine. Mend what is missing, or go on without it: \
                 --allow-weaker-isolation NAME,...",
                ),
            };
            let tmp = match &report.tmp {
                TmpPlace::Disk => "Functions' /tmp is on disk, apart from their memory.".to_owned(),
                TmpPlace::Memory { why } => output.paint(
                    Colour::Yellow,
                    &format!(
                        "Functions' /tmp is in memory: what they write there counts against their memory, for {why}."
                    ),
                ),
            };
            format!("{pieces}\n{}\n{tmp}\n{verdict}\n", runtime::text(&runtimes))
        },
    )?;
    Ok(if missing == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
