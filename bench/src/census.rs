//! What the program under test and its guests take of the machine, counted in /proc.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

/// The processes that descend from one.
#[derive(Debug)]
pub(crate) struct Family {
    /// The first one: the warden.
    root: i32,
    /// All of them, the first one at the front.
    members: Vec<i32>,
}

/// What processes of the program itself have in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// The largest of its processes: the server.
    pub(crate) server_kib: u64,
    /// All its processes; pages that they share are counted more than once.
    pub(crate) sum_kib: u64,
    /// How many there are.
    pub(crate) processes: usize,
}

/// What may be left over when environments end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leftovers {
    pub(crate) processes: usize,
    /// Lines of this process's mount table.
    pub(crate) mounts: usize,
    /// Folders of the program's control groups, in all hierarchies.
    pub(crate) cgroups: usize,
    /// Namespaces that a process is in or holds a descriptor of.
    pub(crate) namespaces: usize,
    /// Descriptors of the warden and of the server.
    pub(crate) descriptors: usize,
}

impl Family {
    pub(crate) fn of(root: i32) -> Result<Self> {
        let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
        for entry in fs::read_dir("/proc")? {
            let pid = entry?.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some((pid, parent)) = pid.and_then(|pid| Some((pid, parent_of(pid)?))) {
                children.entry(parent).or_default().push(pid);
            }
        }
        let mut members = vec![root];
        let mut next = 0;
        while let Some(parent) = members.get(next) {
            let of_it = children.remove(parent).unwrap_or_default();
            members.extend(of_it);
            next += 1;
        }
        Ok(Self { root, members })
    }

    /// All of them.
    pub(crate) fn members(&self) -> &[i32] {
        &self.members
    }

    pub(crate) fn count(&self) -> usize {
        self.members.len()
    }

    /// The warden and its largest child of the same program, the server.
    fn own(&self) -> Result<[i32; 2]> {
        let program = program_of(self.root).context("the warden is gone")?;
        let server = self
            .members
            .iter()
            .copied()
            .filter(|pid| *pid != self.root && program_of(*pid).as_ref() == Some(&program))
            .max_by_key(|pid| resident_kib(*pid))
            .context("the server is gone")?;
        Ok([self.root, server])
    }

    pub(crate) fn memory(&self) -> Result<Memory> {
        let program = program_of(self.root).context("the warden is gone")?;
        let sizes: Vec<u64> = self
            .members
            .iter()
            .copied()
            .filter(|pid| program_of(*pid).as_ref() == Some(&program))
            .filter_map(resident_kib)
            .collect();
        Ok(Memory {
            server_kib: sizes.iter().copied().max().context("the server is gone")?,
            sum_kib: sizes.iter().sum(),
            processes: sizes.len(),
        })
    }

    /// What the warden and the server have in memory, in KiB.
    pub(crate) fn own_kib(&self) -> Result<[u64; 2]> {
        let sizes = self.own()?.map(resident_kib);
        Ok([
            sizes[0].context("the warden is gone")?,
            sizes[1].context("the server is gone")?,
        ])
    }

    /// The CPU time that each process in a sandbox has used so far: those with a pid namespace of their own, which
    /// neither warden nor server nor zygotes have.
    pub(crate) fn guest_cpu(&self) -> Result<HashMap<i32, Duration>> {
        let own = pids_of(self.root).context("the warden is gone")?;
        let mut all = self.cpu();
        all.retain(|pid, _| pids_of(*pid).is_some_and(|pids| pids != own));
        Ok(all)
    }

    /// The CPU time that each process has used so far.
    pub(crate) fn cpu(&self) -> HashMap<i32, Duration> {
        self.members
            .iter()
            .filter_map(|pid| Some((*pid, cpu_of(*pid)?)))
            .collect()
    }

    pub(crate) fn leftovers(&self) -> Result<Leftovers> {
        // One of version 2 is below the mount itself, those of version 1 are below the hierarchies that are in it.
        let mount = PathBuf::from("/sys/fs/cgroup");
        let mut tops = vec![mount.clone()];
        for entry in fs::read_dir(&mount)? {
            tops.push(entry?.path());
        }
        let groups = self.groups();
        let all = tops.iter().flat_map(|top| groups.iter().map(|group| top.join(group)));
        let cgroups = all.map(|group| folders(&group, 0)).sum();
        let descriptors = self.own()?.iter().map(|pid| entries(&format!("/proc/{pid}/fd"))).sum();
        Ok(Leftovers {
            processes: self.members.len(),
            mounts: fs::read_to_string("/proc/self/mountinfo")?.lines().count(),
            cgroups,
            namespaces: self.namespaces(),
            descriptors,
        })
    }

    /// The control groups that the guests' are in, from the top of their hierarchies, each named once.
    fn groups(&self) -> HashSet<String> {
        let read = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/cgroup")).ok();
        let mut groups = HashSet::new();
        for text in self.members.iter().filter_map(read) {
            let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
            groups.extend(paths.filter_map(group_of));
        }
        groups
    }

    fn namespaces(&self) -> usize {
        let mut seen = HashSet::new();
        for pid in &self.members {
            for folder in ["ns", "fd"] {
                let Ok(links) = fs::read_dir(format!("/proc/{pid}/{folder}")) else {
                    continue;
                };
                let targets = links.filter_map(|link| fs::read_link(link.ok()?.path()).ok());
                seen.extend(targets.filter(|target| is_namespace(target)));
            }
        }
        seen.len()
    }
}

/// Memory that could be given to programs, in KiB.
pub(crate) fn available_kib() -> Result<u64> {
    fs::read_to_string("/proc/meminfo")?
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemAvailable:")?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .context("/proc/meminfo does not tell the available memory")
}

/// The part of a control group's path that ends with the program's own.
fn group_of(path: &str) -> Option<String> {
    let path = path.trim_start_matches('/');
    let from = path.find("ephyra-")?;
    let end = path[from..].find('/').map_or(path.len(), |length| from + length);
    Some(path[..end].to_owned())
}

fn is_namespace(target: &Path) -> bool {
    let name = target.to_string_lossy();
    let kind = name.split(":[").next().unwrap_or_default();
    ["mnt", "net", "pid", "user", "ipc", "uts", "cgroup", "time"].contains(&kind)
}

fn folders(path: &Path, depth: usize) -> usize {
    if depth > 8 || !path.is_dir() || path.is_symlink() {
        return 0;
    }
    let inner = fs::read_dir(path).into_iter().flatten().flatten();
    1 + inner.map(|entry| folders(&entry.path(), depth + 1)).sum::<usize>()
}

fn entries(path: &str) -> usize {
    fs::read_dir(path).map_or(0, Iterator::count)
}

fn program_of(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// The pid namespace of a process.
fn pids_of(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

fn status_of(pid: i32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

fn parent_of(pid: i32) -> Option<i32> {
    i32::try_from(status_of(pid, "PPid:")?).ok()
}

pub(crate) fn resident_kib(pid: i32) -> Option<u64> {
    status_of(pid, "VmRSS:")
}

/// To the nanosecond, where `stat` counts ticks of 10 ms.
fn cpu_of(pid: i32) -> Option<Duration> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        sum += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(sum))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn own() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn processes_are_found_by_their_parents() {
        assert_eq!(
            parent_of(own()),
            Some(i32::try_from(std::os::unix::process::parent_id()).unwrap())
        );
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        let family = Family::of(own()).unwrap();
        assert!(family.members.contains(&i32::try_from(child.id()).unwrap()));
        assert_eq!(family.members[0], own());
        assert!(family.count() >= 2 && family.namespaces() >= 5);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn control_groups_are_known_by_their_name() {
        assert_eq!(group_of("/ephyra-0a/4"), Some("ephyra-0a".to_owned()));
        assert_eq!(
            group_of("/system.slice/ephyra-0a"),
            Some("system.slice/ephyra-0a".to_owned())
        );
        assert_eq!(group_of("/user.slice"), None);
    }

    #[test]
    fn memory_and_time_are_read() {
        assert_eq!(program_of(own()), std::env::current_exe().ok());
        assert!(resident_kib(own()).unwrap() > 100);
        assert_eq!(resident_kib(-1), None);
        assert!(cpu_of(own()).unwrap() > Duration::ZERO);
        assert!(available_kib().unwrap() > 1000);
        assert!(is_namespace(Path::new("net:[4026531840]")) && !is_namespace(Path::new("socket:[1]")));
    }
}
