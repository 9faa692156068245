//! The roots that guests are given: one for each runtime, built at start in the warden's own mount namespace and
//! copied for each guest, which adds only what is its own (code, layers, /tmp, /proc).

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use ephyra_sys::mount::{Restrictions, restrict};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use crate::mount::{READ_ONLY, attach, attach_as_is, copy_of, new_file_system};
use crate::runtimes::{Kind, OWN_PROGRAM, Runtime};

/// The guest's user and group as it sees itself, the numbers that Lambda has.
pub(crate) const GUEST_UID: u32 = 993;
/// See [`GUEST_UID`].
pub(crate) const GUEST_GID: u32 = 990;
/// The guest's host name.
pub(crate) const HOST_NAME: &str = "sandbox";

/// Where a guest finds what its runtime boots from, from its root.
pub(crate) const BASE: &str = "var/lang/base";
/// Where it finds what was prepared for its function, from its root.
pub(crate) const FUNCTION: &str = "var/lang/function";

/// The files that the platform puts into `/var/runtime` for each family: relative paths and contents.
pub type RuntimeFiles = BTreeMap<Kind, Vec<(String, Vec<u8>)>>;

/// Folders at the root of a system that are links into `/usr` on some hosts and folders on others.
const BESIDE_USR: &[&str] = &["bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// Folders that each guest mounts over, or that programs expect to be there.
const EMPTY: &[&str] = &[
    "var/task", "opt", "tmp", "proc", BASE, FUNCTION, "var/tmp", "run", "root", "home",
];
/// Files of the host's /etc that say nothing about the host: the linker's index and the local time zone.
const COPIED: &[&str] = &["ld.so.cache", "ld.so.conf", "localtime", "mime.types"];
/// Folders of the host's /etc that programs look into: certificates, and configuration of runtimes.
const SHOWN: &[&str] = &["ssl", "pki", "ca-certificates"];

const PASSWD: &str = "root:x:0:0:root:/root:/sbin/nologin\n\
    sbx_user1051:x:993:990::/home/sbx_user1051:/sbin/nologin\n\
    nobody:x:65534:65534:nobody:/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nsbx_group1051:x:990:\nnogroup:x:65534:\n";
const HOSTS: &str = "127.0.0.1 localhost sandbox sandbox.localdomain\n::1 localhost\n";
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n";

/// The device nodes of a guest: name, major and minor number.
const DEVICES: &[(&str, u32, u32)] = &[
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
];

/// Why a root could not be built.
#[derive(Debug, thiserror::Error)]
#[error("the root of {runtime} could not be built: {what}")]
pub struct SkeletonError {
    /// The runtime's identifier.
    pub runtime: String,
    /// What was being done, with the path.
    pub what: String,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Builds the root of `runtime` at `target`, an existing empty folder.
pub(crate) fn build(runtime: &Runtime, files: &RuntimeFiles, target: &Path) -> Result<(), SkeletonError> {
    let mut what = String::new();
    build_at(runtime, files, target, &mut what).map_err(|source| SkeletonError {
        runtime: runtime.identifier.clone(),
        what,
        source,
    })
}

fn build_at(runtime: &Runtime, files: &RuntimeFiles, target: &Path, what: &mut String) -> io::Result<()> {
    let mut at = |step: &str| step.clone_into(what);
    at("the file system");
    // Device nodes are openable in this one mount, which holds no others than those made below.
    let root = new_file_system("tmpfs", &[("size", "16m"), ("nr_inodes", "4096"), ("mode", "0755")])?;
    attach_as_is(&root, target)?;

    at("/usr");
    show(Path::new("/usr"), target)?;
    for name in BESIDE_USR {
        at(name);
        let host = Path::new("/").join(name);
        match fs::symlink_metadata(&host) {
            Ok(metadata) if metadata.is_symlink() => symlink(fs::read_link(&host)?, target.join(name))?,
            Ok(_) => show(&host, target)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    for mount in &runtime.mounts {
        at(&mount.to_string_lossy());
        show(mount, target)?;
    }
    at("/etc");
    etc(target)?;
    at("/dev");
    devices(target)?;
    for folder in EMPTY {
        at(folder);
        make_folders(&target.join(folder))?;
    }
    at("/var/runtime");
    make_folders(&target.join("var/runtime"))?;
    for (name, bytes) in files.get(&runtime.kind).into_iter().flatten() {
        at(name);
        write_below(&target.join("var/runtime"), name, bytes)?;
    }
    if runtime.kind == Kind::Wasm {
        at("this program");
        let program = std::env::current_exe()?;
        let target = target.join(OWN_PROGRAM.trim_start_matches('/'));
        File::create(&target)?;
        attach(&copy_of(&program, false)?, READ_ONLY, false, &target)?;
    }
    at("the whole as read-only");
    restrict(root.as_fd(), Restrictions::READ_ONLY.and(Restrictions::NO_SETUID), true)
}

/// Shows a file or folder of the host at its same path below `root`, read-only.
fn show(host: &Path, root: &Path) -> io::Result<()> {
    let target = root.join(host.strip_prefix("/").unwrap_or(host));
    if host.is_dir() {
        make_folders(&target)?;
    } else {
        make_folders(target.parent().unwrap_or(root))?;
        File::create(&target)?;
    }
    attach(&copy_of(host, true)?, READ_ONLY, true, &target)
}

/// Makes a folder and those above it, traversable for everybody whatever the umask is.
pub(crate) fn make_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        make_folders(parent)?;
    }
    fs::create_dir(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o755))
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.set_permissions(Permissions::from_mode(mode))
}

/// Writes a file by a relative path that stays below `folder`. Everybody may read and execute it.
fn write_below(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let name = Path::new(name);
    if !name.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let path = folder.join(name);
    make_folders(path.parent().unwrap_or(folder))?;
    write(&path, bytes, 0o755)
}

fn etc(root: &Path) -> io::Result<()> {
    let etc = root.join("etc");
    make_folders(&etc)?;
    for (name, text) in [
        ("passwd", PASSWD),
        ("group", GROUP),
        ("hosts", HOSTS),
        ("nsswitch.conf", NSSWITCH),
        ("hostname", HOST_NAME),
        ("resolv.conf", ""),
    ] {
        write(&etc.join(name), text.as_bytes(), 0o644)?;
    }
    let host = Path::new("/etc");
    for name in COPIED {
        if let Some(bytes) = if_there(fs::read(host.join(name)))? {
            write(&etc.join(name), &bytes, 0o644)?;
        }
    }
    for name in SHOWN {
        if host.join(name).is_dir() {
            show(&host.join(name), root)?;
        }
    }
    for name in java_settings(host)? {
        show(&host.join(name), root)?;
    }
    copy_links(&host.join("alternatives"), &etc.join("alternatives"))
}

/// The folders that Debian's JVMs keep their settings in: without them they do not start.
fn java_settings(etc: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(etc)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("java-") && entry.file_type()?.is_dir() {
            names.push(name);
        }
    }
    Ok(names)
}

/// `/etc/alternatives` is a folder of links into /usr.
fn copy_links(from: &Path, to: &Path) -> io::Result<()> {
    let Some(entries) = if_there(fs::read_dir(from))? else {
        return Ok(());
    };
    make_folders(to)?;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_symlink() {
            symlink(fs::read_link(entry.path())?, to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn devices(root: &Path) -> io::Result<()> {
    let dev = root.join("dev");
    make_folders(&dev)?;
    for &(name, major, minor) in DEVICES {
        let node: PathBuf = dev.join(name);
        mknodat(
            CWD,
            &node,
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            makedev(major, minor),
        )?;
        fs::set_permissions(&node, Permissions::from_mode(0o666))?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, dev.join(name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtime_files_stay_in_their_folder() {
        let folder = tempfile::tempdir().unwrap();
        write_below(folder.path(), "lib/a.py", b"x").unwrap();
        assert_eq!(fs::read(folder.path().join("lib/a.py")).unwrap(), b"x");
        for name in ["../a", "/etc/a", "a/../../b", "./a"] {
            assert!(write_below(folder.path(), name, b"x").is_err(), "{name}");
        }
    }
}
