//! Signals as readable descriptors, and their undoing before a program is executed.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use rustix::process::Signal;

use crate::check;

/// Signals that are read here instead of being delivered, for as long as the process lives.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// Blocks `signals` and opens a descriptor that reads them without waiting.
    pub fn open(signals: &[Signal]) -> io::Result<Self> {
        let set = set_of(signals);
        // SAFETY: the set is initialised and lives through the call; the old mask is not asked for.
        check(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) })?;
        // SAFETY: as above; -1 asks for a new descriptor.
        let number = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        check(number)?;
        // SAFETY: the call has just made this descriptor and nobody else knows of it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(number) }))
    }

    /// The next signal's number, if one has arrived. Equal signals that were not read meanwhile count once.
    pub fn read(&self) -> io::Result<Option<i32>> {
        let mut information = [0; size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(&self.0, &mut information) {
            // The number is the first field of signalfd_siginfo, an unsigned 32-bit integer.
            Ok(_) => {
                let [a, b, c, d, ..] = information;
                Ok(i32::try_from(u32::from_ne_bytes([a, b, c, d])).ok())
            }
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Blocks no signal and gives each its default effect, SIGPIPE included, which the standard library ignores: what a
/// program expects to find when it starts.
pub fn reset() -> io::Result<()> {
    for signal in [libc::SIGPIPE, libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGCHLD] {
        // SAFETY: SIG_DFL installs no handler, so no code of ours can run at a bad moment.
        let old = unsafe { libc::signal(signal, libc::SIG_DFL) };
        if old == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    unblock()
}

/// Blocks no signal.
pub fn unblock() -> io::Result<()> {
    let set = set_of(&[]);
    // SAFETY: the set is initialised and lives through the call; the old mask is not asked for.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut()) }).map(drop)
}

/// Has the kernel end this process (by SIGALRM) when it has not ended within `time`, to the microsecond, whatever it waits
/// for then.
pub fn end_within(time: Duration) -> io::Result<()> {
    // SAFETY: SIG_DFL installs no handler, so no code of ours can run at a bad moment.
    if unsafe { libc::signal(libc::SIGALRM, libc::SIG_DFL) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    let set = set_of(&[Signal::ALARM]);
    // SAFETY: the set is initialised and lives through the call; the old mask is not asked for.
    check(unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut()) })?;
    let zero = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let time = libc::itimerval {
        it_interval: zero,
        it_value: libc::timeval {
            tv_sec: time.as_secs().try_into().map_err(io::Error::other)?,
            // Nothing at all would stop the timer.
            tv_usec: time.subsec_micros().max(1).into(),
        },
    };
    // SAFETY: the time is initialised and lives through the call; the old one is not asked for.
    check(unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const time, ptr::null_mut()) }).map(drop)
}

fn set_of(signals: &[Signal]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises what it is pointed at.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for signal in signals {
        // SAFETY: the set was initialised above; a Signal is a valid number, so the call cannot fail.
        unsafe { libc::sigaddset(set.as_mut_ptr(), signal.as_raw()) };
    }
    // SAFETY: initialised by sigemptyset.
    unsafe { set.assume_init() }
}
