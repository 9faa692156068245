//! `ephyra runtime list`.

use std::path::PathBuf;
use std::process::ExitCode;

use ephyra_sandbox::runtimes::{self, Kind, Runtime, Search};

use crate::output::{Output, table};

pub(crate) fn run(runtime_path: &[PathBuf], output: &Output) -> anyhow::Result<ExitCode> {
    let runtimes = discover(runtime_path);
    output.result(&runtimes, |runtimes| text(runtimes))?;
    Ok(ExitCode::SUCCESS)
}

/// The runtimes that the caller would find.
pub(crate) fn discover(runtime_path: &[PathBuf]) -> Vec<Runtime> {
    runtimes::discover(&Search {
        extra: runtime_path.to_vec(),
        uid: None,
    })
}

/// What is shown as a runtime's version. A JRE works where a JDK is beside it, whose compiler it needs.
fn version(runtime: &Runtime) -> String {
    if runtime.kind == Kind::Java && runtime.compiler.is_none() {
        format!("{} (no compiler: needs a JDK beside it)", runtime.version)
    } else {
        runtime.version.clone()
    }
}

/// The runtimes as a table.
pub(crate) fn text(runtimes: &[Runtime]) -> String {
    table(
        &["RUNTIME", "VERSION", "INTERPRETER"],
        runtimes.iter().map(|runtime| {
            vec![
                runtime.identifier.clone(),
                version(runtime),
                runtime.executable.display().to_string(),
            ]
        }),
    )
}
