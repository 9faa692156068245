//! Making processes: clone3(2) and fork(3).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::process::Pid;

use crate::check;

/// The status of a child whose body has panicked.
const PANICKED: i32 = 101;

/// The namespaces that a child gets of its own; see namespaces(7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespaces(u64);

impl Namespaces {
    /// Mounts.
    pub const MOUNT: Self = Self(flag(libc::CLONE_NEWNS));
    /// Process identifiers; the child is pid 1.
    pub const PID: Self = Self(flag(libc::CLONE_NEWPID));
    /// Network interfaces, addresses, sockets.
    pub const NETWORK: Self = Self(flag(libc::CLONE_NEWNET));
    /// System V IPC and POSIX message queues.
    pub const IPC: Self = Self(flag(libc::CLONE_NEWIPC));
    /// Host name.
    pub const UTS: Self = Self(flag(libc::CLONE_NEWUTS));
    /// Users, groups and capabilities.
    pub const USER: Self = Self(flag(libc::CLONE_NEWUSER));
    /// The root of the cgroup tree.
    pub const CGROUP: Self = Self(flag(libc::CLONE_NEWCGROUP));

    /// No new namespace.
    pub const fn none() -> Self {
        Self(0)
    }

    /// These and those.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// As the `CLONE_NEW*` flags that setns(2) takes.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the highest flag, CLONE_NEWNET, is 0x40000000"
    )]
    pub const fn flags(self) -> u32 {
        self.0 as u32
    }

    /// As `CLONE_NEW*` flags.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }
}

/// Widens a `CLONE_NEW*` flag; none of them is negative.
#[expect(clippy::cast_sign_loss, reason = "the highest flag, CLONE_NEWNET, is 0x40000000")]
const fn flag(flag: libc::c_int) -> u64 {
    flag as u64
}

/// Why no child was made.
#[derive(Debug, thiserror::Error)]
pub enum CloneError {
    /// A copy of a process that has threads may find locks held for ever.
    #[error("this process has {0} threads; it may only be copied while it has one")]
    Threads(u64),
    /// The number of threads could not be read.
    #[error("/proc/self/task could not be read")]
    Proc(#[source] io::Error),
    /// The call failed.
    #[error("the process could not be copied")]
    Call(#[source] io::Error),
}

/// Runs `body` in a copy of this process, in the given new namespaces and, where given, in the cgroup (v2) whose
/// directory is open as `cgroup`. The child ends with what `body` returns as its status, without running anything of
/// its callers; its end raises SIGCHLD here.
pub fn clone(
    namespaces: Namespaces,
    cgroup: Option<BorrowedFd<'_>>,
    body: impl FnOnce() -> i32,
) -> Result<Pid, CloneError> {
    require_single_thread()?;
    // SAFETY: clone_args is plain numbers; zero means absent in each of them.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = namespaces.bits();
    arguments.exit_signal = libc::SIGCHLD.unsigned_abs().into();
    if let Some(cgroup) = cgroup {
        arguments.flags |= INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd().unsigned_abs().into();
    }
    // SAFETY: without CLONE_VM the child works on its own copy of all memory, and the check above has shown that no
    // other thread can have left a lock or half a change in that copy. The arguments live through the call.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) };
    finish(check(result), body)
}

/// `CLONE_INTO_CGROUP` of linux/sched.h; libc gives it a type that cannot hold it.
const INTO_CGROUP: u64 = 0x2_0000_0000;

/// Runs `body` in a plain copy of this process, as [`clone()`] does. The C library knows of the copy, so `body` may
/// start threads.
pub fn fork(body: impl FnOnce() -> i32) -> Result<Pid, CloneError> {
    require_single_thread()?;
    // SAFETY: the check above has shown that this thread is the only one, so the child's memory is whole and no lock
    // in it is held by a thread that is not there.
    let result = unsafe { libc::fork() };
    finish(check(result), body)
}

/// In the child: runs `body` and never returns. In the parent: the child's pid.
fn finish(result: io::Result<i64>, body: impl FnOnce() -> i32) -> Result<Pid, CloneError> {
    match result {
        Err(error) => Err(CloneError::Call(error)),
        Ok(0) => {
            let status = catch_unwind(AssertUnwindSafe(body)).unwrap_or(PANICKED);
            // SAFETY: _exit has no preconditions; destructors and exit handlers of the parent's frames must not run
            // a second time here.
            unsafe { libc::_exit(status) }
        }
        Ok(pid) => i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| CloneError::Call(io::Error::from_raw_os_error(libc::EINVAL))),
    }
}

/// The link count of /proc/self/task is two and the number of threads; one call and no parsing.
fn require_single_thread() -> Result<(), CloneError> {
    let links = std::fs::metadata("/proc/self/task").map_err(CloneError::Proc)?.nlink();
    match links.saturating_sub(2) {
        1 => Ok(()),
        threads => Err(CloneError::Threads(threads)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_not_copied() {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || stopped.recv());
        assert!(matches!(fork(|| 0), Err(CloneError::Threads(2..))));
        assert!(matches!(
            clone(Namespaces::none(), None, || 0),
            Err(CloneError::Threads(2..))
        ));
        drop(stop);
        assert!(thread.join().unwrap().is_err());
    }
}
