//! The sandboxes' control groups: some are made ahead, each is used once, and they are removed when the kernel lets go.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::cgroup::{CgroupVersion, Files, Limits, Tree};
use crate::zygote::Entry;

/// How many groups are kept ready: as many as a small burst of cold starts takes.
const READY: usize = 4;
/// How long leftovers of an earlier run may take to die.
const SWEEP: Duration = Duration::from_secs(10);

/// The groups of one run. Without a tree there are none, and every operation does nothing.
#[derive(Debug)]
pub(super) struct Groups {
    tree: Option<Tree>,
    made: u64,
    ready: Vec<String>,
    /// Groups whose processes are dead but that the kernel still counts something in.
    leaving: Vec<String>,
}

impl Groups {
    pub(super) fn new(tree: Option<Tree>) -> Self {
        Self {
            tree,
            made: 0,
            ready: Vec::new(),
            leaving: Vec::new(),
        }
    }

    pub(super) fn tree(&self) -> Option<&Tree> {
        self.tree.as_ref()
    }

    /// Ends whatever an earlier run of the same data folder has left, and removes its groups.
    pub(super) fn sweep(&self) -> io::Result<()> {
        let Some(tree) = &self.tree else { return Ok(()) };
        let end = Instant::now() + SWEEP;
        let found = tree.leftovers()?.len();
        if found > 0 {
            tracing::info!(processes = found, "ending what an earlier run has left");
        }
        loop {
            let names = tree.names()?;
            for pid in tree.leftovers()? {
                tracing::debug!(pid, "ending a process that an earlier run has left");
                match Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL)) {
                    None | Some(Ok(()) | Err(rustix::io::Errno::SRCH)) => {}
                    Some(Err(error)) => return Err(error.into()),
                }
            }
            let mut left = 0;
            for name in &names {
                // In the hierarchies of version 1 a group may already be gone in some.
                match tree.let_die(name) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
                left += usize::from(!tree.remove(name)?);
            }
            if left == 0 {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("{left} groups do not end"),
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(super) fn make_base(&mut self) -> io::Result<()> {
        self.tree.as_ref().map_or(Ok(()), Tree::make_base)
    }

    /// Makes one more group ahead; `false` when there are enough.
    pub(super) fn prepare(&mut self) -> io::Result<bool> {
        if self.tree.is_none() || self.ready.len() >= READY {
            return Ok(false);
        }
        let name = self.make()?;
        self.ready.push(name);
        Ok(true)
    }

    fn make(&mut self) -> io::Result<String> {
        self.made += 1;
        let name = self.made.to_string();
        if let Some(tree) = &self.tree {
            tree.make(&name)?;
        }
        Ok(name)
    }

    /// A new group with its limits.
    pub(super) fn take(&mut self, limits: Limits) -> io::Result<String> {
        let name = match self.ready.pop() {
            Some(name) => name,
            None => self.make()?,
        };
        if let Some(tree) = &self.tree
            && let Err(error) = tree.limit(&name, limits)
        {
            self.leave(name);
            return Err(error);
        }
        Ok(name)
    }

    /// Changes a group's limits.
    pub(super) fn change(&self, name: &str, from: Limits, to: Limits) -> io::Result<()> {
        match &self.tree {
            Some(tree) if from != to => tree.change(name, from, to),
            _ => Ok(()),
        }
    }

    /// How a process outside joins a group.
    pub(super) fn entry(&self, name: &str) -> io::Result<Entry> {
        self.tree.as_ref().map_or(Ok(Entry::None), |tree| tree.entry(name))
    }

    pub(super) fn clone_target(&self, name: &str) -> io::Result<Option<OwnedFd>> {
        self.tree.as_ref().map_or(Ok(None), |tree| tree.clone_target(name))
    }

    /// A group's control files and how they are to be read.
    pub(super) fn files(&self, name: &str) -> io::Result<(CgroupVersion, Files)> {
        match &self.tree {
            Some(tree) => Ok((tree.version(), tree.files(name)?)),
            None => {
                let none = Files {
                    freezer: None,
                    cpu_usage: None,
                    peak_memory: None,
                    memory_events: None,
                    cpu_cap: None,
                };
                Ok((CgroupVersion::V2, none))
            }
        }
    }

    /// Lets what has been killed in a group die, even if it is frozen.
    pub(super) fn let_die(&self, name: &str) {
        if let Some(Err(error)) = self.tree.as_ref().map(|tree| tree.let_die(name)) {
            tracing::warn!(group = name, %error, "a sandbox's group could not be let go");
        }
    }

    /// Removes a group, now or as soon as it can be.
    pub(super) fn leave(&mut self, name: String) {
        self.leaving.push(name);
    }

    /// Tries to remove what is to be removed; `true` when nothing is left to do.
    pub(super) fn remove(&mut self) -> bool {
        let Some(tree) = &self.tree else {
            self.leaving.clear();
            return true;
        };
        self.leaving.retain(|name| match tree.remove(name) {
            Ok(is_gone) => !is_gone,
            Err(error) => {
                tracing::warn!(group = name, %error, "a sandbox's group could not be removed");
                false
            }
        });
        self.leaving.is_empty()
    }

    /// Removes all groups, the folder's own included; `true` when they are gone.
    pub(super) fn remove_all(&mut self) -> io::Result<bool> {
        self.leaving.append(&mut self.ready);
        let is_empty = self.remove();
        match &self.tree {
            Some(tree) if is_empty => tree.remove_base(),
            _ => Ok(is_empty),
        }
    }
}
