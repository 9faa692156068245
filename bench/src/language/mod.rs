//! The languages that are measured, as far as this machine and the program under test have them; and the packages
//! that are deployed: an empty handler in each.

mod java;
mod provided;
mod wasm;

use std::cell::OnceCell;
use std::io::{Cursor, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::process;

/// A language of functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Language {
    Python,
    Node,
    Java,
    /// A static program that speaks the Runtime API.
    Provided,
    Wasm,
}

impl Language {
    pub(crate) const ALL: [Self; 5] = [Self::Python, Self::Node, Self::Java, Self::Provided, Self::Wasm];
    /// Those whose interpreters can be started bare, as peers.
    pub(crate) const INTERPRETED: [Self; 2] = [Self::Python, Self::Node];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
            Self::Java => "java",
            Self::Provided => "bootstrap",
            Self::Wasm => "wasm",
        }
    }

    /// How the identifiers of its runtimes begin.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "nodejs",
            Self::Java => "java",
            Self::Provided => "provided.al2023",
            Self::Wasm => "wasm",
        }
    }

    pub(crate) const fn handler(self) -> &'static str {
        match self {
            Self::Python => "app.handler",
            Self::Node => "index.handler",
            Self::Java => "app.Handler::handle",
            Self::Provided => "bootstrap",
            Self::Wasm => wasm::FILE,
        }
    }
}

/// Taken where they are there and no other is wanted; of the other languages the newest is.
const PREFERRED: [&str; 1] = ["java17"];

/// A runtime of the program under test.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Runtime {
    pub(crate) language: &'static str,
    /// Such as `python3.13`.
    pub(crate) identifier: String,
    /// Such as `3.13.1`; empty where there is no interpreter.
    pub(crate) version: String,
    /// The interpreter itself, not what starts it; empty where there is none.
    pub(crate) executable: String,
}

#[derive(Deserialize)]
struct Listed {
    identifier: String,
    #[serde(default)]
    executable: Option<String>,
    #[serde(default)]
    version: Option<String>,
}

/// What is there to be measured.
pub(crate) struct Languages {
    runtimes: Vec<(Language, Runtime)>,
    /// What has to be compiled is compiled once.
    java: OnceCell<Vec<u8>>,
    provided: OnceCell<Vec<u8>>,
}

impl Languages {
    /// Asks the program which runtimes it has, and takes of each language the one that is `wanted`, or the last.
    pub(crate) fn find(ephyra: &Path, arguments: &[String], wanted: &[String]) -> Result<Self> {
        let mut command = Command::new(ephyra);
        command.args(["runtime", "list", "--json"]);
        // Where to look for runtimes is said to `serve` and to this in the same way.
        let paths = arguments.iter().zip(arguments.iter().skip(1));
        for (_, path) in paths.filter(|(name, _)| *name == "--runtime-path") {
            command.args(["--runtime-path", path]);
        }
        let text = process::run(command, Duration::from_secs(60))?;
        let listed: Vec<Listed> = serde_json::from_str(&text).context("`ephyra runtime list --json` is a list")?;
        let mut runtimes = Vec::new();
        for language in Language::ALL {
            let mut of_it = listed
                .iter()
                .filter(|one| one.identifier.starts_with(language.prefix()));
            let all = of_it.clone();
            let named = |names: &[String]| all.clone().find(|one| names.contains(&one.identifier));
            let preferred = PREFERRED.map(str::to_owned);
            let chosen = named(wanted).or_else(|| named(&preferred));
            let Some(one) = chosen.or_else(|| of_it.next_back()) else {
                continue;
            };
            let runtime = Runtime {
                language: language.name(),
                identifier: one.identifier.clone(),
                version: one
                    .version
                    .as_deref()
                    .unwrap_or_default()
                    .trim_start_matches('v')
                    .to_owned(),
                executable: one.executable.clone().unwrap_or_default(),
            };
            runtimes.push((language, runtime));
        }
        for name in wanted {
            if !runtimes.iter().any(|(_, runtime)| runtime.identifier == *name) {
                bail!("the program under test has no runtime {name}; see `ephyra runtime list`");
            }
        }
        Ok(Self {
            runtimes,
            java: OnceCell::new(),
            provided: OnceCell::new(),
        })
    }

    /// Only these are measured, by their names; all of them when there are none.
    pub(crate) fn keep(&mut self, names: &[String]) -> Result<()> {
        for name in names {
            if !self.runtimes.iter().any(|(language, _)| language.name() == name) {
                bail!("the program under test has nothing for {name}");
            }
        }
        if !names.is_empty() {
            self.runtimes
                .retain(|(language, _)| names.iter().any(|name| name == language.name()));
        }
        Ok(())
    }

    /// The runtime of a language, when there is one.
    pub(crate) fn of(&self, language: Language) -> Option<&Runtime> {
        self.runtimes
            .iter()
            .find_map(|(of, runtime)| (*of == language).then_some(runtime))
    }

    pub(crate) fn need(&self, language: Language) -> Result<&Runtime> {
        self.of(language)
            .with_context(|| format!("{} is not on this machine", language.name()))
    }

    pub(crate) fn all(&self) -> Vec<Runtime> {
        self.runtimes.iter().map(|(_, runtime)| runtime.clone()).collect()
    }

    /// A package with an empty handler. `note` makes it another package, as another function's would be.
    pub(crate) fn package(&self, language: Language, note: &str) -> Result<Vec<u8>> {
        let note_file = ("note.txt", note.as_bytes());
        match language {
            Language::Python => python(&format!("# {note}\ndef handler(event, context):\n    return None\n")),
            Language::Node => {
                let text = format!("// {note}\nexports.handler = async () => null;\n");
                zip(&[("index.js", text.as_bytes())])
            }
            Language::Java => {
                let class = once(&self.java, || java::compile(self.need(Language::Java)?))?;
                zip(&[("app/Handler.class", class), note_file])
            }
            Language::Provided => {
                let program = once(&self.provided, provided::compile)?;
                zip(&[("bootstrap", program), note_file])
            }
            Language::Wasm => zip(&[(wasm::FILE, &wasm::module(note))]),
        }
    }
}

/// A package of one Python file.
pub(crate) fn python(text: &str) -> Result<Vec<u8>> {
    zip(&[("app.py", text.as_bytes())])
}

/// A package of files that everyone may read and run.
pub(crate) fn zip(files: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        zip.start_file(*name, SimpleFileOptions::default().unix_permissions(0o755))?;
        zip.write_all(bytes)?;
    }
    Ok(zip.finish()?.into_inner())
}

fn once(cell: &OnceCell<Vec<u8>>, make: impl FnOnce() -> Result<Vec<u8>>) -> Result<&[u8]> {
    if let Some(made) = cell.get() {
        return Ok(made);
    }
    let made = make()?;
    Ok(cell.get_or_init(|| made))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn some() -> Languages {
        let runtime = |language: Language| Runtime {
            language: language.name(),
            identifier: language.prefix().to_owned(),
            version: String::new(),
            executable: String::new(),
        };
        Languages {
            runtimes: Language::ALL.map(|language| (language, runtime(language))).to_vec(),
            java: OnceCell::from(b"class".to_vec()),
            provided: OnceCell::from(b"program".to_vec()),
        }
    }

    #[test]
    fn packages_hold_a_file_and_differ_by_their_note() {
        let languages = some();
        for language in Language::ALL {
            let package = languages.package(language, "one").unwrap();
            assert_ne!(package, languages.package(language, "other").unwrap());
            let mut archive = zip::ZipArchive::new(Cursor::new(&package)).unwrap();
            let mut bytes = Vec::new();
            archive.by_index(0).unwrap().read_to_end(&mut bytes).unwrap();
            assert!(!bytes.is_empty());
        }
    }

    #[test]
    fn a_runtime_is_taken_as_it_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let ephyra = folder.path().join("ephyra");
        let list = r#"[{"identifier": "python3.8", "version": "3.8.1", "executable": "/a"},
            {"identifier": "python3.13", "version": "3.13.0", "executable": "/b"}, {"identifier": "provided.al2023"}]"#;
        std::fs::write(&ephyra, format!("#!/bin/sh\ncat <<E\n{list}\nE\n")).unwrap();
        std::fs::set_permissions(&ephyra, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let find = |wanted: &[&str]| {
            let wanted: Vec<_> = wanted.iter().map(|name| (*name).to_owned()).collect();
            Languages::find(&ephyra, &[], &wanted)
        };
        let languages = find(&[]).unwrap();
        assert_eq!(languages.need(Language::Python).unwrap().version, "3.13.0");
        assert!(languages.of(Language::Node).is_none() && languages.need(Language::Wasm).is_err());
        assert_eq!(
            find(&["python3.8"]).unwrap().need(Language::Python).unwrap().executable,
            "/a"
        );
        assert!(find(&["python2.7"]).is_err());
    }
}
