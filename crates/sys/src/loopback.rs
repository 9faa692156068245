//! Loop devices, block devices that are files: loop(4).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::check;

/// Requests of <linux/loop.h>.
const LOOP_CTL_GET_FREE: u64 = 0x4C82;
const LOOP_CONFIGURE: u64 = 0x4C0A;
/// The device lets go of its file when it is closed, or what is mounted from it is unmounted, for the last time.
const LO_FLAGS_AUTOCLEAR: u32 = 4;
/// Other processes may take the device that was free a moment ago, as many as make one at the same time.
const ATTEMPTS: usize = 256;

/// `struct loop_info64` of <linux/loop.h>.
#[repr(C)]
struct LoopInfo {
    /// Device, inode, rdevice, offset, size limit: all zero here.
    numbers: [u64; 5],
    /// Number, encryption type, encryption key size: all zero here.
    kinds: [u32; 3],
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of <linux/loop.h>.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// Opens the device that hands out free loop devices.
pub fn open_control() -> io::Result<OwnedFd> {
    Ok(openat(
        CWD,
        "/dev/loop-control",
        OFlags::RDWR | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// Makes a free loop device of `file`, which is open for reading and writing: the device and its path. It is free
/// again when nothing has it open or mounted any more, however its users have ended.
pub fn attach(control: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<(OwnedFd, String)> {
    let mut attempts = 0..ATTEMPTS;
    loop {
        // SAFETY: the request takes no argument and touches no memory.
        let number = check(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE as _) })?;
        let path = format!("/dev/loop{number}");
        let device = openat(CWD, &path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        match configure(device.as_fd(), file) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && attempts.next().is_some() => {}
            result => return result.map(|()| (device, path)),
        }
    }
}

fn configure(device: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<()> {
    let config = LoopConfig {
        fd: file.as_raw_fd().unsigned_abs(),
        block_size: 0,
        info: LoopInfo {
            numbers: [0; 5],
            kinds: [0; 3],
            flags: LO_FLAGS_AUTOCLEAR,
            file_name: [0; 64],
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        },
        reserved: [0; 8],
    };
    // SAFETY: LOOP_CONFIGURE reads a loop_config, which the structure above is laid out as and which lives through
    // the call.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE as _, &raw const config) };
    check(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_are_as_long_as_the_kernels() {
        assert_eq!((size_of::<LoopInfo>(), size_of::<LoopConfig>()), (232, 304));
    }
}
