//! Version 2: one directory with all controllers.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::{Controllers, Files, Limits, PERIOD_US, PIDS, open_for, put, put_if_there, read_text};

/// The groups of one data folder in the unified hierarchy.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    mount: PathBuf,
    base: PathBuf,
    wanted: Controllers,
}

impl Tree {
    pub(super) fn new(mount: &Path, below: &Path, wanted: Controllers) -> Self {
        Self {
            mount: mount.to_owned(),
            base: mount.join(below),
            wanted,
        }
    }

    pub(super) fn base(&self) -> &PathBuf {
        &self.base
    }

    /// Makes the base and hands the controllers down to it, from the root on.
    pub(super) fn make_base(&self) -> io::Result<()> {
        fs::create_dir_all(&self.base)?;
        let mut ancestors: Vec<&Path> = self
            .base
            .ancestors()
            .take_while(|directory| directory.starts_with(&self.mount))
            .collect();
        ancestors.reverse();
        ancestors
            .into_iter()
            .try_for_each(|directory| self.hand_down(directory))
    }

    /// Enables the wanted controllers for the children of a group, where they are not yet.
    fn hand_down(&self, directory: &Path) -> io::Result<()> {
        let file = directory.join("cgroup.subtree_control");
        let enabled = read_text(&file)?;
        let is_enabled = |name: &str| enabled.split_whitespace().any(|controller| controller == name);
        let Controllers { memory, cpu, pids, .. } = self.wanted;
        for (name, is_wanted) in [("memory", memory), ("cpu", cpu), ("pids", pids)] {
            if is_wanted && !is_enabled(name) {
                self.enable(directory, &file, name)?;
            }
        }
        Ok(())
    }

    /// A group other than the real root cannot both have processes and hand controllers down. The root that a
    /// container sees is such a group: when all it holds is this process, this process moves out of the way.
    fn enable(&self, directory: &Path, file: &Path, controller: &str) -> io::Result<()> {
        match put(file, format!("+{controller}")) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && self.is_alone_in(directory)? => {
                let own = directory.join("ephyra-warden");
                fs::create_dir_all(&own)?;
                put(&own.join("cgroup.procs"), 0)?;
                put(file, format!("+{controller}"))
            }
            result => result,
        }
    }

    fn is_alone_in(&self, directory: &Path) -> io::Result<bool> {
        let own = std::process::id().to_string();
        Ok(read_text(&directory.join("cgroup.procs"))?.lines().eq([own.as_str()]))
    }

    pub(super) fn settle(&self, name: &str) -> io::Result<()> {
        let group = self.base.join(name);
        if self.wanted.memory {
            put_if_there(&group.join("memory.swap.max"), 0)?;
            // One process without memory leaves the others in no known state: all of them go.
            put_if_there(&group.join("memory.oom.group"), 1)?;
        }
        if self.wanted.pids {
            put(&group.join("pids.max"), PIDS)?;
        }
        if self.wanted.cpu {
            put(&group.join("cpu.max"), format!("max {PERIOD_US}"))?;
        }
        Ok(())
    }

    pub(super) fn limit(&self, name: &str, limits: Limits) -> io::Result<()> {
        let group = self.base.join(name);
        if self.wanted.memory {
            put(&group.join("memory.max"), limits.memory_bytes())?;
        }
        if self.wanted.cpu {
            put(&group.join("cpu.weight"), limits.share(100, 1, 10_000))?;
            put_if_there(&group.join("cpu.max.burst"), limits.quota_us())?;
        }
        Ok(())
    }

    pub(super) fn open(&self, name: &str) -> io::Result<OwnedFd> {
        open_for(&self.base.join(name), false)
    }

    pub(super) fn files(&self, name: &str) -> io::Result<Files> {
        let group = self.base.join(name);
        let Controllers {
            memory, cpu, freezer, ..
        } = self.wanted;
        let open =
            |is_wanted: bool, file: &str, writes| is_wanted.then(|| open_for(&group.join(file), writes)).transpose();
        // Kernels before 5.19 do not keep the peak; what is used now is the nearest there is.
        let peak = if group.join("memory.peak").exists() {
            "memory.peak"
        } else {
            "memory.current"
        };
        Ok(Files {
            freezer: open(freezer, "cgroup.freeze", true)?,
            cpu_usage: open(cpu, "cpu.stat", false)?,
            peak_memory: open(memory, peak, false)?,
            memory_events: open(memory, "memory.events", false)?,
            cpu_cap: open(cpu, "cpu.max", true)?,
        })
    }

    /// Frozen processes of version 2 die when killed, but many that share a small cap die very slowly. Kernels before
    /// 5.14 have no `cgroup.kill`; there the end of pid 1 ends the others.
    pub(super) fn let_die(&self, name: &str) -> io::Result<()> {
        let group = self.base.join(name);
        put_if_there(&group.join("cgroup.kill"), 1)?;
        if self.wanted.cpu {
            put(&group.join("cpu.max"), format!("max {PERIOD_US}"))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::fake;
    use super::*;

    const ALL: Controllers = Controllers {
        memory: true,
        cpu: true,
        pids: true,
        freezer: true,
    };

    #[test]
    fn limits_are_written_where_version_2_has_them() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        fake(path, "", &["cgroup.subtree_control"]);
        fake(path, "e", &["cgroup.subtree_control"]);
        fake(
            path,
            "e/1",
            &[
                "memory.max",
                "memory.swap.max",
                "memory.oom.group",
                "memory.peak",
                "memory.events",
            ],
        );
        fake(
            path,
            "e/1",
            &["pids.max", "cpu.weight", "cpu.max", "cpu.max.burst", "cpu.stat"],
        );
        fake(path, "e/1", &["cgroup.freeze", "cgroup.kill"]);
        let tree = Tree::new(path, Path::new("e"), ALL);
        tree.make_base().unwrap();
        tree.settle("1").unwrap();
        tree.limit("1", Limits { memory_mb: 3538 }).unwrap();
        let read = |file: &str| fs::read_to_string(path.join(file)).unwrap();
        assert_eq!(read("e/1/memory.max"), (3538_u64 << 20).to_string());
        assert_eq!(read("e/1/memory.swap.max"), "0");
        assert_eq!(read("e/1/memory.oom.group"), "1");
        assert_eq!(read("e/1/cpu.weight"), "200");
        assert_eq!(read("e/1/cpu.max"), "max 20000", "a group starts without a cap");
        assert_eq!(read("e/1/pids.max"), "1024");
        let files = tree.files("1").unwrap();
        assert!(files.freezer.is_some() && files.peak_memory.is_some());
        tree.let_die("1").unwrap();
        assert_eq!(read("e/1/cgroup.kill"), "1");
    }

    #[test]
    fn controllers_are_handed_down_from_the_root_once() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        fake(path, "", &[]);
        fs::write(path.join("cgroup.subtree_control"), "cpu memory pids\n").unwrap();
        fake(path, "slice", &["cgroup.subtree_control"]);
        fake(path, "slice/e", &["cgroup.subtree_control"]);
        Tree::new(path, Path::new("slice/e"), ALL).make_base().unwrap();
        let read = |file: &str| fs::read_to_string(path.join(file)).unwrap();
        assert_eq!(
            read("cgroup.subtree_control"),
            "cpu memory pids\n",
            "nothing was to be done at the root"
        );
        // A fake file keeps what was written first where later writes are shorter or as long.
        assert!(read("slice/cgroup.subtree_control").starts_with("+"));
        assert!(read("slice/e/cgroup.subtree_control").starts_with("+"));
    }
}
