//! Limits and readings of sandboxes through control groups, version 1 and version 2, whichever has the controllers.
//!
//! Each data folder has one group of its own, and in it each sandbox has one. Everything here is plain files below
//! directories that [`Layout`] names, so that tests run both versions against a fake tree.
//! See cgroups(7) and the kernel's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/.

mod v1;
mod v2;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use ephyra_core::limits::{MEMORY_MB_OF_ONE_CPU, PROCESSES};
use serde::{Deserialize, Serialize};

use crate::protocol::FilesPresent;
use crate::zygote::Entry;

/// The time over which CPU is shared out, in microseconds: short, so that a small function does not stand still for
/// long.
const PERIOD_US: u64 = 20_000;
/// The least that the kernel takes as a quota, in microseconds.
const LEAST_QUOTA_US: u64 = 1000;

/// Which interface a sandbox's control files have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum CgroupVersion {
    /// One hierarchy for each controller.
    V1,
    /// The unified hierarchy.
    V2,
}

/// Which controllers are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Controllers {
    pub(crate) memory: bool,
    pub(crate) cpu: bool,
    pub(crate) pids: bool,
    pub(crate) freezer: bool,
}

/// Where control groups are mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The mount point of each controller of version 1.
    v1: BTreeMap<String, PathBuf>,
    /// The mount point of version 2 and its controllers.
    v2: Option<(PathBuf, Vec<String>)>,
}

impl Layout {
    /// What is mounted in this process's mount namespace.
    pub(crate) fn read() -> io::Result<Self> {
        let mut layout = Self::parse(&fs::read_to_string("/proc/self/mountinfo")?);
        if let Some((mount, controllers)) = &mut layout.v2 {
            let text = fs::read_to_string(mount.join("cgroup.controllers"))?;
            *controllers = text.split_whitespace().map(str::to_owned).collect();
        }
        Ok(layout)
    }

    /// Reads mountinfo; see proc_pid_mountinfo(5). A controller that is mounted twice counts where it is first.
    fn parse(mountinfo: &str) -> Self {
        let mut layout = Self::default();
        for line in mountinfo.lines() {
            let Some((before, after)) = line.split_once(" - ") else {
                continue;
            };
            let (Some(mount), mut after) = (before.split(' ').nth(4), after.split(' ')) else {
                continue;
            };
            match after.next() {
                Some("cgroup2") if layout.v2.is_none() => layout.v2 = Some((mount.into(), Vec::new())),
                Some("cgroup") => {
                    for option in after.nth(1).unwrap_or_default().split(',') {
                        layout.v1.entry(option.to_owned()).or_insert_with(|| mount.into());
                    }
                }
                _ => {}
            }
        }
        layout
    }

    /// Whether there are control groups at all.
    pub(crate) fn has_any(&self) -> bool {
        self.v2.is_some() || !self.v1.is_empty()
    }

    /// Whether version 2 has all that is wanted; its freezer is part of its core.
    fn is_v2_enough(&self, wanted: Controllers) -> bool {
        self.v2.as_ref().is_some_and(|(_, controllers)| {
            let has = |name: &str| controllers.iter().any(|controller| controller == name);
            (!wanted.memory || has("memory")) && (!wanted.cpu || has("cpu")) && (!wanted.pids || has("pids"))
        })
    }

    /// The version that is used when `wanted` is: version 2 when it has everything.
    pub(crate) fn version(&self, wanted: Controllers) -> CgroupVersion {
        if self.is_v2_enough(wanted) {
            CgroupVersion::V2
        } else {
            CgroupVersion::V1
        }
    }

    /// Which of `wanted` are there in the version that is used.
    pub(crate) fn found(&self, wanted: Controllers) -> Controllers {
        if self.is_v2_enough(wanted) {
            return wanted;
        }
        let has = |name: &str| self.v1.contains_key(name);
        Controllers {
            memory: wanted.memory && has("memory"),
            cpu: wanted.cpu && has("cpu") && has("cpuacct"),
            pids: wanted.pids && has("pids"),
            freezer: wanted.freezer && has("freezer"),
        }
    }
}

/// What a sandbox may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Its memory in MB; CPU comes in proportion.
    pub(crate) memory_mb: u32,
}

impl Limits {
    fn memory_bytes(self) -> u64 {
        u64::from(self.memory_mb) << 20
    }

    /// `whole` at one CPU's worth of memory, in proportion otherwise.
    fn share(self, whole: u64, least: u64, most: u64) -> u64 {
        (whole * u64::from(self.memory_mb) / u64::from(MEMORY_MB_OF_ONE_CPU)).clamp(least, most)
    }

    fn quota_us(self) -> u64 {
        self.share(PERIOD_US, LEAST_QUOTA_US, u64::MAX)
    }
}

/// What is written into a sandbox's CPU control file to cap it to the share that comes with its memory.
pub(crate) fn cpu_cap(version: CgroupVersion, memory_mb: u32) -> String {
    let quota = Limits { memory_mb }.quota_us();
    match version {
        CgroupVersion::V1 => quota.to_string(),
        CgroupVersion::V2 => format!("{quota} {PERIOD_US}"),
    }
}

/// A sandbox's control files, opened for the server.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) freezer: Option<OwnedFd>,
    pub(crate) cpu_usage: Option<OwnedFd>,
    pub(crate) peak_memory: Option<OwnedFd>,
    pub(crate) memory_events: Option<OwnedFd>,
    pub(crate) cpu_cap: Option<OwnedFd>,
}

impl Files {
    /// Which are there, and they themselves in the same order.
    pub(crate) fn into_parts(self, version: CgroupVersion) -> (FilesPresent, Vec<OwnedFd>) {
        let present = FilesPresent {
            version,
            freezer: self.freezer.is_some(),
            cpu_usage: self.cpu_usage.is_some(),
            peak_memory: self.peak_memory.is_some(),
            memory_events: self.memory_events.is_some(),
            cpu_cap: self.cpu_cap.is_some(),
        };
        let files = [
            self.freezer,
            self.cpu_usage,
            self.peak_memory,
            self.memory_events,
            self.cpu_cap,
        ];
        (present, files.into_iter().flatten().collect())
    }

    /// The reverse of [`Files::into_parts`]; `None` when there are fewer or more descriptors than `present` says.
    pub(crate) fn from_parts(present: FilesPresent, descriptors: Vec<OwnedFd>) -> Option<Self> {
        let mut descriptors = descriptors.into_iter();
        let mut complete = true;
        let mut next = |is_there: bool| {
            let file = if is_there { descriptors.next() } else { None };
            complete &= file.is_some() == is_there;
            file
        };
        let files = Self {
            freezer: next(present.freezer),
            cpu_usage: next(present.cpu_usage),
            peak_memory: next(present.peak_memory),
            memory_events: next(present.memory_events),
            cpu_cap: next(present.cpu_cap),
        };
        (complete && descriptors.next().is_none()).then_some(files)
    }
}

/// The groups of one data folder.
#[derive(Clone, Debug)]
pub(crate) enum Tree {
    /// Version 1.
    V1(v1::Tree),
    /// Version 2.
    V2(v2::Tree),
}

impl Tree {
    /// The tree `name` below `parent` (a path in the hierarchies, from their roots) with the `wanted` controllers,
    /// which must have been found. Writes nothing yet.
    pub(crate) fn new(layout: &Layout, wanted: Controllers, parent: &Path, name: &str) -> Self {
        let below = parent.strip_prefix("/").unwrap_or(parent).join(name);
        match (&layout.v2, layout.version(wanted)) {
            (Some((mount, _)), CgroupVersion::V2) => Self::V2(v2::Tree::new(mount, &below, wanted)),
            _ => Self::V1(v1::Tree::new(&layout.v1, &below, wanted)),
        }
    }

    /// The interface.
    pub(crate) fn version(&self) -> CgroupVersion {
        match self {
            Self::V1(_) => CgroupVersion::V1,
            Self::V2(_) => CgroupVersion::V2,
        }
    }

    /// Makes the folder's own group.
    pub(crate) fn make_base(&self) -> io::Result<()> {
        match self {
            Self::V1(tree) => tree.make_base(),
            Self::V2(tree) => tree.make_base(),
        }
    }

    /// Makes a group, without limits.
    pub(crate) fn make(&self, name: &str) -> io::Result<()> {
        self.bases().try_for_each(|base| fs::create_dir(base.join(name)))
    }

    /// Sets what is the same for all sandboxes' groups.
    pub(crate) fn settle(&self, name: &str) -> io::Result<()> {
        match self {
            Self::V1(tree) => tree.settle(name),
            Self::V2(tree) => tree.settle(name),
        }
    }

    /// Sets a new group's own limits, all but the CPU cap.
    pub(crate) fn limit(&self, name: &str, limits: Limits) -> io::Result<()> {
        match self {
            Self::V1(tree) => tree.limit(name, limits),
            Self::V2(tree) => tree.limit(name, limits),
        }
    }

    /// Changes the limits of a group that is in use.
    pub(crate) fn change(&self, name: &str, from: Limits, to: Limits) -> io::Result<()> {
        match self {
            Self::V1(tree) => tree.change(name, from, to),
            Self::V2(tree) => tree.limit(name, to),
        }
    }

    /// How a process that is not cloned here joins a group.
    pub(crate) fn entry(&self, name: &str) -> io::Result<Entry> {
        match self {
            Self::V1(tree) => tree.tasks(name).map(Entry::V1),
            Self::V2(tree) => tree.open(name).map(Entry::V2),
        }
    }

    /// The directory that a new process is cloned into; only version 2 can do so.
    pub(crate) fn clone_target(&self, name: &str) -> io::Result<Option<OwnedFd>> {
        match self {
            Self::V1(_) => Ok(None),
            Self::V2(tree) => tree.open(name).map(Some),
        }
    }

    /// Moves this process into a group, where it was not cloned into it.
    pub(crate) fn join(&self, name: &str) -> io::Result<()> {
        match self {
            Self::V1(tree) => tree.join(name),
            Self::V2(_) => Ok(()),
        }
    }

    /// Opens a group's control files for the server.
    pub(crate) fn files(&self, name: &str) -> io::Result<Files> {
        match self {
            Self::V1(tree) => tree.files(name),
            Self::V2(tree) => tree.files(name),
        }
    }

    /// Lets what has been killed die, whatever keeps it from doing so. In version 2, kills it once more.
    pub(crate) fn let_die(&self, name: &str) -> io::Result<()> {
        match self {
            Self::V1(tree) => tree.let_die(name),
            Self::V2(tree) => tree.let_die(name),
        }
    }

    /// Removes a group in which nothing runs any more; `false` when the kernel still counts something in it.
    pub(crate) fn remove(&self, name: &str) -> io::Result<bool> {
        let mut is_gone = true;
        for base in self.bases() {
            is_gone &= remove_one(&base.join(name))?;
        }
        Ok(is_gone)
    }

    /// What is left of the folder's groups: their processes, to be killed, after having been let go.
    pub(crate) fn leftovers(&self) -> io::Result<Vec<i32>> {
        let mut processes = Vec::new();
        for name in self.names()? {
            for base in self.bases() {
                processes.extend(processes_in(&base.join(&name))?);
            }
        }
        processes.sort_unstable();
        processes.dedup();
        Ok(processes)
    }

    /// The groups that are there.
    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for base in self.bases() {
            let entries = match fs::read_dir(base) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    names.extend(entry.file_name().into_string());
                }
            }
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// Removes the folder's own group once no sandbox's is left in it.
    pub(crate) fn remove_base(&self) -> io::Result<bool> {
        if let Self::V1(tree) = self {
            tree.remove_anchor()?;
        }
        let mut is_gone = true;
        for base in self.bases() {
            is_gone &= remove_one(base)?;
        }
        Ok(is_gone)
    }

    fn bases(&self) -> impl Iterator<Item = &PathBuf> {
        let (one, many) = match self {
            Self::V1(tree) => (None, Some(tree.bases())),
            Self::V2(tree) => (Some(tree.base()), None),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

fn remove_one(directory: &Path) -> io::Result<bool> {
    match fs::remove_dir(directory) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ResourceBusy | io::ErrorKind::DirectoryNotEmpty
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn processes_in(directory: &Path) -> io::Result<Vec<i32>> {
    let text = match fs::read_to_string(directory.join("cgroup.procs")) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound) || is_removed(&error) => return Ok(Vec::new()),
        text => text?,
    };
    // Zero stands for a process outside this pid namespace, which cannot be one of ours.
    Ok(text
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter(|&pid| pid > 0)
        .collect())
}

/// A control file of a group that is removed while it is read.
fn is_removed(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENODEV)
}

/// Writes a value into a control file that is there.
fn put(file: &Path, value: impl std::fmt::Display) -> io::Result<()> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", file.display()));
    let mut open = OpenOptions::new().write(true).open(file).map_err(named)?;
    open.write_all(value.to_string().as_bytes()).map_err(named)
}

/// Writes a value into a control file that not every kernel has.
fn put_if_there(file: &Path, value: impl std::fmt::Display) -> io::Result<()> {
    if file.exists() { put(file, value) } else { Ok(()) }
}

fn open_for(file: &Path, writes: bool) -> io::Result<OwnedFd> {
    let open = OpenOptions::new().read(!writes).write(writes).open(file);
    open.map(OwnedFd::from)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))
}

/// A freezer file of version 1 is also read back.
fn open_for_both(file: &Path) -> io::Result<OwnedFd> {
    Ok(OpenOptions::new().read(true).write(true).open(file)?.into())
}

fn read_text(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(file)?.read_to_string(&mut text)?;
    Ok(text)
}

/// Processes and threads in a sandbox.
const PIDS: u32 = PROCESSES;

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Controllers = Controllers {
        memory: true,
        cpu: true,
        pids: true,
        freezer: true,
    };

    const HYBRID: &str = "\
30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
34 30 0:30 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
35 30 0:31 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
not a line of mountinfo at all";

    #[test]
    fn the_version_with_the_controllers_is_used() {
        let mut layout = Layout::parse(HYBRID);
        assert_eq!(layout.version(ALL), CgroupVersion::V1);
        assert_eq!(layout.found(ALL), ALL);
        assert_eq!(layout.v1["cpuacct"], Path::new("/sys/fs/cgroup/cpu,cpuacct"));

        layout.v2 = Some((
            "/sys/fs/cgroup".into(),
            vec!["memory".into(), "cpu".into(), "pids".into()],
        ));
        assert_eq!(layout.version(ALL), CgroupVersion::V2);

        let only_freezer = Controllers {
            memory: false,
            cpu: false,
            pids: false,
            freezer: true,
        };
        assert_eq!(Layout::parse(HYBRID).version(only_freezer), CgroupVersion::V2);
        assert!(!Layout::parse("").found(ALL).memory);
    }

    #[test]
    fn cpu_comes_in_proportion_to_memory() {
        assert_eq!(cpu_cap(CgroupVersion::V1, 1769), "20000");
        assert_eq!(cpu_cap(CgroupVersion::V2, 3538), "40000 20000");
        assert_eq!(cpu_cap(CgroupVersion::V1, 128), "1447");
        assert_eq!(Limits { memory_mb: 1 }.quota_us(), LEAST_QUOTA_US);
    }

    #[test]
    fn control_files_keep_their_order_on_the_way() {
        let file = || Some(OwnedFd::from(fs::File::open("/dev/null").unwrap()));
        let files = Files {
            freezer: file(),
            cpu_usage: None,
            peak_memory: file(),
            memory_events: None,
            cpu_cap: file(),
        };
        let (present, mut descriptors) = files.into_parts(CgroupVersion::V1);
        let again = Files::from_parts(present, std::mem::take(&mut descriptors)).unwrap();
        assert!(again.freezer.is_some() && again.cpu_usage.is_none() && again.cpu_cap.is_some());
        let (present, mut descriptors) = again.into_parts(CgroupVersion::V1);
        descriptors.pop();
        assert!(Files::from_parts(present, descriptors).is_none());
    }

    /// A fake hierarchy: directories with the control files that a kernel would have made.
    pub(super) fn fake(root: &Path, directory: &str, files: &[&str]) {
        let directory = root.join(directory);
        fs::create_dir_all(&directory).unwrap();
        for file in files {
            fs::write(directory.join(file), "").unwrap();
        }
    }

    #[test]
    fn groups_are_found_and_removed_in_both_versions() {
        let root = tempfile::tempdir().unwrap();
        let v1: BTreeMap<_, _> = ["memory", "cpu", "cpuacct", "pids", "freezer"]
            .map(|name| (name.to_owned(), root.path().join(name)))
            .into();
        let below = Path::new("ephyra-test");
        let v2 = root.path().join("unified");
        fake(&v2, "", &["cgroup.subtree_control"]);
        fake(&v2, "ephyra-test", &["cgroup.subtree_control"]);
        for tree in [
            Tree::V1(v1::Tree::new(&v1, below, ALL)),
            Tree::V2(v2::Tree::new(&v2, below, ALL)),
        ] {
            fake(root.path(), "freezer/ephyra-test/anchor", &["freezer.state"]);
            tree.make_base().unwrap();
            fs::remove_dir_all(root.path().join("freezer/ephyra-test/anchor")).unwrap();
            tree.make("1").unwrap();
            tree.make("2").unwrap();
            assert_eq!(tree.names().unwrap(), ["1", "2"]);
            let first = tree.bases().next().unwrap().join("1/cgroup.procs");
            fs::write(&first, "12\n0\n7\n").unwrap();
            assert_eq!(tree.leftovers().unwrap(), [7, 12]);
            assert!(!tree.remove("1").unwrap(), "a group that is not empty stays");
            fs::remove_file(first).unwrap();
            assert!(tree.remove("1").unwrap() && tree.remove("2").unwrap());
            assert!(tree.remove("3").unwrap(), "a group that is not there is gone");
            assert!(tree.names().unwrap().is_empty());
        }
    }
}
