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
        wasm: crate::serve::wasm_version(),
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

/// How an environment of a runtime comes about.
fn starts(runtime: &Runtime) -> &'static str {
    match runtime.kind {
        _ if runtime.has_zygote => "forked from a zygote",
        Kind::Python => "by execution (no _ctypes)",
        Kind::Node | Kind::Java => "booted ahead",
        Kind::Wasm => "an instance for each call",
        Kind::Provided => "by execution",
    }
}

/// The runtimes as a table.
pub(crate) fn text(runtimes: &[Runtime]) -> String {
    table(
        &["RUNTIME", "VERSION", "STARTS", "INTERPRETER"],
        runtimes.iter().map(|runtime| {
            vec![
                runtime.identifier.clone(),
                version(runtime),
                starts(runtime).to_owned(),
                runtime.executable.display().to_string(),
            ]
        }),
    )
}
