//! The sandboxes' control groups: some are made ahead, each is used once, and they are removed when the kernel lets go.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::cgroup::{CgroupVersion, Files, Limits, Tree};
use crate::zygote::Entry;

/// How many groups are kept ready: as many as a burst of cold starts takes.
const READY: usize = 64;
/// How many groups are tried to be removed at a time.
const REMOVALS: usize = 8;
/// How long leftovers of an earlier run may take to die.
const SWEEP: Duration = Duration::from_secs(10);

/// The groups of one run. Without a tree there are none, and every operation does nothing.
#[derive(Debug)]
pub(super) struct Groups {
    tree: Option<Tree>,
    made: u64,
    ready: Vec<String>,
    /// Groups whose processes are dead but that the kernel still counts something in.
    leaving: VecDeque<String>,
}

impl Groups {
    pub(super) fn new(tree: Option<Tree>) -> Self {
        Self {
            tree,
            made: 0,
            ready: Vec::new(),
            leaving: VecDeque::new(),
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

    /// Whether another group is to be made ahead.
    pub(super) fn is_short(&self) -> bool {
        self.tree.is_some() && self.ready.len() < READY
    }

    /// Makes one more group ahead.
    pub(super) fn prepare(&mut self) -> io::Result<()> {
        let name = self.make()?;
        self.ready.push(name);
        Ok(())
    }

    fn make(&mut self) -> io::Result<String> {
        self.made += 1;
        let name = self.made.to_string();
        if let Some(tree) = &self.tree
            && let Err(error) = tree.make(&name).and_then(|()| tree.settle(&name))
        {
            self.leave(name);
            return Err(error);
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
        self.leaving.push_back(name);
    }

    /// Whether there is something to be removed.
    pub(super) fn is_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// How many are to be removed.
    pub(super) fn left_over(&self) -> usize {
        self.leaving.len()
    }

    /// Tries to remove some of what is to be removed; `true` when any of it is gone.
    pub(super) fn remove_some(&mut self) -> bool {
        let before = self.leaving.len();
        let some = before.min(REMOVALS);
        self.remove(some);
        self.leaving.len() < before
    }

    /// Tries to remove the first so many; what does not go yet is the last to be tried again.
    fn remove(&mut self, count: usize) {
        let tried: Vec<_> = self.leaving.drain(..count).collect();
        let Some(tree) = &self.tree else { return };
        for name in tried {
            match tree.remove(&name) {
                Ok(true) => {}
                Ok(false) => self.leaving.push_back(name),
                Err(error) => tracing::warn!(group = name, %error, "a sandbox's group could not be removed"),
            }
        }
    }

    /// Removes all groups, the folder's own included; `true` when they are gone.
    pub(super) fn remove_all(&mut self) -> io::Result<bool> {
        self.leaving.extend(self.ready.drain(..));
        self.remove(self.leaving.len());
        match &self.tree {
            Some(tree) if self.leaving.is_empty() => tree.remove_base(),
            _ => Ok(self.leaving.is_empty()),
        }
    }
}
