//! File descriptors by number, for a process that is about to become another program.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::check;

/// Closes every descriptor from 3 on that is not in `keep`. Only for a child of [`crate::clone`], before it goes on
/// with what is in `keep`: owners of other descriptors that its parent's frames hold are never dropped there.
///
/// The numbers become free although owners of them may still be in memory, so nothing may use those afterwards.
pub fn close_all_except(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut numbers: Vec<u32> = keep
        .iter()
        .map(|fd| fd.as_raw_fd().unsigned_abs())
        .filter(|&n| n > 2)
        .collect();
    numbers.sort_unstable();
    let mut first = 3;
    for number in numbers {
        if number > first {
            close_range(first, number - 1)?;
        }
        first = number + 1;
    }
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: the call touches no memory. That no owner of a closed descriptor is used again is what the caller of
    // `close_all_except` sees to: it runs in a copy of the process that never returns into the frames of the owners.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    check(result).map(drop)
}

/// Makes `number` another name of `fd`, one that a program to be executed keeps. Whatever `number` named is closed.
/// `fd` itself may be `number`.
///
/// Only for a process that is about to execute a program: an owner of the old `number` may still be in memory.
pub fn place(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    if fd.as_raw_fd() == number {
        return Ok(rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?);
    }
    // SAFETY: the call touches no memory; the old owner of `number` is not used again, see above.
    let result = unsafe { libc::dup2(fd.as_raw_fd(), number) };
    check(result).map(drop)
}

/// Moves `fd` to a number that is at least `minimum`, out of the way of [`place`].
pub fn raise(fd: OwnedFd, minimum: RawFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() >= minimum {
        return Ok(fd);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, minimum)?)
}

/// Takes over a descriptor that this process was started with.
///
/// Once for each number, before any thread exists and before anything else is opened: then nobody else owns it.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the call touches no memory, and tells whether the descriptor is open.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, and by the caller's word nobody owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
