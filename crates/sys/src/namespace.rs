//! Entering namespaces: unshare(2) and setns(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::check;
use crate::clone::Namespaces;

/// Moves this process into new namespaces.
pub fn unshare(namespaces: Namespaces) -> io::Result<()> {
    let flags = libc::c_int::try_from(namespaces.bits()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: [`Namespaces`] holds CLONE_NEW* flags alone, so neither the descriptor table nor anything else that
    // memory safety rests on is unshared.
    let result = unsafe { libc::unshare(flags) };
    check(result).map(drop)
}

/// Moves this process into the user namespace open as `namespace`, where it then has all capabilities.
pub fn enter_user(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the call touches no memory.
    let result = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWUSER) };
    check(result).map(drop)
}

/// Moves this process into the network namespace open as `namespace`.
pub fn enter_network(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the call touches no memory.
    let result = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
    check(result).map(drop)
}

/// Sets the host name of this process's UTS namespace.
pub fn set_host_name(name: &str) -> io::Result<()> {
    // SAFETY: the name is as long as said, and the call does not keep it.
    let result = unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) };
    check(result).map(drop)
}
