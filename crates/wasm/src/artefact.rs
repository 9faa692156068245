//! Compiled modules: how they are named, and the folder that holds them.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ephyra_core::digest::Digest;
use ephyra_core::revision::Revision;

/// The version of wasmtime that compiles and runs; has to be that of the dependency, which a test compares.
pub const WASMTIME_VERSION: &str = "48.0.8";
/// Changes whenever the engine's settings do: what was compiled with others cannot be used.
const SETTINGS: u32 = 1;
/// How the name of a file begins that is not whole.
const UNFINISHED: &str = ".new-";

/// Names what was compiled of a package for a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Artefact {
    /// The package.
    pub package: Digest,
    /// The digest of the handler, which says which file of the package is the module.
    pub entry: Digest,
}

impl Artefact {
    /// What a revision needs.
    pub fn of(revision: &Revision) -> Self {
        Self {
            package: revision.code,
            entry: Digest::of(revision.handler.as_bytes()),
        }
    }

    fn of_file_name(name: &str) -> Option<Self> {
        let (package, entry) = name.split_once('.')?;
        let (package, entry) = (package.parse().ok()?, entry.parse().ok()?);
        Some(Self { package, entry })
    }
}

/// The name of its file.
impl fmt::Display for Artefact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.package, self.entry)
    }
}

/// The name of the folder, which says what its files can be run by: this version, with these settings, on processors
/// that can do what this one can.
pub fn folder() -> Digest {
    let text = format!(
        "wasm {WASMTIME_VERSION} {SETTINGS} {} {}",
        std::env::consts::ARCH,
        processor()
    );
    Digest::of(text.as_bytes())
}

/// What compiled code may make use of.
#[cfg(target_arch = "x86_64")]
fn processor() -> String {
    use std::arch::is_x86_feature_detected as has;
    let features = [
        ("sse3", has!("sse3")),
        ("ssse3", has!("ssse3")),
        ("sse4.1", has!("sse4.1")),
        ("sse4.2", has!("sse4.2")),
        ("popcnt", has!("popcnt")),
        ("avx", has!("avx")),
        ("avx2", has!("avx2")),
        ("fma", has!("fma")),
        ("bmi1", has!("bmi1")),
        ("bmi2", has!("bmi2")),
        ("lzcnt", has!("lzcnt")),
        ("avx512bitalg", has!("avx512bitalg")),
        ("avx512dq", has!("avx512dq")),
        ("avx512f", has!("avx512f")),
        ("avx512vl", has!("avx512vl")),
        ("avx512vbmi", has!("avx512vbmi")),
    ];
    let present = features.iter().filter(|(_, has)| *has).map(|(name, _)| *name);
    present.collect::<Vec<_>>().join(" ")
}

/// What compiled code may make use of: a host that cannot run it says so, and it is compiled anew.
#[cfg(not(target_arch = "x86_64"))]
fn processor() -> String {
    String::new()
}

/// The folder of compiled modules.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
    packages: PathBuf,
}

impl Store {
    /// Those of `data`, whose folder is made when it is absent. Blocks.
    pub fn open(data: &Path) -> io::Result<Self> {
        let folder = data.join("prepared").join(folder().to_string());
        fs::create_dir_all(&folder)?;
        // The host, another user, reads it.
        fs::set_permissions(&folder, Permissions::from_mode(0o755))?;
        let packages = data.join("code");
        Ok(Self { folder, packages })
    }

    /// Whether it is there, and so whole.
    pub fn has(&self, artefact: Artefact) -> bool {
        self.folder.join(artefact.to_string()).is_file()
    }

    /// Whether there is any. Blocks.
    pub fn is_empty(&self) -> bool {
        fs::read_dir(&self.folder).map_or(true, |mut entries| entries.next().is_none())
    }

    /// Writes one, durably and as a whole. Blocks.
    pub fn write(&self, artefact: Artefact, bytes: &[u8]) -> io::Result<()> {
        let unfinished = self.folder.join(format!("{UNFINISHED}{artefact}"));
        let mut file = File::create(&unfinished)?;
        file.write_all(bytes)?;
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.sync_all()?;
        fs::rename(&unfinished, self.folder.join(artefact.to_string()))?;
        File::open(&self.folder)?.sync_all()
    }

    /// Removes one that is of no use. Blocks.
    pub fn remove(&self, artefact: Artefact) -> io::Result<()> {
        match fs::remove_file(self.folder.join(artefact.to_string())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Removes what was compiled of packages that are gone, and what is not whole. Blocks.
    pub fn sweep(&self, being_written: &HashSet<Artefact>) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            let whole = name.strip_prefix(UNFINISHED).unwrap_or(&name);
            let artefact = Artefact::of_file_name(whole);
            let is_needed = artefact.is_some_and(|artefact| {
                let is_whole = whole.len() == name.len();
                self.packages.join(artefact.package.to_string()).is_dir()
                    && (is_whole || being_written.contains(&artefact))
            });
            if !is_needed {
                match fs::remove_file(self.folder.join(&*name)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// The module of a package: the file that the handler names, with or without `.wasm`, or else the only one there is.
/// Blocks.
pub fn find_module(package: &Path, handler: &str) -> io::Result<Result<PathBuf, String>> {
    let is_inside = Path::new(handler)
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_)));
    if is_inside {
        let named = [handler.to_owned(), format!("{handler}.wasm")];
        for name in named.iter().filter(|name| name.ends_with(".wasm")) {
            let file = package.join(name);
            if fs::symlink_metadata(&file).is_ok_and(|metadata| metadata.is_file()) {
                return Ok(Ok(file));
            }
        }
    }
    let mut modules = Vec::new();
    for entry in fs::read_dir(package)? {
        let entry = entry?;
        let is_module = entry.file_type()?.is_file() && entry.path().extension().is_some_and(|ending| ending == "wasm");
        if is_module {
            modules.push(entry.path());
        }
    }
    Ok(match modules.len() {
        1 => Ok(modules.remove(0)),
        0 => Err("The package has no file that ends in .wasm.".to_owned()),
        _ => Err(format!(
            "The package has several files that end in .wasm, and the handler {handler} names none of them."
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artefact(package: &[u8]) -> Artefact {
        Artefact {
            package: Digest::of(package),
            entry: Digest::of(b"app"),
        }
    }

    #[test]
    fn the_version_is_that_of_the_dependency() {
        let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock")).unwrap();
        let entry = format!("name = \"wasmtime\"\nversion = \"{WASMTIME_VERSION}\"\n");
        assert!(lock.contains(&entry), "{WASMTIME_VERSION} is not in Cargo.lock");
    }

    #[test]
    fn what_belongs_to_no_package_is_swept() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        assert!(store.is_empty());
        let (kept, gone) = (artefact(b"kept"), artefact(b"gone"));
        for one in [kept, gone] {
            store.write(one, b"x").unwrap();
            assert!(store.has(one));
        }
        let package = data.path().join("code").join(kept.package.to_string());
        fs::create_dir_all(package).unwrap();
        for odd in ["odd".to_owned(), format!("{UNFINISHED}{kept}")] {
            fs::write(store.folder.join(odd), b"").unwrap();
        }
        store.sweep(&HashSet::from([kept])).unwrap();
        assert_eq!((store.has(kept), store.has(gone)), (true, false));
        assert_eq!(fs::read_dir(&store.folder).unwrap().count(), 2);
        store.sweep(&HashSet::new()).unwrap();
        assert_eq!(fs::read_dir(&store.folder).unwrap().count(), 1);
        store.remove(kept).unwrap();
        store.remove(kept).unwrap();
    }

    #[test]
    fn the_handler_names_the_module_or_there_is_only_one() {
        let package = tempfile::tempdir().unwrap();
        let at = |handler: &str| find_module(package.path(), handler).unwrap();
        assert!(at("app").unwrap_err().contains("no file"));
        fs::write(package.path().join("one.wasm"), b"").unwrap();
        let one = package.path().join("one.wasm");
        for handler in ["one", "one.wasm", "anything.handler", "../one", "/one"] {
            assert_eq!(at(handler), Ok(one.clone()), "{handler}");
        }
        fs::create_dir(package.path().join("below")).unwrap();
        fs::write(package.path().join("below/two.wasm"), b"").unwrap();
        assert_eq!(at("below/two"), Ok(package.path().join("below/two.wasm")));
        fs::write(package.path().join("two.wasm"), b"").unwrap();
        assert!(at("three").unwrap_err().contains("names none of them"));
        assert!(at("below/../two").is_err());
    }
}
