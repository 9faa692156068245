//! Pid 1 of a sandbox: starts the runtime and extensions when the server says what and how, reaps whatever ends, says
//! how they ended, and ends with the last of them or with the server. Its own end ends everything in its pid namespace.
//!
//! ```text
//! Blank ------- Order::Assign ------> Assigned    mounts what belongs to the function, gives up all rights
//! Blank ------- the warden is gone -> (ends)
//! any --------- Command::Start -----> the runtime runs: once
//! Assigned ---- Command::Extension -> one more extension runs
//! ```

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use ephyra_sys::descriptor::close_all_except;
use ephyra_sys::signal::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process};

use super::lockdown::{Reach, Rights};
use super::order::{self, BuildReport, Mounts, Order};
use super::start::start;
use super::{At, Failure, root};
use crate::packet::{self, Received};
use crate::protocol::Step;
use crate::supervisor::{Command, EXTENSIONS, Exit, Notice, PACKET_BYTES, Process, StartCommand};

/// How many of the dead are remembered until it is known which process is the runtime that a zygote has forked.
const DEAD: usize = 8;

/// What a pid 1 that stands is left with.
pub(super) struct Parts<'a> {
    /// What it can still do.
    pub(super) rights: Rights<'a>,
    /// The runtime's control stream and output; `None` when a zygote forks it.
    pub(super) runtime: Option<(OwnedFd, OwnedFd)>,
    pub(super) extension_output: OwnedFd,
    pub(super) supervisor: OwnedFd,
    pub(super) report: OwnedFd,
}

/// Serves until there is nothing left to do; the status to end with.
pub(super) fn supervise(parts: Parts<'_>) -> i32 {
    match Init::new(parts).and_then(|mut init| init.run()) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

struct Init<'a> {
    phase: Phase<'a>,
    runtime: Runtime,
    /// Those that were started, `None` for the ended.
    extensions: Vec<Option<Pid>>,
    extension_output: OwnedFd,
    supervisor: OwnedFd,
    signals: SignalFd,
}

/// Who pid 1 is.
enum Phase<'a> {
    /// Privileged, until it is known for whom.
    Blank { rights: Rights<'a>, report: OwnedFd },
    /// The guest's own.
    Assigned,
}

enum Runtime {
    /// To be started with these.
    Awaited {
        control: OwnedFd,
        output: OwnedFd,
    },
    /// A zygote forks it. Who has died before it is known which process it is may have been it.
    Forked {
        dead: Vec<(Pid, Exit)>,
    },
    Running(Pid),
    Ended,
}

impl<'a> Init<'a> {
    fn new(parts: Parts<'a>) -> io::Result<Self> {
        let Parts {
            rights,
            runtime,
            extension_output,
            supervisor,
            report,
        } = parts;
        Ok(Self {
            phase: Phase::Blank { rights, report },
            runtime: match runtime {
                Some((control, output)) => Runtime::Awaited { control, output },
                None => Runtime::Forked { dead: Vec::new() },
            },
            extensions: Vec::new(),
            extension_output,
            supervisor,
            signals: SignalFd::open(&[Signal::CHILD])?,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        loop {
            while self.signals.read()?.is_some() {}
            self.reap()?;
            if self.is_over() {
                return Ok(());
            }
            let mut polled = vec![
                PollFd::new(&self.signals, PollFlags::IN),
                PollFd::new(&self.supervisor, PollFlags::IN),
            ];
            if let Phase::Blank { report, .. } = &self.phase {
                polled.push(PollFd::new(report, PollFlags::IN));
            }
            rustix::io::retry_on_intr(|| poll(&mut polled, None))?;
            let is_ready = |polled: Option<&PollFd<'_>>| polled.is_some_and(|polled| !polled.revents().is_empty());
            let [commands, orders] = [is_ready(polled.get(1)), is_ready(polled.get(2))];
            if orders {
                self.take_order()?;
            }
            if commands && !self.take_command()? {
                return Ok(());
            }
        }
    }

    /// When the last has ended that anybody waits for.
    fn is_over(&self) -> bool {
        matches!(self.runtime, Runtime::Ended) && self.extensions.iter().all(Option::is_none)
    }

    fn take_order(&mut self) -> io::Result<()> {
        let Phase::Blank { report, .. } = &self.phase else {
            return Ok(());
        };
        match order::hear(report)? {
            None => Ok(()),
            Some((Order::Adopt { process }, _)) => self.adopt(process),
            Some((Order::Assign(mounts), opened)) => self.assign(mounts, opened),
        }
    }

    fn adopt(&mut self, process: i32) -> io::Result<()> {
        let (Runtime::Forked { dead }, Some(process)) = (&self.runtime, Pid::from_raw(process)) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        match dead.iter().find(|(pid, _)| *pid == process) {
            Some(&(_, exit)) => self.ended(Process::Runtime, exit),
            None => {
                self.runtime = Runtime::Running(process);
                Ok(())
            }
        }
    }

    /// Takes what belongs to the function and gives up all rights, or ends.
    fn assign(&mut self, mounts: Mounts, opened: Vec<OwnedFd>) -> io::Result<()> {
        let is_untouched = matches!(self.runtime, Runtime::Awaited { .. });
        let Phase::Blank { rights, report } = std::mem::replace(&mut self.phase, Phase::Assigned) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let result = root::assign(mounts, opened, is_untouched)
            .and_then(|()| self.keep_own(&rights, &report))
            .and_then(|()| rights.give_up(Reach::Sandbox));
        match result {
            Ok(()) => order::say(&report, &BuildReport::Assigned, &[]),
            Err(failure) => {
                order::say(&report, &failure.report(), &[])?;
                Err(io::ErrorKind::Other.into())
            }
        }
    }

    /// Closes all that was open for building, but for the slot's user namespace, which is of no use once it is entered.
    fn keep_own(&self, rights: &Rights<'_>, report: &OwnedFd) -> Result<(), Failure> {
        let mut keep = vec![
            self.supervisor.as_fd(),
            self.extension_output.as_fd(),
            self.signals.as_fd(),
            report.as_fd(),
        ];
        keep.extend(rights.user_namespace());
        if let Runtime::Awaited { control, output } = &self.runtime {
            keep.extend([control.as_fd(), output.as_fd()]);
        }
        close_all_except(&keep).at(Step::Close)
    }

    /// Carries out the server's next command, if one has come; `false` when there will be none. What the server may not
    /// say is an error, and the end of its own sandbox.
    fn take_command(&mut self) -> io::Result<bool> {
        let command = match packet::receive_up_to(&self.supervisor, PACKET_BYTES)? {
            Received::Packet { bytes, .. } => Command::decode(&bytes).map_err(io::Error::other)?,
            Received::Closed => return Ok(false),
            Received::Nothing => return Ok(true),
        };
        match command {
            Command::Start(command) => self.start_runtime(&command)?,
            Command::Extension(command) => self.start_extension(&command)?,
            Command::Terminate => self.signal(Signal::TERM)?,
            Command::Kill => self.signal(Signal::KILL)?,
            Command::Socket => self.give_socket()?,
        }
        Ok(true)
    }

    fn start_runtime(&mut self, command: &StartCommand) -> io::Result<()> {
        let rights = match &self.phase {
            Phase::Blank { rights, .. } => Some(rights),
            Phase::Assigned => None,
        };
        // Whoever waits for the ends of these is told by them that the runtime is gone: pid 1 keeps none of them.
        match std::mem::replace(&mut self.runtime, Runtime::Ended) {
            Runtime::Awaited { control, output } => match start(command, rights, Some(control), output) {
                Ok(process) => self.runtime = Runtime::Running(process),
                Err(error) => self.notify(Process::Runtime, exec_failed(&error))?,
            },
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        }
        Ok(())
    }

    fn start_extension(&mut self, command: &StartCommand) -> io::Result<()> {
        let Some(number) = u8::try_from(self.extensions.len())
            .ok()
            .filter(|&n| usize::from(n) < EXTENSIONS)
        else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if !matches!(self.phase, Phase::Assigned) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let started = start(command, None, None, self.extension_output.try_clone()?);
        match started {
            Ok(process) => self.extensions.push(Some(process)),
            Err(error) => {
                self.extensions.push(None);
                self.notify(Process::Extension(number), exec_failed(&error))?;
            }
        }
        Ok(())
    }

    /// A socket stays in the network namespace that it was made in, whoever connects it.
    fn give_socket(&self) -> io::Result<()> {
        if !matches!(self.phase, Phase::Assigned) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).ok();
        let descriptors: Vec<_> = socket.iter().map(AsFd::as_fd).collect();
        let bytes = Notice::Socket.encode().map_err(io::Error::other)?;
        packet::send(&self.supervisor, &bytes, &descriptors, false)
    }

    /// A process that was not reaped still has its number, so that no other can be meant.
    fn signal(&self, signal: Signal) -> io::Result<()> {
        match &self.runtime {
            Runtime::Running(process) => Ok(kill_process(*process, signal)?),
            _ => Ok(()),
        }
    }

    /// Reaps all that has ended, and says so of those that were asked for.
    fn reap(&mut self) -> io::Result<()> {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((process, status))) => self.reaped(process, exit_of(status))?,
                Err(rustix::io::Errno::INTR) => {}
                Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn reaped(&mut self, process: Pid, exit: Exit) -> io::Result<()> {
        match &mut self.runtime {
            Runtime::Running(runtime) if *runtime == process => return self.ended(Process::Runtime, exit),
            Runtime::Forked { dead } if dead.len() < DEAD => dead.push((process, exit)),
            _ => {}
        }
        let number = self.extensions.iter().position(|&extension| extension == Some(process));
        match number.and_then(|number| u8::try_from(number).ok()) {
            Some(number) => self.ended(Process::Extension(number), exit),
            None => Ok(()),
        }
    }

    fn ended(&mut self, process: Process, exit: Exit) -> io::Result<()> {
        match process {
            Process::Runtime => self.runtime = Runtime::Ended,
            Process::Extension(number) => self.extensions[usize::from(number)] = None,
        }
        self.notify(process, exit)
    }

    fn notify(&self, process: Process, exit: Exit) -> io::Result<()> {
        let bytes = Notice::Ended { process, exit }.encode().map_err(io::Error::other)?;
        packet::send(&self.supervisor, &bytes, &[], false)
    }
}

fn exec_failed(error: &io::Error) -> Exit {
    Exit::ExecFailed(error.raw_os_error().unwrap_or(libc::EINVAL))
}

fn exit_of(status: WaitStatus) -> Exit {
    let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    match (status.exit_status(), status.terminating_signal()) {
        (_, Some(signal)) => Exit::Signalled(byte(signal)),
        (code, None) => Exit::Exited(byte(code.unwrap_or(0))),
    }
}
