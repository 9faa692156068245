//! The loopback interface of a new network namespace.

use std::io;
use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::check;

/// Brings `lo` up in this process's network namespace; its addresses come by themselves.
pub fn raise_loopback() -> io::Result<()> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: ifreq is plain numbers and a union of such; zeroes are valid in all of them.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (target, byte) in request.ifr_name.iter_mut().zip(*b"lo") {
        *target = libc::c_char::from_ne_bytes([byte]);
    }
    let flags = libc::IFF_UP | libc::IFF_RUNNING;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: SIOCSIFFLAGS reads an ifreq with a name that ends with a zero byte and its flags; it lives through the
    // call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    check(result).map(drop)
}
