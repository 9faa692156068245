//! Asking interpreters for their version: each is run once, all at the same time, under a time limit.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Kind;

/// How long all interpreters together may take: a second, but for a machine that is busy with everything else, as when it
/// boots. What is not heard by then is not there until the next start.
const TIME: Duration = Duration::from_secs(20);
/// The most that an interpreter may say, in bytes.
const OUTPUT_BYTES: u64 = 16 * 1024;

/// What an interpreter says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) kind: Kind,
    pub(super) executable: PathBuf,
    /// The folder that its own files are in.
    pub(super) prefix: PathBuf,
    pub(super) version: String,
    /// Whether it says that it has what its zygote needs.
    pub(super) has_zygote: bool,
}

/// Prints version, prefix and whether it has all that its zygote needs, a line each: `base_prefix` is right in virtual
/// environments too. Some are built without `_ctypes`; the processors are those whose calls `enter.py` has numbers of.
const PYTHON: &str = "import os, platform, sys
print(platform.python_version(), sys.base_prefix, sep='\\n')
try:
    import _ctypes, _socket
    print('zygote' if os.uname().machine in ('x86_64', 'aarch64') else 'no')
except ImportError:
    print('no')";
const ZYGOTE: &str = "zygote";
const NODE: &str = "console.log(process.version + '\\n' + process.execPath)";

/// Asks `candidates`, in their order; those that do not answer in time, or not sensibly, are left out.
pub(super) fn ask(candidates: Vec<(Kind, PathBuf)>, uid: Option<u32>) -> Vec<Answer> {
    let end = Instant::now() + TIME;
    let asked: Vec<_> = candidates
        .into_iter()
        .map(|(kind, executable)| {
            let child = start(kind, &executable, uid);
            (kind, executable, child)
        })
        .collect();
    asked
        .into_iter()
        .filter_map(|(kind, executable, child)| finish(kind, executable, child, end))
        .collect()
}

/// Runs an interpreter with no environment and none of our privileges: as `uid`, or else as its owner, who could
/// already do what it does. Only an interpreter of root's that nobody else can reach is run as root.
fn start(kind: Kind, executable: &Path, uid: Option<u32>) -> std::io::Result<Child> {
    let command = |uid: Option<u32>| {
        let mut command = Command::new(executable);
        match kind {
            Kind::Node => command.args(["-e", NODE]),
            Kind::Java => command.args(["-XshowSettings:properties", "-version"]),
            Kind::Python | Kind::Wasm | Kind::Provided => command.args(["-I", "-S", "-c", PYTHON]),
        };
        command.env_clear().current_dir("/").stdin(Stdio::null());
        // Java says it on its standard error.
        if kind == Kind::Java {
            command.stdout(Stdio::null()).stderr(Stdio::piped());
        } else {
            command.stdout(Stdio::piped()).stderr(Stdio::null());
        }
        if let Some(uid) = uid {
            command.uid(uid).gid(uid).process_group(0);
        }
        command
    };
    let is_root = rustix::process::geteuid().is_root();
    let Some(uid) = uid.filter(|_| is_root) else {
        return command(None).spawn();
    };
    match command(Some(uid)).spawn() {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            let owner = executable.metadata()?.uid();
            command(Some(owner).filter(|&owner| owner != 0)).spawn()
        }
        started => started,
    }
}

fn finish(kind: Kind, executable: PathBuf, child: std::io::Result<Child>, end: Instant) -> Option<Answer> {
    let failed = |error: &dyn std::fmt::Display| {
        tracing::warn!(executable = %executable.display(), %error, "an interpreter did not say its version");
    };
    let mut child = child.inspect_err(|error| failed(error)).ok()?;
    let Some(text) = output(&mut child, end) else {
        failed(&"no answer in time");
        return None;
    };
    let said = if kind == Kind::Java {
        (property(&text, "java.version"), property(&text, "java.home"))
    } else {
        let mut lines = text.lines();
        (lines.next(), lines.next())
    };
    let (Some(version), Some(prefix)) = said else {
        failed(&"no sensible answer");
        return None;
    };
    let has_zygote = kind == Kind::Python && text.lines().nth(2) == Some(ZYGOTE);
    let prefix = Path::new(prefix)
        .canonicalize()
        .inspect_err(|error| failed(error))
        .ok()?;
    Some(Answer {
        kind,
        version: version.to_owned(),
        prefix,
        executable,
        has_zygote,
    })
}

/// The value of a line `    name = value`.
fn property<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (left, value) = line.split_once(" = ")?;
        (left.trim() == name).then_some(value.trim())
    })
}

/// What a child writes until it ends, if it does so successfully before `end`; it is killed otherwise.
fn output(child: &mut Child, end: Instant) -> Option<String> {
    let mut bytes = Vec::new();
    let stdout = child.stdout.take().map(OwnedFd::from);
    if let Some(pipe) = stdout.or_else(|| child.stderr.take().map(OwnedFd::from)) {
        let mut pipe = std::fs::File::from(pipe);
        let mut part = [0; 4096];
        while (bytes.len() as u64) < OUTPUT_BYTES && is_readable(&pipe, end) {
            match pipe.read(&mut part) {
                Ok(read @ 1..) => bytes.extend_from_slice(&part[..read]),
                _ => break,
            }
        }
    }
    let pid = rustix::process::Pid::from_child(child);
    let ended = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
        .is_ok_and(|process| is_readable(&process, end));
    if !ended {
        child.kill().ok()?;
    }
    let status = child.wait().ok()?;
    (ended && status.success())
        .then(|| String::from_utf8(bytes).ok())
        .flatten()
}

/// Waits until there is something to read, a process's end included; `false` when `end` comes first.
fn is_readable(descriptor: impl AsFd, end: Instant) -> bool {
    let left = end.saturating_duration_since(Instant::now());
    let Ok(wait) = Timespec::try_from(left) else {
        return false;
    };
    let mut polled = [PollFd::new(&descriptor, PollFlags::IN)];
    matches!(rustix::io::retry_on_intr(|| poll(&mut polled, Some(&wait))), Ok(1..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_says_its_version_and_others_are_left_out() {
        let python = std::fs::canonicalize("/usr/bin/python3").unwrap();
        let answers = ask(
            vec![(Kind::Python, "/bin/false".into()), (Kind::Python, python.clone())],
            Some(65_534),
        );
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0].executable, python);
        assert_eq!(answers[0].prefix, Path::new("/usr"));
        assert!(answers[0].version.starts_with("3.") && answers[0].has_zygote);
    }

    #[test]
    fn what_java_says_is_found_among_the_rest() {
        let text = "Property settings:\n    file.encoding = UTF-8\n    java.home = /usr/lib/jvm/a b\n    \
            java.vm.version = 1\n    java.version = 17.0.15\n\nopenjdk version \"17.0.15\"\n";
        assert_eq!(property(text, "java.home"), Some("/usr/lib/jvm/a b"));
        assert_eq!(property(text, "java.version"), Some("17.0.15"));
        assert_eq!(property(text, "java.none"), None);
    }
}
