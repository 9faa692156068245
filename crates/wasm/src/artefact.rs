//! Compiled modules: how they are named, and the folder that holds them.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ephyra_core::digest::Digest;
use ephyra_core::revision::Revision;
use parking_lot::Mutex;

/// The version of wasmtime that compiles and runs; has to be that of the dependency, which a test compares.
pub const WASMTIME_VERSION: &str = "48.0.8";
/// Changes whenever the engine's settings do: what was compiled with others cannot be used.
const SETTINGS: u32 = 2;
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

/// The folder of compiled modules. Clones are the same.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
    packages: PathBuf,
    /// What there is of each package: the digests of handlers.
    known: Arc<Mutex<HashMap<Digest, Vec<Digest>>>>,
}

impl Store {
    /// Those of `data`, whose folder is made when it is absent. What was compiled of packages that are gone, by
    /// other versions, or not to the end, is removed. Blocks.
    pub fn open(data: &Path) -> io::Result<Self> {
        let prepared = data.join("prepared");
        let folder = prepared.join(folder().to_string());
        fs::create_dir_all(&folder)?;
        // The host, another user, reads it.
        fs::set_permissions(&folder, Permissions::from_mode(0o755))?;
        remove_others(&prepared, &folder)?;
        let store = Self {
            folder,
            packages: data.join("code"),
            known: Arc::default(),
        };
        store.sweep()?;
        Ok(store)
    }

    /// Whether it is there, and so whole.
    pub fn has(&self, artefact: Artefact) -> bool {
        self.bytes(artefact).is_some()
    }

    /// The size of its file in bytes, when it is there.
    pub fn bytes(&self, artefact: Artefact) -> Option<u64> {
        let metadata = fs::metadata(self.folder.join(artefact.to_string())).ok()?;
        metadata.is_file().then_some(metadata.len())
    }

    /// Whether there is any. Blocks.
    pub fn is_empty(&self) -> bool {
        fs::read_dir(&self.folder).map_or(true, |mut entries| entries.next().is_none())
    }

    /// Writes one, durably and as a whole, unless its package is gone meanwhile. Blocks.
    pub fn write(&self, artefact: Artefact, bytes: &[u8]) -> io::Result<()> {
        let unfinished = self.folder.join(format!("{UNFINISHED}{artefact}"));
        let mut file = File::create(&unfinished)?;
        file.write_all(bytes)?;
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.sync_all()?;
        fs::rename(&unfinished, self.folder.join(artefact.to_string()))?;
        File::open(&self.folder)?.sync_all()?;
        self.note(artefact);
        // Whoever removes the package asks for what is known of it only afterwards.
        if !self.has_package(artefact.package) {
            self.forget(artefact.package);
            self.remove(artefact)?;
        }
        Ok(())
    }

    /// What there is of a package, which from now on counts as gone.
    pub fn forget(&self, package: Digest) -> Option<Vec<Artefact>> {
        let entries = self.known.lock().remove(&package)?;
        Some(entries.into_iter().map(|entry| Artefact { package, entry }).collect())
    }

    fn note(&self, artefact: Artefact) {
        let mut known = self.known.lock();
        let entries = known.entry(artefact.package).or_default();
        if !entries.contains(&artefact.entry) {
            entries.push(artefact.entry);
        }
    }

    fn has_package(&self, package: Digest) -> bool {
        self.packages.join(package.to_string()).is_dir()
    }

    /// Removes one that is of no use. Blocks.
    pub fn remove(&self, artefact: Artefact) -> io::Result<()> {
        match fs::remove_file(self.folder.join(artefact.to_string())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Removes what was compiled of packages that are gone, and what is not whole.
    fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let artefact = name.to_str().and_then(Artefact::of_file_name);
            match artefact.filter(|artefact| self.has_package(artefact.package)) {
                Some(artefact) => self.note(artefact),
                None => fs::remove_file(self.folder.join(name))?,
            }
        }
        Ok(())
    }
}

/// Removes what other versions have compiled: folders that hold nothing else.
fn remove_others(prepared: &Path, own: &Path) -> io::Result<()> {
    for entry in fs::read_dir(prepared)? {
        let path = entry?.path();
        if path == own || !path.is_dir() {
            continue;
        }
        let mut names = Vec::new();
        for file in fs::read_dir(&path)? {
            names.push(file?.file_name());
        }
        let is_ours = |name: &std::ffi::OsString| {
            let name = name.to_string_lossy();
            Artefact::of_file_name(name.strip_prefix(UNFINISHED).unwrap_or(&name)).is_some()
        };
        if !names.is_empty() && names.iter().all(is_ours) {
            fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
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
        let package = |artefact: Artefact| data.path().join("code").join(artefact.package.to_string());
        store.write(gone, b"x").unwrap();
        assert!(!store.has(gone), "its package went while it was compiled");
        for one in [kept, gone] {
            fs::create_dir_all(package(one)).unwrap();
            store.write(one, b"x").unwrap();
            assert!(store.has(one));
        }
        fs::remove_dir(package(gone)).unwrap();
        for odd in ["odd".to_owned(), format!("{UNFINISHED}{kept}")] {
            fs::write(store.folder.join(odd), b"").unwrap();
        }
        let prepared = store.folder.parent().unwrap();
        let (older, other) = (prepared.join("older"), prepared.join("other"));
        for (folder, name) in [(&older, kept.to_string()), (&other, "runtime.jar".to_owned())] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join(name), b"").unwrap();
        }
        let store = Store::open(data.path()).unwrap();
        assert_eq!((store.has(kept), store.has(gone)), (true, false));
        assert_eq!(fs::read_dir(&store.folder).unwrap().count(), 1);
        assert_eq!((older.exists(), other.exists()), (false, true));
        assert_eq!(store.forget(kept.package), Some(vec![kept]));
        assert_eq!(store.forget(kept.package), None);
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
