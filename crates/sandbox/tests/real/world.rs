//! A platform with a data folder of its own, as its operator sees it from outside.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ephyra_sandbox::warden::{Options, ServerSide, StartError, UID_BASE, start};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};

/// Waits for a condition; panics when it does not come true.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(15);
    while !condition() {
        assert!(Instant::now() < end, "never came true: {what}");
        std::thread::yield_now();
    }
}

/// A warden in a child process, and its folder.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) warden: Pid,
}

/// The options of these tests: a folder each, and runtimes of this machine.
pub(crate) fn options(folder: &Path) -> Options {
    let mut options = Options::new(folder.join("data"));
    options.drain = Duration::from_secs(5);
    options.files = [(
        ephyra_sandbox::runtimes::Kind::Python,
        vec![("lib/marker.py".to_owned(), b"MARK = 7\n".to_vec())],
    )]
    .into();
    options
}

impl World {
    /// Starts a platform whose server runs `serve`.
    pub(crate) fn start(change: impl FnOnce(&mut Options), serve: impl FnOnce(ServerSide) -> i32) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self::start_in(folder, change, serve)
    }

    /// Starts a platform in a folder that is there.
    pub(crate) fn start_in(
        folder: tempfile::TempDir,
        change: impl FnOnce(&mut Options),
        serve: impl FnOnce(ServerSide) -> i32,
    ) -> Self {
        let mut options = options(folder.path());
        change(&mut options);
        let warden = ephyra_sys::clone::fork(|| match start(options, serve) {
            Ok(status) => status,
            Err(error) => {
                eprintln!("{error}");
                99
            }
        });
        Self {
            folder,
            warden: warden.expect("this process has one thread"),
        }
    }

    /// Sends the warden a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.warden, signal).expect("the warden lives");
    }

    /// Waits for the warden's end.
    pub(crate) fn wait(&self) -> WaitStatus {
        let (_, status) = waitpid(Some(self.warden), WaitOptions::empty())
            .expect("a child")
            .expect("waited");
        status
    }
}

/// Whoever runs as the server or in a sandbox: pid and user.
pub(crate) fn platform_processes() -> Vec<(i32, u32)> {
    let entries = fs::read_dir("/proc").expect("proc is mounted");
    let processes = entries.filter_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        let pid: i32 = name.parse().ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let uid = status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:"))?
            .split_whitespace()
            .next()?
            .parse()
            .ok()?;
        Some((pid, uid))
    });
    processes
        .filter(|(_, uid)| (UID_BASE..UID_BASE + 10_000).contains(uid))
        .collect()
}

/// The platform's control groups in all hierarchies.
pub(crate) fn groups() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("proc is mounted");
    for line in mounts.lines().filter(|line| line.contains(" - cgroup")) {
        let mount = Path::new(line.split(' ').nth(4).expect("a mount point"));
        let Ok(entries) = fs::read_dir(mount) else { continue };
        found.extend(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("ephyra-"))
        }));
    }
    found
}

/// The mounts of this process's namespace, without their numbers.
pub(crate) fn mounts() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/mounts").expect("proc is mounted");
    text.lines().map(str::to_owned).collect()
}
