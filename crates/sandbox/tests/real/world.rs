//! A platform with a data folder of its own, as its operator sees it from outside.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ephyra_core::digest::Digest;
use ephyra_sandbox::runtimes::Runtime;
use ephyra_sandbox::supervisor::StartCommand;
use ephyra_sandbox::warden::{Options, ServerSide, UID_BASE, start};
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

/// A warden in a child process, and its folder. Ends with this, at the latest.
pub(crate) struct World {
    folder: Option<tempfile::TempDir>,
    pub(crate) warden: Pid,
    is_over: Cell<bool>,
}

/// The server's user in these tests: other platforms on this machine have others.
pub(crate) fn uid_base() -> u32 {
    BASE.with(|base| *base)
}

thread_local! {
    /// Set where the first process asks, and copied with it.
    static BASE: u32 = UID_BASE + 10_000_000 + std::process::id() % 1000 * 10_000;
    /// The data folders that there have been.
    static FOLDERS: RefCell<Vec<PathBuf>> = const { RefCell::new(Vec::new()) };
}

/// The options of these tests: a folder each, and runtimes of this machine.
pub(crate) fn options(folder: &Path) -> Options {
    let mut options = Options::new(folder.join("data"));
    options.uid_base = BASE.with(|base| *base);
    options.drain = Duration::from_secs(5);
    options.files = [(
        ephyra_sandbox::runtimes::Kind::Python,
        vec![("lib/marker.py".to_owned(), b"MARK = 7\n".to_vec())]
            .into_iter()
            .chain(zygote_files())
            .collect(),
    )]
    .into();
    options.zygote = zygote;
    options.zygote_modules = ["json", "random", "ssl", "tempfile", "uuid"].map(str::to_owned).into();
    options
}

/// The zygote's own files, and in place of the runtime a program that runs the script that it is sent.
fn zygote_files() -> impl Iterator<Item = (String, Vec<u8>)> {
    const BOOTSTRAP: &[u8] = b"import os, sys
sys.stdout.reconfigure(write_through=True)
def serve():
    script = b''
    while not script.endswith(b'\\0'):
        part = os.read(3, 65536)
        if not part: os._exit(0)
        script += part
    exec(compile(script[:-1], '<script>', 'exec'), {'__name__': '__main__'})
if __name__ == '__main__':
    serve()
";
    macro_rules! file {
        ($path:literal) => {
            (
                $path,
                &include_bytes!(concat!("../../../../runtimes/python/", $path))[..],
            )
        };
    }
    let files = [
        file!("zygote.py"),
        file!("ephyra_runtime/__init__.py"),
        file!("ephyra_runtime/enter.py"),
        file!("ephyra_runtime/faults.py"),
        file!("ephyra_runtime/lasting.py"),
        file!("ephyra_runtime/logs.py"),
        file!("ephyra_runtime/loop.py"),
        file!("ephyra_runtime/rehearsal.py"),
        file!("ephyra_runtime/renew.py"),
        file!("ephyra_runtime/zygote.py"),
        ("bootstrap.py", BOOTSTRAP),
    ];
    files.into_iter().map(|(path, bytes)| (path.to_owned(), bytes.to_vec()))
}

/// How the zygote of a runtime is started.
fn zygote(runtime: &Runtime) -> Option<StartCommand> {
    let executable = runtime.executable.to_str()?;
    runtime.has_zygote.then(|| StartCommand {
        arguments: [executable, "-X", "utf8", "-S", "/var/runtime/zygote.py"]
            .map(str::to_owned)
            .into(),
        variables: [
            ("LD_LIBRARY_PATH", "/var/task/lib:/opt/lib"),
            ("LAMBDA_TASK_ROOT", "/var/task"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        directory: "/var/task".to_owned(),
    })
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
        FOLDERS.with_borrow_mut(|folders| folders.push(options.data.clone()));
        change(&mut options);
        let warden = ephyra_sys::clone::fork(|| match start(options, serve) {
            Ok(status) => status,
            Err(error) => {
                eprintln!("{error}");
                99
            }
        });
        Self {
            folder: Some(folder),
            warden: warden.expect("this process has one thread"),
            is_over: Cell::new(false),
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
        self.is_over.set(true);
        status
    }

    /// Its data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.as_ref().expect("not taken yet").path().join("data")
    }

    /// The names in its data folder.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.data()).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text"));
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    /// Its folder, for another platform to start in.
    pub(crate) fn into_folder(mut self) -> tempfile::TempDir {
        self.folder.take().expect("not taken yet")
    }

    /// Its control groups.
    pub(crate) fn groups(&self) -> BTreeSet<PathBuf> {
        groups_of(&self.data())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !self.is_over.get() {
            // A case has failed. The second signal does not wait.
            for signal in [Signal::TERM, Signal::INT] {
                kill_process(self.warden, signal).unwrap_or_default();
            }
            waitpid(Some(self.warden), WaitOptions::empty()).unwrap_or_default();
        }
    }
}

/// Whoever runs as the server or in a sandbox: pid and user. The dead that nobody has buried yet do not count.
pub(crate) fn platform_processes() -> Vec<(i32, u32)> {
    let entries = fs::read_dir("/proc").expect("proc is mounted");
    let processes = entries.filter_map(|entry| {
        let pid = entry.ok()?.file_name().into_string().ok()?.parse().ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.split_whitespace().next())
        };
        let uid = field("Uid:")?.parse().ok()?;
        (field("State:")? != "Z").then_some((pid, uid))
    });
    processes
        .filter(|(_, uid)| (uid_base()..uid_base() + 10_000).contains(uid))
        .collect()
}

/// The control groups of all platforms that these tests have started.
pub(crate) fn groups() -> BTreeSet<PathBuf> {
    FOLDERS.with_borrow(|folders| folders.iter().flat_map(|folder| groups_of(folder)).collect())
}

/// The files of loop devices that are in a data folder of these tests, with or without a name.
pub(crate) fn loops() -> Vec<String> {
    let devices = fs::read_dir("/sys/block").expect("sysfs is mounted");
    let files = devices.filter_map(|device| {
        let path = device.ok()?.path().join("loop/backing_file");
        fs::read_to_string(path).ok()
    });
    let is_ours = |file: &String| FOLDERS.with_borrow(|folders| folders.iter().any(|f| Path::new(file).starts_with(f)));
    files.filter(is_ours).collect()
}

/// The control groups of a data folder in all hierarchies.
fn groups_of(data: &Path) -> BTreeSet<PathBuf> {
    let name = format!(
        "ephyra-{}",
        &Digest::of(data.as_os_str().as_encoded_bytes()).to_string()[..16]
    );
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("proc is mounted");
    let groups = mounts.lines().filter(|line| line.contains(" - cgroup"));
    let groups = groups.map(|line| Path::new(line.split(' ').nth(4).expect("a mount point")).join(&name));
    groups.filter(|group| group.exists()).collect()
}

/// The mounts of this process's namespace, without their numbers.
pub(crate) fn mounts() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/mounts").expect("proc is mounted");
    text.lines().map(str::to_owned).collect()
}
