//! A function's folder: its `ephyra.toml`, and the package made from the rest.

mod route;
mod url;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{Cursor, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use zip::write::SimpleFileOptions;

#[cfg(test)]
pub(crate) use route::Server;
pub(crate) use route::{Jwt, RouteAuth, RouteTable, Wanted};
pub(crate) use url::{Url, UrlTable};

/// The file that names a function's settings.
pub(crate) const FILE_NAME: &str = "ephyra.toml";

/// What `ephyra.toml` says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Project {
    /// The function's name.
    pub(crate) name: String,
    /// `python`, `nodejs`, `java`, `wasm` or `provided` for the newest on the machine, or an identifier such as `python3.13`.
    pub(crate) runtime: String,
    /// What the runtime calls, such as `app.handler`.
    #[serde(default = "default_handler")]
    pub(crate) handler: String,
    /// In MB.
    #[serde(default = "default_memory")]
    pub(crate) memory: u32,
    /// In seconds.
    #[serde(default = "default_timeout")]
    pub(crate) timeout: u32,
    /// Shown in lists.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) environment: BTreeMap<String, String>,
    /// Names of more variables, whose values do not belong into a file: each is taken from the environment of whoever
    /// deploys, or stays as it is deployed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) secrets: Vec<String>,
    /// Whether it has a URL, and of what kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<Url>,
    /// What leads from an HTTP API to it.
    #[serde(default, rename = "route", skip_serializing_if = "Vec::is_empty")]
    pub(crate) routes: Vec<RouteTable>,
    /// The tokens that routes take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) jwt: Option<Jwt>,
    /// Names of files and folders to leave out of the package, beside those that are always left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) exclude: Vec<String>,
}

fn default_handler() -> String {
    "app.handler".to_owned()
}

fn default_memory() -> u32 {
    128
}

fn default_timeout() -> u32 {
    3
}

/// Never part of a package.
const ALWAYS_EXCLUDED: [&str; 6] = [FILE_NAME, ".git", ".gitignore", "__pycache__", ".venv", ".DS_Store"];

/// As deep as a folder may go: a loop of mounts or a mistake ends here.
const DEPTH: usize = 64;

impl Project {
    /// The function's variables, and the names of secrets that have no value: `here` gives what the environment of whoever
    /// deploys says, `deployed` what the function has by now.
    pub(crate) fn variables(
        &self,
        here: impl Fn(&str) -> Option<String>,
        deployed: impl Fn(&str) -> Option<String>,
    ) -> (BTreeMap<String, String>, Vec<&str>) {
        let mut variables = self.environment.clone();
        let mut missing = Vec::new();
        for name in &self.secrets {
            match here(name).or_else(|| deployed(name)) {
                Some(value) => {
                    variables.insert(name.clone(), value);
                }
                None => missing.push(name.as_str()),
            }
        }
        (variables, missing)
    }

    /// Reads `folder/ephyra.toml`.
    pub(crate) fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(FILE_NAME);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
                "there is no {} in {}; make a function with `ephyra new NAME`, or write the file (name, runtime, handler)",
                FILE_NAME,
                folder.display()
            ),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
        };
        let project: Self = toml::from_str(&text).with_context(|| format!("{} is not right", path.display()))?;
        project
            .routes()
            .with_context(|| format!("{} is not right", path.display()))?;
        Ok(project)
    }

    /// Its routes, each with all that it needs.
    pub(crate) fn routes(&self) -> anyhow::Result<Vec<Wanted>> {
        route::wanted(&self.routes, self.jwt.as_ref())
    }

    /// The folder as a zip: the same folder gives the same bytes, so that an unchanged function is not deployed again.
    pub(crate) fn package(&self, folder: &Path) -> anyhow::Result<Vec<u8>> {
        let mut files = Vec::new();
        self.collect(folder, &PathBuf::new(), 0, &mut files)?;
        files.sort();
        if files.is_empty() {
            bail!("{} holds nothing to deploy beside {FILE_NAME}", folder.display());
        }
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for file in &files {
            self.add(&mut zip, folder, file)
                .with_context(|| format!("{} cannot be packed", folder.join(file).display()))?;
        }
        Ok(zip.finish()?.into_inner())
    }

    /// Whether a file or folder of this name is left out of the package.
    pub(crate) fn excludes(&self, name: &OsStr) -> bool {
        Self::never_packs(name) || self.exclude.iter().any(|excluded| name == &**excluded)
    }

    /// Whether a file or folder of this name is no part of any package.
    pub(crate) fn never_packs(name: &OsStr) -> bool {
        ALWAYS_EXCLUDED.iter().any(|excluded| name == *excluded)
    }

    fn collect(&self, folder: &Path, below: &Path, depth: usize, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
        let here = folder.join(below);
        if depth > DEPTH {
            bail!("{} is nested more than {DEPTH} deep", here.display());
        }
        let entries = std::fs::read_dir(&here).with_context(|| format!("{} cannot be read", here.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("{} cannot be read", here.display()))?;
            let name = entry.file_name();
            if self.excludes(&name) {
                continue;
            }
            let path = below.join(&name);
            if entry.file_type()?.is_dir() {
                self.collect(folder, &path, depth + 1, files)?;
            } else {
                files.push(path);
            }
        }
        Ok(())
    }

    fn add(&self, zip: &mut zip::ZipWriter<Cursor<Vec<u8>>>, folder: &Path, file: &Path) -> anyhow::Result<()> {
        let path = folder.join(file);
        let name = file.to_str().context("its name is not UTF-8")?;
        let metadata = std::fs::symlink_metadata(&path)?;
        let options = SimpleFileOptions::default().last_modified_time(zip::DateTime::default());
        if metadata.is_symlink() {
            let target = std::fs::read_link(&path)?;
            let target = target.to_str().context("its target is not UTF-8")?;
            if leads_out(file, Path::new(target)) {
                bail!("it links to {target}, outside the folder: replace it by a copy, or exclude it in {FILE_NAME}");
            }
            zip.add_symlink(name, target, options)?;
        } else if metadata.is_file() {
            // What may be executed stays so; everything is readable, as the function runs under a uid of its own.
            let mode = if metadata.permissions().mode() & 0o111 != 0 {
                0o755
            } else {
                0o644
            };
            zip.start_file(name, options.unix_permissions(mode))?;
            zip.write_all(&std::fs::read(&path)?)?;
        } else {
            bail!("it is neither a file, a folder nor a link");
        }
        Ok(())
    }
}

/// Whether a link at `file`, a path below the folder, leads out of the folder.
fn leads_out(file: &Path, target: &Path) -> bool {
    let mut depth = file.components().count() - 1;
    for component in target.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn defaults_fill_what_is_not_said() {
        let folder = folder(&[(FILE_NAME, "name = 'a'\nruntime = 'python3.13'\n")]);
        let project = Project::read(folder.path()).unwrap();
        assert_eq!(
            (project.handler.as_str(), project.memory, project.timeout),
            ("app.handler", 128, 3)
        );
    }

    #[test]
    fn links_stay_in_the_folder() {
        let check = |file: &str, target: &str, want| {
            assert_eq!(leads_out(Path::new(file), Path::new(target)), want, "{target}")
        };
        check("a", "b", false);
        check("lib/a", "../b", false);
        check("lib/a", "./c/../b", false);
        check("a", "../b", true);
        check("lib/a", "../../b", true);
        check("venv/bin/python", "/usr/bin/python3", true);
    }

    #[test]
    fn a_misspelt_setting_is_an_error() {
        let folder = folder(&[(FILE_NAME, "name = 'a'\nruntime = 'python3.13'\nmemry = 1\n")]);
        let error = Project::read(folder.path()).unwrap_err();
        assert!(format!("{error:#}").contains("memry"), "{error:#}");
    }

    #[test]
    fn secrets_come_from_here_or_stay_as_they_are() {
        let project: Project =
            toml::from_str("name = 'a'\nruntime = 'python'\nsecrets = ['A', 'B', 'C']\n[environment]\nD = 'd'\n")
                .unwrap();
        let only =
            |names: &'static str, value: &'static str| move |name: &str| names.contains(name).then(|| value.to_owned());
        let (variables, missing) = project.variables(only("A", "new"), only("AB", "old"));
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(variables, ["A=new", "B=old", "D=d"]);
        assert_eq!(missing, ["C"]);
    }

    #[test]
    fn a_missing_file_says_how_to_make_one() {
        let folder = folder(&[]);
        let error = Project::read(folder.path()).unwrap_err();
        assert!(error.to_string().contains("ephyra new"), "{error}");
    }

    #[test]
    fn the_same_folder_gives_the_same_package() {
        let folder = folder(&[
            (FILE_NAME, "name = 'a'\nruntime = 'python'\nexclude = ['notes.txt']\n"),
            ("app.py", "x"),
            ("lib/b.py", "y"),
            ("notes.txt", "z"),
            ("__pycache__/app.pyc", "no"),
        ]);
        let project = Project::read(folder.path()).unwrap();
        let first = project.package(folder.path()).unwrap();
        assert_eq!(first, project.package(folder.path()).unwrap());
        let mut zip = zip::ZipArchive::new(Cursor::new(first)).unwrap();
        let names: Vec<_> = (0..zip.len())
            .map(|i| zip.by_index(i).unwrap().name().unwrap().into_owned())
            .collect();
        assert_eq!(names, ["app.py", "lib/b.py"]);
    }
}
