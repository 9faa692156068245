//! Version 1: one directory in the hierarchy of each controller.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::{
    Controllers, Files, LEAST_QUOTA_US, Limits, PERIOD_US, PIDS, open_for, open_for_both, put, put_if_there, remove_one,
};

/// The groups of one data folder in the hierarchies of version 1. A controller that is given up has no base.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    memory: Option<PathBuf>,
    cpu: Option<PathBuf>,
    cpuacct: Option<PathBuf>,
    pids: Option<PathBuf>,
    freezer: Option<PathBuf>,
    /// All of the above, each once: controllers may share a hierarchy.
    all: Vec<PathBuf>,
}

impl Tree {
    pub(super) fn new(mounts: &BTreeMap<String, PathBuf>, below: &Path, wanted: Controllers) -> Self {
        let base = |is_wanted: bool, name: &str| mounts.get(name).filter(|_| is_wanted).map(|mount| mount.join(below));
        let mut tree = Self {
            memory: base(wanted.memory, "memory"),
            cpu: base(wanted.cpu, "cpu"),
            cpuacct: base(wanted.cpu, "cpuacct"),
            pids: base(wanted.pids, "pids"),
            freezer: base(wanted.freezer, "freezer"),
            all: Vec::new(),
        };
        let bases = [&tree.memory, &tree.cpu, &tree.cpuacct, &tree.pids, &tree.freezer];
        let mut all: Vec<PathBuf> = bases.into_iter().flatten().cloned().collect();
        all.sort_unstable();
        all.dedup();
        tree.all = all;
        tree
    }

    pub(super) fn bases(&self) -> std::slice::Iter<'_, PathBuf> {
        self.all.iter()
    }

    pub(super) fn make_base(&self) -> io::Result<()> {
        self.all.iter().try_for_each(fs::create_dir_all)?;
        let Some(anchor) = self.anchor() else { return Ok(()) };
        fs::create_dir_all(&anchor)?;
        put(&anchor.join("freezer.state"), "FROZEN")
    }

    /// An empty group that is always frozen. While any group of the machine is, the kernel need not patch its code for
    /// the first one to freeze and the last one to thaw, which would take most of the time of both.
    fn anchor(&self) -> Option<PathBuf> {
        self.freezer.as_ref().map(|base| base.join("anchor"))
    }

    pub(super) fn remove_anchor(&self) -> io::Result<bool> {
        self.anchor().map_or(Ok(true), |anchor| remove_one(&anchor))
    }

    pub(super) fn settle(&self, name: &str) -> io::Result<()> {
        if let Some(base) = &self.memory {
            put(&base.join(name).join("memory.swappiness"), 0)?;
        }
        if let Some(base) = &self.pids {
            put(&base.join(name).join("pids.max"), PIDS)?;
        }
        if let Some(base) = &self.cpu {
            put(&base.join(name).join("cpu.cfs_period_us"), PERIOD_US)?;
        }
        Ok(())
    }

    pub(super) fn limit(&self, name: &str, limits: Limits) -> io::Result<()> {
        if let Some(base) = &self.memory {
            let group = base.join(name);
            put(&group.join("memory.limit_in_bytes"), limits.memory_bytes())?;
            // Memory and swap together may be no more than memory alone. Kernels that do not count swap have no such
            // file; there, a swappiness of zero keeps a group's pages out of swap until it would be killed otherwise.
            put_if_there(&group.join("memory.memsw.limit_in_bytes"), limits.memory_bytes())?;
        }
        if let Some(base) = &self.cpu {
            let group = base.join(name);
            put(&group.join("cpu.shares"), limits.share(1024, 2, 262_144))?;
            // What is unused in one period may be used in the next, so that short work is not cut in slices.
            put_if_there(&group.join("cpu.cfs_burst_us"), limits.quota_us().max(LEAST_QUOTA_US))?;
        }
        Ok(())
    }

    /// Memory alone may never be more than memory and swap together, so what grows starts with the latter.
    pub(super) fn change(&self, name: &str, from: Limits, to: Limits) -> io::Result<()> {
        if let Some(base) = self.memory.as_ref().filter(|_| to.memory_mb > from.memory_mb) {
            put_if_there(&base.join(name).join("memory.memsw.limit_in_bytes"), to.memory_bytes())?;
        }
        self.limit(name, to)
    }

    /// The files that a thread outside joins a group by.
    pub(super) fn tasks(&self, name: &str) -> io::Result<Vec<OwnedFd>> {
        let files = self.all.iter().map(|base| base.join(name).join("tasks"));
        files.map(|file| open_for(&file, true)).collect()
    }

    /// Writing `tasks` moves the calling thread at once; writing `cgroup.procs` waits for a grace period of 5 to 20 ms.
    pub(super) fn join(&self, name: &str) -> io::Result<()> {
        self.all
            .iter()
            .try_for_each(|base| put(&base.join(name).join("tasks"), 0))
    }

    pub(super) fn files(&self, name: &str) -> io::Result<Files> {
        let file = |base: &Option<PathBuf>, file: &str| base.as_ref().map(|base| base.join(name).join(file));
        Ok(Files {
            freezer: file(&self.freezer, "freezer.state")
                .map(|file| open_for_both(&file))
                .transpose()?,
            cpu_usage: file(&self.cpuacct, "cpuacct.usage")
                .map(|file| open_for(&file, false))
                .transpose()?,
            peak_memory: file(&self.memory, "memory.max_usage_in_bytes")
                .map(|file| open_for(&file, false))
                .transpose()?,
            memory_events: file(&self.memory, "memory.oom_control")
                .map(|file| open_for(&file, false))
                .transpose()?,
            cpu_cap: file(&self.cpu, "cpu.cfs_quota_us")
                .map(|file| open_for(&file, true))
                .transpose()?,
        })
    }

    /// Frozen processes of version 1 do not die when killed, and many that share a small cap die very slowly.
    pub(super) fn let_die(&self, name: &str) -> io::Result<()> {
        if let Some(base) = &self.freezer {
            put(&base.join(name).join("freezer.state"), "THAWED")?;
        }
        match &self.cpu {
            Some(base) => put(&base.join(name).join("cpu.cfs_quota_us"), -1),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::fake;
    use super::*;

    #[test]
    fn limits_are_written_where_version_1_has_them() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        let group = "e/1";
        fake(
            path,
            &format!("memory/{group}"),
            &["memory.limit_in_bytes", "memory.swappiness"],
        );
        fake(
            path,
            &format!("memory/{group}"),
            &["memory.max_usage_in_bytes", "memory.oom_control", "tasks"],
        );
        fake(path, &format!("pids/{group}"), &["pids.max", "tasks"]);
        fake(
            path,
            &format!("cpu/{group}"),
            &["cpu.shares", "cpu.cfs_period_us", "cpu.cfs_burst_us"],
        );
        fake(
            path,
            &format!("cpu/{group}"),
            &["cpu.cfs_quota_us", "cpuacct.usage", "tasks"],
        );
        fake(path, &format!("freezer/{group}"), &["freezer.state", "tasks"]);
        let mounts = [
            ("memory", "memory"),
            ("cpu", "cpu"),
            ("cpuacct", "cpu"),
            ("pids", "pids"),
            ("freezer", "freezer"),
        ]
        .map(|(name, mount)| (name.to_owned(), path.join(mount)))
        .into();
        let wanted = Controllers {
            memory: true,
            cpu: true,
            pids: true,
            freezer: true,
        };
        let tree = Tree::new(&mounts, Path::new("e"), wanted);
        assert_eq!(tree.bases().count(), 4, "cpu and cpuacct share a hierarchy");

        tree.settle("1").unwrap();
        tree.limit("1", Limits { memory_mb: 1769 }).unwrap();
        let read = |file: &str| fs::read_to_string(path.join(file)).unwrap();
        assert_eq!(read("memory/e/1/memory.limit_in_bytes"), "1854930944");
        assert_eq!(read("memory/e/1/memory.swappiness"), "0");
        assert_eq!(read("pids/e/1/pids.max"), "1024");
        assert_eq!(read("cpu/e/1/cpu.shares"), "1024");
        assert_eq!(read("cpu/e/1/cpu.cfs_burst_us"), "20000");
        assert_eq!(read("cpu/e/1/cpu.cfs_quota_us"), "", "a group starts without a cap");

        tree.join("1").unwrap();
        assert_eq!(read("freezer/e/1/tasks"), "0");
        tree.let_die("1").unwrap();
        assert_eq!(read("freezer/e/1/freezer.state"), "THAWED");
        assert_eq!(read("cpu/e/1/cpu.cfs_quota_us"), "-1");
        assert!(tree.files("1").unwrap().cpu_cap.is_some());
    }

    #[test]
    fn a_controller_that_is_given_up_is_left_alone() {
        let mounts = [("memory".to_owned(), "/nowhere/memory".into())].into();
        let wanted = Controllers {
            memory: false,
            cpu: true,
            pids: false,
            freezer: false,
        };
        let tree = Tree::new(&mounts, Path::new("e"), wanted);
        assert_eq!(tree.bases().count(), 0);
        assert!(tree.limit("1", Limits { memory_mb: 128 }).is_ok() && tree.let_die("1").is_ok());
        assert!(tree.files("1").unwrap().peak_memory.is_none());
    }
}
