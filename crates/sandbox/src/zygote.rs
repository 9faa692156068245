//! Zygotes: for each runtime that has one, a process that has booted its interpreter once and forks it into sandboxes.
//!
//! A zygote is asked for a fork by its [`Seat`]: everything that the new process enters or becomes. It answers with the
//! process's number in the sandbox, or why there is none. The warden never waits for it: requests go out, answers come
//! in at [`Zygotes::take`], and one that does not come ends the sandbox at its deadline.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use ephyra_core::id::EnvironmentId;
use ephyra_sys::clone::Namespaces;
use rustix::process::Pid;

use crate::runtimes::Runtime;

/// What a forked runtime is put into. All descriptors are close-on-exec and end with the seat.
#[derive(Debug)]
#[expect(dead_code, reason = "no runtime has a zygote yet that would read it")]
pub(crate) struct Seat {
    /// The sandbox, by which the answer names it.
    pub(crate) id: EnvironmentId,
    /// The index of its runtime in the warden's list.
    pub(crate) runtime: u16,
    /// The pidfd of the sandbox's pid 1, which stands: its root is changed, nothing is mounted for a function yet.
    pub(crate) first: OwnedFd,
    /// Which namespaces pid 1 has of its own and are to be entered, by setns(2) with `first`. The cgroup namespace is
    /// among them where it is used; the user namespace is not, see `user_namespace`.
    pub(crate) namespaces: Namespaces,
    /// The slot's user namespace, to be entered after all else, where user namespaces are used.
    pub(crate) user_namespace: Option<OwnedFd>,
    /// The user to become, in the numbers of that user namespace.
    pub(crate) uid: u32,
    /// The group to become.
    pub(crate) gid: u32,
    /// How the sandbox's control group is joined.
    pub(crate) group: Entry,
    /// To become descriptor 3.
    pub(crate) control: OwnedFd,
    /// To become descriptors 1 and 2.
    pub(crate) output: OwnedFd,
}

/// How a control group is joined.
#[derive(Debug)]
#[expect(dead_code, reason = "no runtime has a zygote yet that would read it")]
pub(crate) enum Entry {
    /// There is none.
    None,
    /// Version 1: `tasks` of each hierarchy, open for writing. A write of `0` moves the thread that writes.
    V1(Vec<OwnedFd>),
    /// Version 2: the group's directory, for `CLONE_INTO_CGROUP`.
    V2(OwnedFd),
}

/// What a zygote has answered.
#[derive(Debug)]
pub(crate) struct Spawned {
    /// Which seat it was.
    pub(crate) id: EnvironmentId,
    /// The process's number in the sandbox's pid namespace. Its parent there has ended, so that it is pid 1's to reap.
    /// An error is why there is no such process.
    pub(crate) process: io::Result<i32>,
}

/// All zygotes.
#[derive(Debug, Default)]
pub(crate) struct Zygotes {}

impl Zygotes {
    /// No zygote is started yet.
    pub(crate) fn new(_runtimes: &[Runtime]) -> Self {
        Self::default()
    }

    /// Whether there is a zygote for this runtime of the warden's list.
    pub(crate) fn has(&self, _runtime: u16) -> bool {
        false
    }

    /// Asks a zygote for a process. Never waits; starts the zygote when it is not running.
    pub(crate) fn spawn(&mut self, _seat: Seat) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// What to wait at for answers; readable when [`Zygotes::take`] has something.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::empty()
    }

    /// Takes all answers that have come. Those of a zygote that has ended are errors.
    pub(crate) fn take(&mut self) -> Vec<Spawned> {
        Vec::new()
    }

    /// Takes note that a child of the warden has ended; whether it was a zygote. Its open requests come out of
    /// [`Zygotes::take`] as errors.
    pub(crate) fn reaped(&mut self, _pid: Pid) -> bool {
        false
    }

    /// Ends all zygotes; they are reaped like any child.
    pub(crate) fn end(&mut self) {}
}
