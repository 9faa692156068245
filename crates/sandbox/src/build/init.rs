//! Pid 1 of a sandbox: starts the runtime when the server says what and how, reaps whatever ends, says how the runtime
//! ended, and ends with it or with the server. Its own end ends everything in its pid namespace.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ephyra_sys::descriptor::{place, raise};
use ephyra_sys::exec::Program;
use ephyra_sys::signal::{self, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

use crate::packet::{self, Received};
use crate::supervisor::{Notice, PACKET_BYTES, StartCommand};

/// The descriptor that a runtime finds its control stream at.
const CONTROL: i32 = 3;

/// Waits for the command, runs it, and returns when there is nothing left to do.
pub(super) fn supervise(control: OwnedFd, supervisor: OwnedFd, output: OwnedFd) -> i32 {
    match serve(control, &supervisor, output) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

fn serve(control: OwnedFd, supervisor: &OwnedFd, output: OwnedFd) -> io::Result<()> {
    // Whoever waits for these ends is told by them that the runtime is gone: pid 1 keeps none of them.
    let Some(command) = command(supervisor)? else {
        return Ok(());
    };
    let signals = SignalFd::open(&[Signal::CHILD])?;
    let runtime = match start(&command, control, output) {
        Ok(runtime) => runtime,
        Err(error) => {
            return notify(
                supervisor,
                Notice::ExecFailed(error.raw_os_error().unwrap_or(libc::EINVAL)),
            );
        }
    };
    drop(command);
    loop {
        while signals.read()?.is_some() {}
        if let Some(notice) = reap(runtime)? {
            return notify(supervisor, notice);
        }
        let mut polled = [
            PollFd::new(supervisor, PollFlags::IN),
            PollFd::new(&signals, PollFlags::IN),
        ];
        rustix::io::retry_on_intr(|| poll(&mut polled, None))?;
        // The server says no more than the one command: whatever comes now is its end, or a fault.
        if !polled[0].revents().is_empty() {
            return Ok(());
        }
    }
}

/// The server's command; `None` when it has gone without one.
fn command(supervisor: &OwnedFd) -> io::Result<Option<StartCommand>> {
    loop {
        match packet::receive_up_to(supervisor, PACKET_BYTES)? {
            Received::Packet { bytes, .. } => {
                return StartCommand::decode(&bytes).map(Some).map_err(io::Error::other);
            }
            Received::Closed => return Ok(None),
            Received::Nothing => {
                let mut polled = [PollFd::new(supervisor, PollFlags::IN)];
                rustix::io::retry_on_intr(|| poll(&mut polled, None))?;
            }
        }
    }
}

/// Starts the runtime; an error is why it could not be executed.
fn start(command: &StartCommand, control: OwnedFd, output: OwnedFd) -> io::Result<Pid> {
    let program = Program::new(&command.arguments, &command.variables).map_err(io::Error::other)?;
    // Written to only when the program could not be executed; closed by the kernel when it was.
    let (failure, report) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let [control, output, report] = [raise(control, 4)?, raise(output, 4)?, raise(report, 4)?];
    let runtime = ephyra_sys::clone::fork(|| {
        let error = become_runtime(&program, &command.directory, [&control, &output].map(AsFd::as_fd));
        let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
        // When even this fails, the status says that something was wrong.
        match rustix::io::write(&report, &errno.to_ne_bytes()) {
            Ok(_) => 1,
            Err(_) => 127,
        }
    })
    .map_err(io::Error::other)?;
    drop((control, output, report));
    let mut errno = [0; 4];
    match rustix::io::retry_on_intr(|| rustix::io::read(&failure, &mut errno))? {
        0 => Ok(runtime),
        _ => Err(io::Error::from_raw_os_error(i32::from_ne_bytes(errno))),
    }
}

fn become_runtime(program: &Program, directory: &str, [control, output]: [BorrowedFd<'_>; 2]) -> io::Error {
    let prepare = || -> io::Result<()> {
        rustix::process::setsid()?;
        rustix::process::chdir(directory)?;
        place(output, 1)?;
        place(output, 2)?;
        place(control, CONTROL)?;
        // Everything else is closed on execution, as all descriptors here are made.
        signal::reset()
    };
    match prepare() {
        Ok(()) => program.execute(),
        Err(error) => error,
    }
}

/// Reaps all that has ended; says how the runtime ended if it is among them.
fn reap(runtime: Pid) -> io::Result<Option<Notice>> {
    let mut notice = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == runtime => notice = Some(notice_of(status)),
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(notice),
            Err(error) => return Err(error.into()),
        }
    }
}

fn notice_of(status: WaitStatus) -> Notice {
    let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    match (status.exit_status(), status.terminating_signal()) {
        (_, Some(signal)) => Notice::Signalled(byte(signal)),
        (code, None) => Notice::Exited(byte(code.unwrap_or(0))),
    }
}

fn notify(supervisor: &OwnedFd, notice: Notice) -> io::Result<()> {
    let bytes = notice.encode().map_err(io::Error::other)?;
    packet::send(supervisor, &bytes, &[], false)
}
