//! Waits for changes of a project's folder: inotify(7), so that nothing is done while nothing changes.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, timeout};

/// A change is over when nothing more has happened for so long: editors write, rename and delete.
const QUIET: Duration = Duration::from_millis(25);
/// What goes on for longer is looked at meanwhile.
const AT_MOST: Duration = Duration::from_millis(150);
/// Folders that are watched at most; more is no function's source.
const FOLDERS: usize = 8192;
/// How many names of what has changed are kept.
const NAMES: usize = 16;
/// Room for the events of one read.
const BUFFER: usize = 16 * 1024;

/// A folder, with all below it that is not left out.
pub(super) struct Watch {
    root: PathBuf,
    inotify: AsyncFd<OwnedFd>,
    /// Where the kernel's numbers of watches are.
    folders: HashMap<i32, PathBuf>,
}

/// What has happened at once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Names of what has changed, below the folder; some of them when there are many.
    pub(super) names: Vec<String>,
    /// When the first of it was seen.
    pub(super) since: Option<Instant>,
}

impl Watch {
    /// Watches a folder, but for what `excludes` says by name.
    pub(super) fn new(root: &Path, excludes: impl Fn(&OsStr) -> bool) -> anyhow::Result<Self> {
        let inotify =
            inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).context("folders cannot be watched")?;
        #[expect(
            deprecated,
            reason = "it is unsound for types that lie about their descriptor; an owned one does not"
        )]
        let inotify = AsyncFd::new(inotify)?;
        let mut watch = Self {
            root: root.to_owned(),
            inotify,
            folders: HashMap::new(),
        };
        watch.look(&excludes)?;
        Ok(watch)
    }

    /// Watches folders that are new. One that is watched already stays so.
    pub(super) fn look(&mut self, excludes: &impl Fn(&OsStr) -> bool) -> anyhow::Result<()> {
        let mut open = vec![PathBuf::new()];
        while let Some(below) = open.pop() {
            let folder = self.root.join(&below);
            let flags = WatchFlags::CLOSE_WRITE
                | WatchFlags::CREATE
                | WatchFlags::DELETE
                | WatchFlags::MOVED_FROM
                | WatchFlags::MOVED_TO
                | WatchFlags::ATTRIB
                | WatchFlags::ONLYDIR;
            match inotify::add_watch(&self.inotify, &folder, flags) {
                Ok(number) => {
                    self.folders.insert(number, below.clone());
                }
                // Gone again, or another thing by now: that is a change of its own.
                Err(Errno::NOENT | Errno::NOTDIR) if !below.as_os_str().is_empty() => continue,
                Err(Errno::NOSPC) => bail!(
                    "{} cannot be watched: raise fs.inotify.max_user_watches with sysctl(8), or exclude folders",
                    folder.display()
                ),
                Err(error) => {
                    return Err(error).with_context(|| format!("{} cannot be watched", folder.display()));
                }
            }
            if self.folders.len() > FOLDERS {
                bail!("{} has more than {FOLDERS} folders: exclude some", self.root.display());
            }
            let Ok(entries) = std::fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries.flatten() {
                let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                if is_folder && !excludes(&entry.file_name()) {
                    open.push(below.join(entry.file_name()));
                }
            }
        }
        Ok(())
    }

    /// Waits for changes, and until they are over.
    pub(super) async fn changes(&mut self, excludes: &impl Fn(&OsStr) -> bool) -> anyhow::Result<Changes> {
        let mut changes = Changes::default();
        while changes.since.is_none() {
            self.read(excludes, &mut changes).await?;
        }
        let end = Instant::now() + AT_MOST;
        while Instant::now() < end {
            match timeout(QUIET, self.read(excludes, &mut changes)).await {
                Ok(read) => read?,
                Err(_) => break,
            }
        }
        self.look(excludes)?;
        Ok(changes)
    }

    /// Waits for events and notes those that concern us.
    async fn read(&mut self, excludes: &impl Fn(&OsStr) -> bool, changes: &mut Changes) -> anyhow::Result<()> {
        let mut ready = self.inotify.readable().await?;
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => {
                    ready.clear_ready();
                    return Ok(());
                }
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error).context("changes cannot be read"),
            };
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                changes.note("(more than can be told)".to_owned());
                continue;
            }
            let number = event.wd();
            if event.events().contains(ReadFlags::IGNORED) {
                // The folder is gone; its parent tells so, unless it is the first.
                if self
                    .folders
                    .remove(&number)
                    .is_some_and(|below| below.as_os_str().is_empty())
                {
                    bail!("{} is gone", self.root.display());
                }
                continue;
            }
            let Some(name) = event.file_name().map(CStr::to_bytes).map(OsStr::from_bytes) else {
                continue;
            };
            if !excludes(name)
                && !is_passing(name)
                && let Some(below) = self.folders.get(&number)
            {
                changes.note(below.join(name).display().to_string());
            }
        }
    }
}

impl Changes {
    fn note(&mut self, name: String) {
        self.since.get_or_insert_with(Instant::now);
        if self.names.len() < NAMES && !self.names.contains(&name) {
            self.names.push(name);
        }
    }
}

/// Whether a file is an editor's own: vim's and emacs's, and those that end with a tilde.
fn is_passing(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.ends_with(b"~") || name.starts_with(b".#") || name.ends_with(b".swp") || name == b"4913"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excludes(name: &OsStr) -> bool {
        name == "__pycache__"
    }

    async fn next(watch: &mut Watch) -> Vec<String> {
        let changes = timeout(Duration::from_secs(20), watch.changes(&excludes)).await;
        let mut names = changes.expect("a change").unwrap().names;
        names.sort();
        names
    }

    #[tokio::test]
    async fn changes_are_told_once_and_new_folders_are_watched() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("lib")).unwrap();
        let mut watch = Watch::new(folder.path(), excludes).unwrap();
        std::fs::write(path("app.py"), "1").unwrap();
        std::fs::write(path("lib/a.py"), "1").unwrap();
        std::fs::create_dir(path("__pycache__")).unwrap();
        std::fs::write(path("app.py~"), "1").unwrap();
        assert_eq!(next(&mut watch).await, ["app.py", "lib/a.py"]);
        std::fs::create_dir(path("more")).unwrap();
        assert_eq!(next(&mut watch).await, ["more"]);
        std::fs::write(path("__pycache__/app.pyc"), "1").unwrap();
        std::fs::write(path("more/b.py"), "1").unwrap();
        assert_eq!(next(&mut watch).await, ["more/b.py"]);
        std::fs::rename(path("more/b.py"), path("c.py")).unwrap();
        assert_eq!(next(&mut watch).await, ["c.py", "more/b.py"]);
        std::fs::remove_dir(path("more")).unwrap();
        assert_eq!(next(&mut watch).await, ["more"]);
    }

    #[tokio::test]
    async fn a_folder_that_is_gone_ends_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(folder.path(), excludes).unwrap();
        drop(folder);
        let changes = timeout(Duration::from_secs(20), watch.changes(&excludes)).await;
        let error = changes.expect("an end").unwrap_err();
        assert!(error.to_string().contains("is gone"), "{error}");
        assert!(Watch::new(Path::new("/does/not/exist"), excludes).is_err());
    }
}
