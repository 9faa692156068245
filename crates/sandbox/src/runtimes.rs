//! The language runtimes of this machine: where they are, what they are called, what of the host they need.

mod ask;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use ephyra_core::limits::OPEN_FILES;
use rustix::net::SocketType;
use serde::{Deserialize, Serialize};

use ask::Answer;

/// The oldest Python that is offered: 3.8.
const OLDEST_PYTHON_MINOR: u32 = 8;
/// The oldest Node that is offered.
const OLDEST_NODE_MAJOR: u32 = 16;
/// The oldest Java that is offered.
const OLDEST_JAVA_MAJOR: u32 = 8;
/// Where this program is in a sandbox of [`Kind::Wasm`].
pub const OWN_PROGRAM: &str = "/var/runtime/ephyra";
/// The most interpreters that are asked for their version.
const CANDIDATES: usize = 64;

/// The family of a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// CPython.
    Python,
    /// Node.js.
    Node,
    /// The JVM of a JDK or a JRE.
    Java,
    /// This program itself, which runs WebAssembly.
    Wasm,
    /// An executable `bootstrap` that the function or a layer brings along.
    Provided,
}

impl Kind {
    /// How many files may be open in a sandbox of it: as on Lambda, but where one process serves many functions.
    pub(crate) const fn open_files(self) -> u64 {
        match self {
            Self::Wasm => 64 * OPEN_FILES,
            Self::Python | Self::Node | Self::Java | Self::Provided => OPEN_FILES,
        }
    }

    /// What its control socket is: packets, or, where frames of many calls follow each other, a stream.
    pub(crate) const fn control(self) -> SocketType {
        match self {
            Self::Wasm => SocketType::STREAM,
            Self::Python | Self::Node | Self::Java | Self::Provided => SocketType::SEQPACKET,
        }
    }
}

/// A runtime that functions can use on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// AWS's name for it, such as `python3.13`, `nodejs22.x` or `provided.al2023`.
    pub identifier: String,
    /// Its family.
    pub kind: Kind,
    /// The absolute path of the interpreter, the same outside and inside a sandbox. For [`Kind::Provided`],
    /// `/var/task/bootstrap`; for [`Kind::Wasm`] where this program is inside.
    pub executable: PathBuf,
    /// Its version as it says itself, such as `3.13.0`; empty for [`Kind::Provided`].
    pub version: String,
    /// The files and folders outside `/usr` that it needs, mounted at their same paths.
    pub mounts: Vec<PathBuf>,
    /// Its `javac`; `None` for a JRE, which has none, and for other families.
    pub compiler: Option<PathBuf>,
    /// Whether it can be forked into sandboxes by a process that has booted it once: Python that has `ctypes`.
    pub has_zygote: bool,
}

/// Where to look, and as whom.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// Folders to look in besides the usual ones (`--runtime-path`): each itself and its `bin`.
    pub extra: Vec<PathBuf>,
    /// The user that interpreters are run as to ask for their version, where that user can reach them.
    pub uid: Option<u32>,
    /// The version of what runs WebAssembly, when this program does.
    pub wasm: Option<String>,
}

/// Finds the runtimes of this machine, sorted by family and version. Takes as long as the slowest interpreter takes
/// to say its version, and a few seconds at most.
pub fn discover(search: &Search) -> Vec<Runtime> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut extra = search.extra.clone();
    extra.extend(std::env::var_os("JAVA_HOME").map(PathBuf::from));
    let folders = folders(&path, home.as_deref(), &extra);
    let mut candidates = Vec::new();
    for folder in folders {
        for (kind, executable) in interpreters_in(&folder) {
            if !candidates.iter().any(|(_, known)| *known == executable) {
                candidates.push((kind, executable));
            }
        }
    }
    if candidates.len() > CANDIDATES {
        tracing::warn!(
            found = candidates.len(),
            asked = CANDIDATES,
            "there are more interpreters than are looked at"
        );
        candidates.truncate(CANDIDATES);
    }
    let mut runtimes = choose(ask::ask(candidates, search.uid), home.as_deref());
    runtimes.extend(search.wasm.clone().map(|version| Runtime {
        identifier: "wasm".to_owned(),
        kind: Kind::Wasm,
        executable: OWN_PROGRAM.into(),
        version,
        mounts: Vec::new(),
        compiler: None,
        has_zygote: false,
    }));
    runtimes
}

/// The folders that may hold interpreters, each once, in order of preference.
fn folders(path: &OsStr, home: Option<&Path>, extra: &[PathBuf]) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = extra
        .iter()
        .flat_map(|folder| [folder.clone(), folder.join("bin")])
        .collect();
    folders.extend(["/usr/bin", "/usr/local/bin"].map(PathBuf::from));
    folders.extend(std::env::split_paths(path));
    folders.extend(bins_below(Path::new("/opt")));
    folders.extend(bins_below(Path::new("/usr/lib/jvm")));
    if let Some(home) = home {
        for below in [
            ".pyenv/versions",
            ".nvm/versions/node",
            ".local/share/uv/python",
            ".sdkman/candidates/java",
        ] {
            folders.extend(bins_below(&home.join(below)));
        }
    }
    let mut unique = Vec::new();
    for folder in folders {
        if let Ok(folder) = folder.canonicalize()
            && !unique.contains(&folder)
        {
            unique.push(folder);
        }
    }
    unique
}

fn bins_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect()
}

/// The interpreters of a folder by their canonical paths: real programs, not the scripts that version managers put
/// in front of them.
fn interpreters_in(folder: &Path) -> Vec<(Kind, PathBuf)> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut interpreters: Vec<_> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let kind = kind_of_name(path.file_name()?.to_str()?)?;
            let path = path.canonicalize().ok()?;
            is_program(&path).then_some((kind, path))
        })
        .collect();
    interpreters.sort_unstable();
    interpreters.dedup();
    interpreters
}

/// What a file of this name would be: `python3`, `python3.12`, `node`, `nodejs`, `node22`, `node-22` or `java`.
fn kind_of_name(name: &str) -> Option<Kind> {
    if name == "java" {
        return Some(Kind::Java);
    }
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(rest) = name.strip_prefix("python3") {
        let is_python = rest.is_empty()
            || rest
                .strip_prefix('.')
                .is_some_and(|rest| !rest.is_empty() && is_number(rest));
        return is_python.then_some(Kind::Python);
    }
    let rest = name.strip_prefix("nodejs").or_else(|| name.strip_prefix("node"))?;
    is_number(rest.strip_prefix('-').unwrap_or(rest)).then_some(Kind::Node)
}

fn is_program(path: &Path) -> bool {
    let mut magic = [0; 4];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && magic == *b"\x7fELF"
}

/// One runtime for each identifier: the newest patch, and of equal ones the first found.
fn choose(answers: Vec<Answer>, home: Option<&Path>) -> Vec<Runtime> {
    let mut best: BTreeMap<(Kind, u32, u32), (u32, Runtime)> = BTreeMap::new();
    for answer in answers {
        let Some((key, patch, runtime)) = runtime_of(answer, home) else {
            continue;
        };
        match best.get(&key) {
            Some((known, _)) if *known >= patch => {}
            _ => drop(best.insert(key, (patch, runtime))),
        }
    }
    let provided = ["provided.al2", "provided.al2023"].map(|identifier| Runtime {
        identifier: identifier.to_owned(),
        kind: Kind::Provided,
        executable: "/var/task/bootstrap".into(),
        version: String::new(),
        mounts: Vec::new(),
        compiler: None,
        has_zygote: false,
    });
    best.into_values().map(|(_, runtime)| runtime).chain(provided).collect()
}

type Key = (Kind, u32, u32);

/// What an interpreter's answer makes of it; `None` when it is too old, or what it needs cannot be shown to guests.
fn runtime_of(answer: Answer, home: Option<&Path>) -> Option<(Key, u32, Runtime)> {
    let [major, minor, patch] = match answer.kind {
        Kind::Java => java_version_numbers(&answer.version)?,
        _ => version_numbers(&answer.version)?,
    };
    let (identifier, key, needs) = match answer.kind {
        Kind::Python if major == 3 && minor >= OLDEST_PYTHON_MINOR => {
            let needs = vec![answer.prefix.clone(), answer.executable.clone()];
            (format!("python{major}.{minor}"), (Kind::Python, major, minor), needs)
        }
        // Node needs nothing but itself.
        Kind::Node if major >= OLDEST_NODE_MAJOR => (
            format!("nodejs{major}.x"),
            (Kind::Node, major, 0),
            vec![answer.executable.clone()],
        ),
        Kind::Java if major >= OLDEST_JAVA_MAJOR => {
            let identifier = if major == 8 {
                "java8.al2".to_owned()
            } else {
                format!("java{major}")
            };
            let needs = vec![jdk_of(&answer.prefix).to_owned(), answer.executable.clone()];
            (identifier, (Kind::Java, major, 0), needs)
        }
        _ => return None,
    };
    let mounts = mounts_for(needs);
    if let Some(mount) = mounts.iter().find(|mount| is_too_much(mount, home)) {
        tracing::warn!(
            runtime = identifier,
            executable = %answer.executable.display(),
            folder = %mount.display(),
            "left out: its folder also holds what guests must not see"
        );
        return None;
    }
    // Within Node's and Java's majors the newest minor wins, so both numbers count as the patch.
    let order = if matches!(answer.kind, Kind::Node | Kind::Java) {
        minor.saturating_mul(10_000).saturating_add(patch)
    } else {
        patch
    };
    let runtime = Runtime {
        has_zygote: answer.has_zygote,
        identifier,
        kind: answer.kind,
        executable: answer.executable,
        version: answer.version,
        mounts,
        compiler: (answer.kind == Kind::Java)
            .then(|| jdk_of(&answer.prefix).join("bin/javac"))
            .filter(|compiler| is_program(compiler)),
    };
    Some((key, order, runtime))
}

/// `3.13.0`, `v22.1.0` or `3.15.0rc1` as numbers.
fn version_numbers(version: &str) -> Option<[u32; 3]> {
    let mut parts = version.trim_start_matches('v').splitn(3, '.');
    let mut next = || {
        let part = parts.next()?;
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..end].parse().ok()
    };
    Some([next()?, next()?, next()?])
}

/// The JDK that the home of a JVM belongs to: up to version 8 that is a folder in it.
fn jdk_of(home: &Path) -> &Path {
    match home.parent() {
        Some(parent) if home.ends_with("jre") && is_program(&parent.join("bin/javac")) => parent,
        _ => home,
    }
}

/// `17.0.15`, `25`, `26-ea` or, as Java 8 has it, `1.8.0_392` as numbers.
fn java_version_numbers(version: &str) -> Option<[u32; 3]> {
    let mut numbers = version
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|part| part.parse().ok());
    let major = numbers.next()?;
    let rest = [numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)];
    match (major, rest) {
        (1, [major, _]) => Some([major, 0, numbers.next().unwrap_or(0)]),
        (major, [minor, patch]) => Some([major, minor, patch]),
    }
}

/// `needs` without what lies in `/usr`, which guests have anyway, or within another of them.
fn mounts_for(needs: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut mounts: Vec<PathBuf> = Vec::new();
    for need in needs {
        if !need.starts_with("/usr") && !mounts.iter().any(|mount| need.starts_with(mount)) {
            mounts.push(need);
        }
    }
    mounts
}

/// Whether showing a folder to guests would show more than a runtime: the root, a folder directly below it, or
/// somebody's home.
fn is_too_much(mount: &Path, home: Option<&Path>) -> bool {
    let depth = mount.components().count().saturating_sub(1);
    let is_home = home.is_some_and(|home| home.starts_with(mount))
        || (mount.starts_with("/home") && depth <= 2)
        || ["/proc", "/sys", "/dev", "/run", "/etc"]
            .iter()
            .any(|folder| mount.starts_with(folder));
    !mount.is_absolute() || depth < 2 || is_home
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: Kind, executable: &str, prefix: &str, version: &str) -> Answer {
        Answer {
            kind,
            executable: executable.into(),
            prefix: prefix.into(),
            version: version.into(),
            has_zygote: false,
        }
    }

    #[track_caller]
    fn check(answers: Vec<Answer>, want: &[(&str, &str, &[&str])]) {
        let runtimes = choose(answers, Some(Path::new("/root")));
        let found: Vec<_> = runtimes
            .iter()
            .filter(|runtime| runtime.kind != Kind::Provided)
            .map(|runtime| {
                let mounts = runtime.mounts.iter().map(|mount| mount.to_str().unwrap()).collect();
                (runtime.identifier.as_str(), runtime.version.as_str(), mounts)
            })
            .collect::<Vec<(&str, &str, Vec<&str>)>>();
        let want: Vec<_> = want
            .iter()
            .map(|(id, version, mounts)| (*id, *version, mounts.to_vec()))
            .collect();
        assert_eq!(found, want);
        assert_eq!(runtimes.len(), found.len() + 2, "provided runtimes are always there");
    }

    #[test]
    fn the_newest_patch_of_each_version_is_chosen() {
        check(
            vec![
                answer(Kind::Python, "/usr/bin/python3.11", "/usr", "3.11.2"),
                answer(Kind::Python, "/opt/py/bin/python3.11", "/opt/py", "3.11.7"),
                answer(Kind::Python, "/usr/bin/python3.7", "/usr", "3.7.3"),
                answer(Kind::Node, "/usr/bin/node", "/usr", "v20.9.0"),
                answer(Kind::Node, "/opt/n/bin/node", "/opt/n", "v20.10.0"),
                answer(Kind::Node, "/usr/bin/node14", "/usr", "v14.0.0"),
                answer(Kind::Java, "/usr/lib/jvm/a/bin/java", "/usr/lib/jvm/a", "17.0.9"),
                answer(Kind::Java, "/opt/jdk/bin/java", "/opt/jdk", "17.0.15"),
                answer(Kind::Java, "/opt/eight/jre/bin/java", "/opt/eight/jre", "1.8.0_392"),
                answer(Kind::Java, "/usr/lib/jvm/b/bin/java", "/usr/lib/jvm/b", "25"),
                answer(Kind::Java, "/opt/old/bin/java", "/opt/old", "1.7.0_80"),
            ],
            &[
                ("python3.11", "3.11.7", &["/opt/py"]),
                ("nodejs20.x", "v20.10.0", &["/opt/n/bin/node"]),
                ("java8.al2", "1.8.0_392", &["/opt/eight/jre"]),
                ("java17", "17.0.15", &["/opt/jdk"]),
                ("java25", "25", &[]),
            ],
        );
    }

    #[test]
    fn of_equal_versions_the_first_found_stays() {
        check(
            vec![
                answer(Kind::Python, "/usr/bin/python3.12", "/usr", "3.12.1"),
                answer(Kind::Python, "/opt/py/bin/python3.12", "/opt/py", "3.12.1"),
            ],
            &[("python3.12", "3.12.1", &[])],
        );
    }

    #[test]
    fn what_would_show_too_much_is_left_out() {
        for prefix in ["/", "/root", "/home/ada", "/srv", "relative", "/etc/python"] {
            check(vec![answer(Kind::Python, "/usr/bin/python3.12", prefix, "3.12.1")], &[]);
        }
        let prefix = "/home/me/.pyenv/versions/3.12.1";
        check(
            vec![answer(
                Kind::Python,
                "/home/me/.pyenv/versions/3.12.1/bin/python3.12",
                prefix,
                "3.12.1",
            )],
            &[("python3.12", "3.12.1", &[prefix])],
        );
    }

    #[test]
    fn names_and_versions_are_read() {
        for (name, want) in [
            ("python3", Some(Kind::Python)),
            ("python3.13", Some(Kind::Python)),
            ("python3.13-config", None),
            ("python3.", None),
            ("python2.7", None),
            ("node", Some(Kind::Node)),
            ("nodejs", Some(Kind::Node)),
            ("node-22", Some(Kind::Node)),
            ("node22", Some(Kind::Node)),
            ("node_modules", None),
            ("java", Some(Kind::Java)),
            ("javac", None),
            ("bash", None),
        ] {
            assert_eq!(kind_of_name(name), want, "{name}");
        }
        assert_eq!(version_numbers("3.15.0rc1"), Some([3, 15, 0]));
        assert_eq!(version_numbers("v22.1.0"), Some([22, 1, 0]));
        assert_eq!(version_numbers("3.x"), None);
        for (version, want) in [
            ("17.0.15", Some([17, 0, 15])),
            ("25", Some([25, 0, 0])),
            ("26-ea", Some([26, 0, 0])),
            ("1.8.0_392", Some([8, 0, 392])),
            ("x", None),
        ] {
            assert_eq!(java_version_numbers(version), want, "{version}");
        }
    }
}
