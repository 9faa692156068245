//! `ephyra-bench peers`: installs the other platforms into a folder, and says which it could not.
//!
//! Nothing is installed into the system but with `--apt`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;

use super::list;
use crate::{process, stop};

#[derive(Args)]
pub(crate) struct Options {
    /// Folder that they are installed into, and measured from with `--peers`
    #[arg(long, value_name = "DIR")]
    install: PathBuf,
    /// Install podman, crun and debootstrap with apt-get too, and make the containers' root folder
    #[arg(long)]
    apt: bool,
    /// Leave one out when it takes longer than this, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1800)]
    time_limit: u64,
}

/// The version of the interfaces that the component's compiler knows.
const INTERFACES: &str = "0.2.3";
/// The last wasmtime that the compiler of this repository builds.
const WASMTIME: &str = "48.0.8";

/// What is installed, and how.
struct Step {
    name: &'static str,
    install: fn(&Path, Duration) -> Result<()>,
}

const STEPS: [Step; 9] = [
    Step {
        name: "uvicorn, gunicorn, functions-framework (pip)",
        install: |folder, limit| {
            run(folder, limit, "python3", &["-m", "venv", "venv"])?;
            let what = [
                "-m",
                "pip",
                "install",
                "--quiet",
                "uvicorn",
                "httptools",
                "uvloop",
                "gunicorn",
                "functions-framework",
            ];
            run(folder, limit, "venv/bin/python", &what)
        },
    },
    Step {
        name: "functions-framework (npm)",
        install: |folder, limit| npm(folder, limit, &["@google-cloud/functions-framework"]),
    },
    Step {
        name: "serverless-offline (npm)",
        install: |folder, limit| npm(folder, limit, &["serverless@3", "serverless-offline@13"]),
    },
    Step {
        name: "workerd (npm)",
        install: |folder, limit| npm(folder, limit, &["workerd"]),
    },
    Step {
        name: "deno, bun (npm)",
        install: |folder, limit| npm(folder, limit, &["deno", "bun"]),
    },
    Step {
        name: "a component for wasmtime serve (npm: jco)",
        install: |folder, limit| {
            npm(folder, limit, &["@bytecodealliance/jco"])?;
            let versions = [
                "@bytecodealliance/jco@1.10.2",
                "@bytecodealliance/componentize-js@0.18.2",
            ];
            npm_into(folder, limit, "jco", &versions)?;
            component(folder, limit)
        },
    },
    Step {
        name: "wasmtime (cargo)",
        install: |folder, limit| {
            let what = [
                "install",
                "wasmtime-cli",
                "--version",
                WASMTIME,
                "--locked",
                "--root",
                "cargo",
                "--no-default-features",
            ];
            // `serve` does not build without the last one.
            let features = [
                "--features",
                "serve,cranelift,pooling-allocator,parallel-compilation,run,component-model-async",
            ];
            run(folder, limit, "cargo", &[&what[..], &features].concat())
        },
    },
    Step {
        name: "nuclio's processor (go)",
        install: |folder, limit| go(folder, limit, "github.com/nuclio/nuclio/cmd/processor@latest"),
    },
    Step {
        name: "of-watchdog (go)",
        install: |folder, limit| go(folder, limit, "github.com/openfaas/of-watchdog@latest"),
    },
];

pub(crate) fn run_all(options: &Options) -> Result<()> {
    stop::watch(Duration::from_secs(options.time_limit * (STEPS.len() as u64 + 1)))?;
    fs::create_dir_all(&options.install).with_context(|| format!("could not make {}", options.install.display()))?;
    let folder = options.install.canonicalize()?;
    list::put_files(&folder)?;
    let limit = Duration::from_secs(options.time_limit);
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_header(["peer", "time", "outcome"]);
    let mut steps: Vec<_> = STEPS.iter().map(|step| (step.name, step.install)).collect();
    if options.apt {
        steps.push(("podman, crun and a root folder (apt)", containers));
    }
    for (name, install) in steps {
        eprintln!("installing: {name} …");
        let start = Instant::now();
        let outcome = match install(&folder, limit) {
            Ok(()) => "installed".to_owned(),
            Err(error) => {
                stop::check()?;
                format!("not installed: {}", last_line(&format!("{error:#}")))
            }
        };
        table.add_row([
            name.to_owned(),
            format!("{:.0} s", start.elapsed().as_secs_f64()),
            outcome,
        ]);
    }
    println!("{table}");
    Ok(())
}

fn last_line(text: &str) -> &str {
    text.lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty())
        .unwrap_or_default()
}

fn run(folder: &Path, limit: Duration, program: &str, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder);
    process::run(command, limit)?;
    Ok(())
}

fn npm(folder: &Path, limit: Duration, packages: &[&str]) -> Result<()> {
    npm_into(folder, limit, "npm", packages)
}

fn npm_into(folder: &Path, limit: Duration, prefix: &str, packages: &[&str]) -> Result<()> {
    let what = [
        "install",
        "--prefix",
        prefix,
        "--no-audit",
        "--no-fund",
        "--loglevel",
        "error",
    ];
    run(folder, limit, "npm", &[&what, packages].concat())
}

fn go(folder: &Path, limit: Duration, program: &str) -> Result<()> {
    let mut command = Command::new("go");
    command
        .args(["install", program])
        .env("GOBIN", folder.join("go/bin"))
        .env("GOPATH", folder.join("go/path"))
        .env("GOFLAGS", "-modcacherw")
        .env("CGO_ENABLED", "0")
        .current_dir(folder);
    process::run(command, limit)?;
    Ok(())
}

/// A component that answers HTTP, made from JavaScript. The compiler is of the last version that knows this way; the
/// interfaces' texts come with a newer one.
fn component(folder: &Path, limit: Duration) -> Result<()> {
    let newest = folder.join("npm/node_modules/@bytecodealliance/jco/lib/wit/builtin");
    let texts = fs::read_dir(&newest)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("wasi-http").exists() && path.to_string_lossy().contains("/0.2."))
        .max()
        .with_context(|| format!("{} has no wasi:http", newest.display()))?;
    let version = texts.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut wit = format!(
        "package bench:bare;\nworld bare {{ import wasi:cli/environment@{version}; export wasi:http/incoming-handler@{version}; }}\n"
    );
    for entry in fs::read_dir(&texts)? {
        let text = fs::read_to_string(entry?.path().join("package.wit"))?;
        // A file may hold several packages, each in braces.
        let start = text.find("\npackage ").map_or(0, |newline| newline + 1);
        let end = start + text[start..].find(';').context("a package has a name")?;
        wit += &format!("{} {{\n{}{}\n}}\n", &text[start..end], &text[..start], &text[end + 1..]);
    }
    fs::write(folder.join("files/bare.wit"), wit.replace(&version, INTERFACES))?;
    let what = [
        "componentize",
        "files/component.js",
        "--wit",
        "files/bare.wit",
        "--world-name",
        "bare",
        "-o",
        "component.wasm",
    ];
    run(folder, limit, "jco/node_modules/.bin/jco", &what)
}

fn containers(folder: &Path, limit: Duration) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .args([
            "install",
            "--yes",
            "--no-install-recommends",
            "podman",
            "crun",
            "debootstrap",
        ])
        .env("DEBIAN_FRONTEND", "noninteractive");
    process::run(command, limit)?;
    if !folder.join("root/usr/bin/python3").exists() {
        let release = fs::read_to_string("/etc/os-release")?;
        let name = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
        let name = name.context("this Debian does not say its name")?;
        run(
            folder,
            limit,
            "debootstrap",
            &["--variant=minbase", "--include=python3-minimal", name, "root"],
        )?;
    }
    ensure!(
        folder.join("root/usr/bin/python3").exists(),
        "the root folder has no python3"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_last_line_said() {
        assert_eq!(
            last_line("npm failed:\nnpm error\n  404 not found\n\n"),
            "404 not found"
        );
        assert_eq!(last_line(""), "");
    }
}
