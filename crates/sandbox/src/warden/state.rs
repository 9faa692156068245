//! The warden's loop: requests come in, sandboxes are built and end, until the server has ended.
//!
//! ```text
//! Building ---- ready, forked into ----> Blank         Prepared
//! Blank ------- Assign ----------------> Assigning
//! Assigning --- done ------------------> Standing      Assigned
//! Building, Assigning -- failed, late -> Ending        Failed
//! Blank, Standing ------ its pid 1 ends: its readings stay until it is ended
//! any --------- End -------------------> Ending        killed; Ended once its pid 1 is reaped
//! ```

mod ahead;
mod assign;
mod prepare;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use ephyra_core::id::EnvironmentId;
use ephyra_sys::signal::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process};

use super::SANDBOXES;
use super::folders::Folders;
use super::groups::Groups;
use super::scratch::{Image, Scratch};
use super::slots::{Slot, Slots};
use super::stage::Stage;
use crate::cgroup::Limits;
use crate::isolation::Piece;
use crate::packet::{self, Received};
use crate::protocol::{Reply, Request, Step};
use crate::runtimes::Kind;
use crate::seccomp::Filter;
use crate::zygote::Zygotes;
use ahead::{Chore, QUIET};
use prepare::{BUILD, Building, Refusal};

/// How many sandboxes are built or assigned at once; further requests wait in the socket. A server builds fewer, so that
/// there is always room to assign one.
const BUILDS: usize = 64;
/// How many replies may wait for a server that does not read them: one for each sandbox, and those that fail.
const REPLIES: usize = SANDBOXES as usize + 1024;
/// How often what is dying is looked after.
const TICK: Duration = Duration::from_millis(5);
/// How often what was killed is let die again: once is enough, unless somebody freezes it.
const THAW: Duration = Duration::from_millis(50);
/// How long the end of everything may take.
const END: Duration = Duration::from_secs(10);
/// What the server is given beyond its time to drain, before it is killed.
const MARGIN: Duration = Duration::from_secs(5);

/// What the warden is made of.
pub(super) struct Parts {
    pub(super) socket: OwnedFd,
    pub(super) signals: SignalFd,
    pub(super) server: Pid,
    pub(super) groups: Groups,
    pub(super) stage: Stage,
    pub(super) folders: Folders,
    pub(super) zygotes: Zygotes,
    pub(super) slots: Slots,
    /// Guests' /tmp on disk, where it can be.
    pub(super) scratch: Option<Scratch>,
    pub(super) pieces: BTreeSet<Piece>,
    pub(super) filter: Filter,
    pub(super) runtimes: Vec<Kind>,
    pub(super) drain: Duration,
}

/// The warden at work.
pub(super) struct State {
    parts: Parts,
    sandboxes: HashMap<EnvironmentId, Sandbox>,
    by_pid: HashMap<Pid, EnvironmentId>,
    /// Those whose pid 1 is about to say something.
    expected: HashSet<EnvironmentId>,
    /// Those that were killed and are not dead yet.
    ending: HashSet<EnvironmentId>,
    /// When what is dying was last looked after.
    ticked: Instant,
    /// When what was killed was last let die again.
    thawed: Instant,
    /// Replies that the socket had no room for.
    replies: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    /// Whether making slots or groups ahead has failed; then each is made when it is needed, and says why it fails.
    is_unprepared: bool,
    /// Whether none of the groups that are tried to be removed has gone.
    is_stuck: bool,
    /// When the server is killed, once it has been told to end.
    killed_at: Option<Instant>,
    server_status: Option<i32>,
    /// Whether the server was told to end.
    is_ending: bool,
    /// Whether the server has closed its socket.
    is_closed: bool,
}

struct Sandbox {
    /// Its pid 1, until it is reaped.
    pid: Option<Pid>,
    slot: Option<Slot>,
    group: String,
    limits: Limits,
    /// Its /tmp, until its pid 1 is reaped, where another sandbox may have that afterwards.
    tmp: Option<Image>,
    phase: Phase,
}

enum Phase {
    Building(Building),
    /// Nobody's yet; its pid 1 waits at the other end.
    Blank {
        report: OwnedFd,
    },
    /// Its pid 1 is making it a function's.
    Assigning {
        report: OwnedFd,
        deadline: Instant,
    },
    Standing,
    /// Killed; whether the server is to be told when nothing is left.
    Ending {
        is_answered: bool,
    },
}

impl Phase {
    /// Where its pid 1 is about to say something, and until when it may take.
    fn expected(&self) -> Option<(&OwnedFd, Instant)> {
        match self {
            Self::Building(building) => Some((&building.report, building.deadline)),
            Self::Assigning { report, deadline } => Some((report, *deadline)),
            Self::Blank { .. } | Self::Standing | Self::Ending { .. } => None,
        }
    }
}

/// Takes over the signals that the loop reads.
pub(super) fn signals() -> io::Result<SignalFd> {
    SignalFd::open(&[Signal::TERM, Signal::INT, Signal::HUP, Signal::CHILD])
}

impl State {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            parts,
            sandboxes: HashMap::new(),
            by_pid: HashMap::new(),
            expected: HashSet::new(),
            ending: HashSet::new(),
            ticked: Instant::now(),
            thawed: Instant::now(),
            replies: VecDeque::new(),
            is_unprepared: false,
            is_stuck: false,
            killed_at: None,
            server_status: None,
            is_ending: false,
            is_closed: false,
        }
    }

    /// Runs until the server has ended, then ends everything else. The result is the status to end with.
    pub(super) fn run(mut self) -> i32 {
        let status = loop {
            if let Some(status) = self.server_status {
                break status;
            }
            if let Err(error) = self.step() {
                tracing::error!(%error, "the warden cannot go on");
                self.kill_server();
                break 1;
            }
        };
        self.end_all();
        match status {
            // Nobody had told it to end.
            0 if !self.is_ending => 1,
            status => status,
        }
    }

    /// Waits for something to happen and deals with it. What is made ahead or removed is for when nothing has.
    fn step(&mut self) -> io::Result<()> {
        let chore = self.chore();
        let wait = match chore {
            Some(Chore::Removal | Chore::Group | Chore::Slot) => Some(Duration::ZERO),
            Some(Chore::Tmp) => self.wait().into_iter().chain([QUIET]).min(),
            None => self.wait(),
        };
        let ready = self.poll(wait)?;
        if let Some(chore) = chore.filter(|_| ready.is_nothing()) {
            self.carry_out(chore);
        }
        if ready.signals {
            self.take_signals()?;
        }
        for id in ready.reports {
            self.take_report(id)?;
        }
        if ready.zygotes {
            self.take_spawned()?;
        }
        if ready.signals {
            self.reap()?;
        }
        if ready.socket_out {
            self.flush()?;
        }
        if ready.socket_in {
            self.take_requests()?;
        }
        self.keep_time()
    }

    /// How long there is nothing to do by itself.
    fn wait(&self) -> Option<Duration> {
        let now = Instant::now();
        let deadlines = self
            .expected
            .iter()
            .filter_map(|id| self.sandboxes.get(id)?.phase.expected());
        let deadline = deadlines.map(|(_, deadline)| deadline).chain(self.killed_at).min();
        let deadline = deadline.map(|at| at.saturating_duration_since(now));
        let is_dying = !self.ending.is_empty() || self.parts.groups.is_leaving();
        deadline.into_iter().chain(is_dying.then_some(TICK)).min()
    }

    fn poll(&self, wait: Option<Duration>) -> io::Result<Ready> {
        let reports: Vec<(EnvironmentId, &OwnedFd)> = self
            .expected
            .iter()
            .filter_map(|id| Some((*id, self.sandboxes.get(id)?.phase.expected()?.0)))
            .collect();
        let mut interest = if reports.len() < BUILDS && !self.is_closed {
            PollFlags::IN
        } else {
            PollFlags::empty()
        };
        if !self.replies.is_empty() {
            interest |= PollFlags::OUT;
        }
        let mut polled = vec![
            PollFd::new(&self.parts.signals, PollFlags::IN),
            // A closed socket would always be ready; the signals stand in for it.
            PollFd::from_borrowed_fd(
                if self.is_closed {
                    self.parts.signals.as_fd()
                } else {
                    self.parts.socket.as_fd()
                },
                interest,
            ),
        ];
        polled.extend(reports.iter().map(|(_, report)| PollFd::new(*report, PollFlags::IN)));
        let zygotes = self.parts.zygotes.sockets();
        polled.extend(zygotes.map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::IN)));
        let wait = wait.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
        match poll(&mut polled, wait.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_ready = |polled: &PollFd<'_>| !polled.revents().is_empty();
        let socket = if self.is_closed {
            PollFlags::empty()
        } else {
            polled[1].revents()
        };
        Ok(Ready {
            signals: is_ready(&polled[0]),
            socket_in: socket.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR),
            socket_out: socket.contains(PollFlags::OUT),
            zygotes: polled[2 + reports.len()..].iter().any(is_ready),
            reports: reports
                .iter()
                .zip(&polled[2..])
                .filter(|(_, polled)| is_ready(polled))
                .map(|((id, _), _)| *id)
                .collect(),
        })
    }

    fn take_signals(&mut self) -> io::Result<()> {
        while let Some(signal) = self.parts.signals.read()? {
            if signal == Signal::CHILD.as_raw() {
                continue;
            }
            if self.is_ending {
                tracing::warn!("told to end a second time: not waiting for the server any longer");
                self.kill_server();
            } else {
                self.is_ending = true;
                self.killed_at = Some(Instant::now() + self.parts.drain + MARGIN);
                kill(self.parts.server, Signal::TERM)?;
            }
        }
        Ok(())
    }

    fn kill_server(&mut self) {
        if self.server_status.is_none()
            && let Err(error) = kill(self.parts.server, Signal::KILL)
        {
            tracing::error!(%error, "the server could not be killed");
        }
    }

    /// Takes the requests that have come, as many as may be built at once.
    fn take_requests(&mut self) -> io::Result<()> {
        for _ in 0..BUILDS {
            if self.is_closed || self.server_status.is_some() || !self.take_request()? {
                break;
            }
        }
        Ok(())
    }

    /// Takes a request; `false` when there is none, or no room for what it may ask for.
    fn take_request(&mut self) -> io::Result<bool> {
        if self.expected.len() >= BUILDS {
            return Ok(false);
        }
        match packet::receive(&self.parts.socket) {
            Ok(Received::Packet { bytes, .. }) => match Request::decode(&bytes) {
                Ok(Request::Prepare(prepare)) => self.prepare(&prepare)?,
                Ok(Request::Assign(assign)) => self.assign(&assign)?,
                Ok(Request::End { id }) => self.end(id)?,
                Err(error) => self.mistrust(&error)?,
            },
            Ok(Received::Nothing) => return Ok(false),
            // It is about to end; its status follows.
            Ok(Received::Closed) => {
                self.is_closed = true;
                self.killed_at.get_or_insert_with(|| Instant::now() + MARGIN);
            }
            Err(error) => self.mistrust(&error)?,
        }
        Ok(true)
    }

    /// A server that says what no server says has been taken over, or is broken: it and all of its guests end.
    fn mistrust(&mut self, error: &dyn std::error::Error) -> io::Result<()> {
        tracing::error!(%error, "the server has sent what is no request: ending it");
        self.kill_server();
        self.wait_for_server()
    }

    fn wait_for_server(&mut self) -> io::Result<()> {
        let end = Instant::now() + END;
        while self.server_status.is_none() && Instant::now() < end {
            let mut polled = [PollFd::new(&self.parts.signals, PollFlags::IN)];
            let tick = Timespec::try_from(TICK).map_err(io::Error::other)?;
            rustix::io::retry_on_intr(|| poll(&mut polled, Some(&tick)))?;
            while self.parts.signals.read()?.is_some() {}
            self.reap()?;
        }
        Ok(())
    }

    fn end(&mut self, id: EnvironmentId) -> io::Result<()> {
        if self.sandboxes.contains_key(&id) {
            self.kill(id, true)
        } else {
            self.reply(&Reply::Ended { id }, Vec::new())
        }
    }

    /// Kills a sandbox; what is left of it goes when its pid 1 is reaped.
    fn kill(&mut self, id: EnvironmentId, is_answered: bool) -> io::Result<()> {
        let Some(sandbox) = self.sandboxes.get_mut(&id) else {
            return Ok(());
        };
        sandbox.phase = Phase::Ending { is_answered };
        self.expected.remove(&id);
        self.ending.insert(id);
        match sandbox.pid {
            Some(pid) => {
                kill(pid, Signal::KILL)?;
                self.parts.groups.let_die(&sandbox.group);
                Ok(())
            }
            None => self.finish(id),
        }
    }

    /// Nothing runs in the sandbox any more, and it is not to be read either.
    fn finish(&mut self, id: EnvironmentId) -> io::Result<()> {
        let Some(sandbox) = self.sandboxes.remove(&id) else {
            return Ok(());
        };
        self.expected.remove(&id);
        self.ending.remove(&id);
        self.parts.groups.leave(sandbox.group);
        match sandbox.phase {
            Phase::Ending { is_answered: true } => self.reply(&Reply::Ended { id }, Vec::new()),
            _ => Ok(()),
        }
    }

    /// Takes note of every child that has ended.
    fn reap(&mut self) -> io::Result<()> {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.parts.server => self.server_status = Some(code_of(status)),
                Ok(Some((pid, _))) => self.reaped(pid)?,
                Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn reaped(&mut self, pid: Pid) -> io::Result<()> {
        let Some(id) = self.by_pid.remove(&pid) else {
            if let Some(group) = self.parts.zygotes.reaped(pid, Instant::now()) {
                self.parts.groups.leave(group);
            }
            return self.take_spawned();
        };
        // Whatever it had to say is still in the socket.
        self.take_report(id)?;
        let Some(sandbox) = self.sandboxes.get_mut(&id) else {
            return Ok(());
        };
        sandbox.pid = None;
        if let Some(slot) = sandbox.slot.take() {
            self.parts.slots.give_back(slot);
        }
        // With pid 1 all processes of the sandbox have ended, and nobody else has had it.
        if let (Some(image), Some(scratch)) = (sandbox.tmp.take(), &mut self.parts.scratch) {
            scratch.take_back(image);
        }
        match sandbox.phase {
            Phase::Ending { .. } => self.finish(id),
            Phase::Blank { .. } | Phase::Standing => Ok(()),
            Phase::Building(_) | Phase::Assigning { .. } => self.fail(id, Refusal::died("it ended before it was done")),
        }
    }

    /// Kills what is late, and lets die again what is killed: a server that has been taken over could freeze it.
    fn keep_time(&mut self) -> io::Result<()> {
        let now = Instant::now();
        if self.killed_at.is_some_and(|at| now >= at) {
            tracing::warn!("the server has not ended in time: killing it");
            self.kill_server();
            self.wait_for_server()?;
        }
        if now.saturating_duration_since(self.ticked) >= TICK {
            self.ticked = now;
            self.tidy();
        }
        if now.saturating_duration_since(self.thawed) >= THAW {
            self.thawed = now;
            for sandbox in self.ending.iter().filter_map(|id| self.sandboxes.get(id)) {
                self.parts.groups.let_die(&sandbox.group);
            }
        }
        let is_late = |id: &&EnvironmentId| {
            let phase = self.sandboxes.get(*id).map(|sandbox| &sandbox.phase);
            phase
                .and_then(Phase::expected)
                .is_none_or(|(_, deadline)| now >= deadline)
        };
        let late: Vec<_> = self.expected.iter().filter(is_late).copied().collect();
        for id in late {
            let text = format!("not done after {} s", BUILD.as_secs());
            self.fail(
                id,
                Refusal {
                    step: Step::Time,
                    errno: libc::ETIMEDOUT,
                    text,
                },
            )?;
        }
        Ok(())
    }

    /// Sends a reply, or keeps it for when there is room.
    fn reply(&mut self, reply: &Reply, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        let bytes = reply.encode().map_err(io::Error::other)?;
        if self.replies.len() >= REPLIES {
            return Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                "the server does not take its replies",
            ));
        }
        self.replies.push_back((bytes, descriptors));
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        while let Some((bytes, descriptors)) = self.replies.front() {
            let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
            match packet::send(&self.parts.socket, bytes, &borrowed, false) {
                Ok(()) => drop(self.replies.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // The server is gone; its status follows.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.replies.clear();
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Kills everything and removes every group. What does not go in time is named, and swept by the next start. Whatever
    /// is waited for here, the kernel ends this process when it takes twice the time.
    fn end_all(&mut self) {
        if let Err(error) = ephyra_sys::signal::end_within(END * 2) {
            tracing::warn!(%error, "the warden's end has no bound");
        }
        self.replies.clear();
        self.parts.zygotes.end();
        let end = Instant::now() + END;
        let ids: Vec<_> = self.sandboxes.keys().copied().collect();
        for id in ids {
            if let Err(error) = self.kill(id, false) {
                tracing::error!(%id, %error, "a sandbox could not be killed");
            }
        }
        loop {
            let result = self.reap().and_then(|()| self.keep_time());
            let removed = result.and_then(|()| self.parts.groups.remove_all());
            match removed {
                Ok(true) if self.sandboxes.is_empty() && self.server_status.is_some() => return,
                Ok(_) if Instant::now() < end => std::thread::sleep(TICK),
                Ok(_) => return tracing::error!("sandboxes do not end; the next start will sweep them"),
                Err(error) => return tracing::error!(%error, "sandboxes could not be ended"),
            }
        }
    }
}

/// What [`State::poll`] found.
struct Ready {
    signals: bool,
    socket_in: bool,
    socket_out: bool,
    /// Whether a zygote has answered.
    zygotes: bool,
    /// Whose pid 1 has said something.
    reports: Vec<EnvironmentId>,
}

impl Ready {
    fn is_nothing(&self) -> bool {
        !self.signals && !self.socket_in && !self.socket_out && !self.zygotes && self.reports.is_empty()
    }
}

/// Sends a signal to a child that may have ended meanwhile.
fn kill(pid: Pid, signal: Signal) -> io::Result<()> {
    match kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A status as a shell shows it.
fn code_of(status: WaitStatus) -> i32 {
    let signal = status.terminating_signal().map(|signal| 128 + signal);
    signal.or_else(|| status.exit_status()).unwrap_or(1)
}
