//! What a thousand warm Python environments take of the machine at once, and five thousand WebAssembly functions.
//!
//! Memory is what the machine has available, before and after: page tables, control groups, sockets and everything
//! else that a process's own size leaves out are in it.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{ABSENT, names};
use crate::Bench;
use crate::census::available_kib;
use crate::crowd::Crowd;
use crate::function::{Api, invocations};
use crate::language::Language;
use crate::report::{Bar, Report};
use crate::server::Server;
use crate::stop;

const PYTHON: usize = 1000;
const PYTHON_BAR_MIB: f64 = 4.0;
const WASM: usize = 5000;
const WASM_BAR_MIB: f64 = 400.0;
const MEMORY_MB: u32 = 128;
/// More than the machine has: environments take far less than they may.
const ROOM: [&str; 4] = ["--memory", "1000000", "--keep-alive", "1h"];
/// Until whatever is done after a call is done, and idle environments are frozen.
const REST: Duration = Duration::from_secs(3);
/// How long frozen environments are watched, and the CPU time that all of them together may use.
const WATCH: Duration = Duration::from_secs(3);
const CPU_BAR_MS: f64 = 1.0;

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    for language in [Language::Python, Language::Wasm] {
        if bench.languages.of(language).is_none() {
            report.absent("density", language.name(), ABSENT);
        } else if let Err(error) = one(bench, report, language) {
            report.failed("density", language.name(), &error);
        }
    }
    Ok(())
}

fn one(bench: &Bench, report: &mut Report, language: Language) -> Result<()> {
    let server = bench.program.start(&ROOM)?;
    let mut api = Api::open(server.address)?;
    let count = bench.samples(if language == Language::Python { PYTHON } else { WASM });
    let names = names(&format!("dense-{}", language.name()), count + 1);
    api.deploy_many(&bench.languages, |_| language, MEMORY_MB, &names)?;
    api.until_all_ready(&names)?;
    // What is there once for all of them, such as a zygote, comes with the first.
    api.invoke(&names[count])?;
    stop::pause(REST)?;
    let processes = server.family()?.count();
    let before = available_kib()?;
    let mut requests = invocations(server.address, &names[..count])?;
    Crowd::open(server.address, 4)?
        .run(|_| requests.pop_front())?
        .all_good("first calls")?;
    stop::pause(REST)?;
    let taken = before.saturating_sub(available_kib()?) as f64 / 1024.0;
    if language == Language::Python {
        let started = server.family()?.count().saturating_sub(processes);
        ensure!(
            started >= count,
            "only {started} processes are there for {count} environments"
        );
        let title = format!("{count} warm Python environments, each");
        report.value_with_bar(
            "density",
            &title,
            taken / count as f64,
            "MiB",
            Bar::AtMost(PYTHON_BAR_MIB),
        );
        frozen(report, &server, count)?;
    } else {
        let title = format!("{count} warm WebAssembly functions, together");
        report.value_with_bar("density", &title, taken, "MiB", Bar::AtMost(WASM_BAR_MIB));
    }
    server.stop()
}

/// The CPU that environments use while nobody calls them.
fn frozen(report: &mut Report, server: &Server, count: usize) -> Result<()> {
    // The pool makes blank environments for a while after so many starts.
    server.until_settled()?;
    let before = server.family()?.guest_cpu()?;
    ensure!(before.len() >= count, "only {} guests are there", before.len());
    stop::pause(WATCH)?;
    let after = server.family()?.guest_cpu()?;
    let used: Duration = after
        .iter()
        .filter_map(|(pid, time)| Some(time.saturating_sub(*before.get(pid)?)))
        .sum();
    let title = format!("CPU of {count} idle environments in {} s", WATCH.as_secs());
    report.value_with_bar(
        "density",
        &title,
        used.as_secs_f64() * 1000.0,
        "ms",
        Bar::AtMost(CPU_BAR_MS),
    );
    Ok(())
}
