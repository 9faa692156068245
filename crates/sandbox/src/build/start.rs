//! Starting programs in a sandbox. What is started while pid 1 is privileged gives up everything before it is the
//! program; what is started later has nothing to give up.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use ephyra_sys::descriptor::{place, raise};
use ephyra_sys::exec::Program;
use ephyra_sys::signal;
use rustix::process::Pid;

use super::lockdown::{Reach, Rights};
use crate::supervisor::StartCommand;

/// The descriptor that a runtime finds its control stream at.
const CONTROL: i32 = 3;

/// Starts a program with its descriptors; an error is why it could not be executed. `rights` are those that pid 1 still
/// has, and that the program must not have.
pub(super) fn start(
    command: &StartCommand,
    rights: Option<&Rights<'_>>,
    control: Option<OwnedFd>,
    output: OwnedFd,
) -> io::Result<Pid> {
    let program = Program::new(&command.arguments, &command.variables).map_err(io::Error::other)?;
    // Written to only when the program could not be executed; closed by the kernel when it was.
    let (failure, report) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let control = control.map(|control| raise(control, CONTROL + 1)).transpose()?;
    let [output, report] = [raise(output, CONTROL + 1)?, raise(report, CONTROL + 1)?];
    let process = ephyra_sys::clone::fork(|| {
        let error = become_program(&program, &command.directory, rights, control.as_ref(), &output);
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
        0 => Ok(process),
        _ => Err(io::Error::from_raw_os_error(i32::from_ne_bytes(errno))),
    }
}

fn become_program(
    program: &Program,
    directory: &str,
    rights: Option<&Rights<'_>>,
    control: Option<&OwnedFd>,
    output: &OwnedFd,
) -> io::Error {
    let prepare = || -> io::Result<()> {
        rustix::process::setsid()?;
        // A number below is not reused by what giving up opens: the slot's user namespace and the report are above.
        place(output.as_fd(), 1)?;
        place(output.as_fd(), 2)?;
        signal::reset()?;
        if let Some(rights) = rights {
            rights.give_up(Reach::Own)?;
        }
        if let Some(control) = control {
            place(control.as_fd(), CONTROL)?;
        }
        // As the guest, not as who may go anywhere. Every other descriptor is closed on execution, as all are made.
        Ok(rustix::process::chdir(directory)?)
    };
    match prepare() {
        Ok(()) => program.execute(),
        Err(error) => error,
    }
}
