//! The interpreters of this machine, and the packages that are deployed.

use std::io::{Cursor, Write};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// A language of functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Python,
    Node,
}

impl Language {
    pub(crate) const ALL: [Self; 2] = [Self::Python, Self::Node];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
        }
    }

    pub(crate) const fn handler(self) -> &'static str {
        match self {
            Self::Python => "app.handler",
            Self::Node => "index.handler",
        }
    }

    /// A package with an empty handler. `note` makes it another package, as another function's would be.
    pub(crate) fn package(self, note: &str) -> Result<Vec<u8>> {
        let (file, text) = match self {
            Self::Python => (
                "app.py",
                format!("# {note}\ndef handler(event, context):\n    return None\n"),
            ),
            Self::Node => ("index.js", format!("// {note}\nexports.handler = async () => null;\n")),
        };
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        zip.start_file(file, SimpleFileOptions::default().unix_permissions(0o644))?;
        zip.write_all(text.as_bytes())?;
        Ok(zip.finish()?.into_inner())
    }
}

/// One interpreter.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Interpreter {
    /// The program itself, not what starts it.
    pub(crate) executable: String,
    /// Such as `3.13.1`.
    pub(crate) version: String,
    /// Such as `python3.13`.
    pub(crate) runtime: String,
}

/// The interpreters that are measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Interpreters {
    python: Interpreter,
    node: Interpreter,
}

impl Interpreters {
    pub(crate) fn find(python: &str, node: &str) -> Result<Self> {
        let script = "import sys; print(sys.executable); print('%d.%d.%d' % sys.version_info[:3])";
        let (executable, version) = ask(python, &["-c", script])?;
        let runtime = version
            .rsplit_once('.')
            .map_or_else(String::new, |(minor, _)| format!("python{minor}"));
        let python = Interpreter {
            executable,
            version,
            runtime,
        };
        let script = "console.log(process.execPath); console.log(process.versions.node)";
        let (executable, version) = ask(node, &["-e", script])?;
        let runtime = version
            .split_once('.')
            .map_or_else(String::new, |(major, _)| format!("nodejs{major}.x"));
        let node = Interpreter {
            executable,
            version,
            runtime,
        };
        Ok(Self { python, node })
    }

    pub(crate) const fn of(&self, language: Language) -> &Interpreter {
        match language {
            Language::Python => &self.python,
            Language::Node => &self.node,
        }
    }
}

fn ask(program: &str, arguments: &[&str]) -> Result<(String, String)> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("could not run {program}; name another with --python or --node"))?;
    ensure!(output.status.success(), "{program} ended with {}", output.status);
    let text = String::from_utf8(output.stdout).with_context(|| format!("{program} answered no text"))?;
    let mut lines = text.lines().map(str::to_owned);
    lines
        .next()
        .zip(lines.next())
        .with_context(|| format!("{program} did not say what it is"))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn packages_hold_their_handler_and_differ_by_their_note() {
        for language in Language::ALL {
            let package = language.package("one").unwrap();
            let mut archive = zip::ZipArchive::new(Cursor::new(&package)).unwrap();
            let file = language.handler().split('.').next().unwrap();
            let mut text = String::new();
            archive.by_index(0).unwrap().read_to_string(&mut text).unwrap();
            assert!(archive.file_names().next().unwrap().unwrap().starts_with(file));
            assert!(text.contains("handler"));
            assert_ne!(package, language.package("other").unwrap());
        }
    }
}
