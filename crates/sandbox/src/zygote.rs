//! Zygotes: for each runtime that has one, a process that has booted its interpreter once and forks it into sandboxes.
//!
//! A zygote is asked for a fork by its [`Seat`]: everything that the new process enters or becomes. It answers with the
//! process's number in the sandbox, or why there is none. The warden never waits for it: requests go out, answers come
//! in at [`Zygotes::take`], and one that does not come ends the sandbox at its deadline.
//!
//! A zygote starts when it is first needed, and is replaced after a time or a number of forks: the place of everything
//! in its memory and the secret of its hashes are those of all its forks. Its successor boots before it goes. Read
//! `message` (what is said), `process` (what one is), then this.

mod message;
mod process;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use ephyra_core::id::EnvironmentId;
use ephyra_sys::clone::Namespaces;
use rustix::process::{Pid, Signal, kill_process};

use crate::packet::{self, Received};
use crate::supervisor::StartCommand;
use message::Answer;

pub(crate) use process::Setting;

/// How old a zygote gets before it is replaced, at the next fork that is asked of it.
const AGE: Duration = Duration::from_secs(3600);
/// How long a zygote that has failed to boot is left alone; twice as long for each time that it has failed before.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest that it is left alone.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long answers of one that was replaced or has ended are waited for: longer than anybody waits for a sandbox.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a forked runtime is put into. All descriptors are close-on-exec and end with the seat.
#[derive(Debug)]
pub(crate) struct Seat {
    /// The sandbox, by which the answer names it.
    pub(crate) id: EnvironmentId,
    /// The index of its runtime in the warden's list.
    pub(crate) runtime: u16,
    /// The pidfd of the sandbox's pid 1, which stands: its root is changed, nothing is mounted for a function yet.
    pub(crate) first: OwnedFd,
    /// Which namespaces pid 1 has of its own and are to be entered, by setns(2) with `first`. The cgroup namespace is
    /// among them where it is used; the user namespace is not, see `user_namespace`.
    pub(crate) namespaces: Namespaces,
    /// The slot's user namespace, to be entered after all else, where user namespaces are used.
    pub(crate) user_namespace: Option<OwnedFd>,
    /// The user to become, in the numbers of that user namespace.
    pub(crate) uid: u32,
    /// The group to become.
    pub(crate) gid: u32,
    /// How the sandbox's control group is joined.
    pub(crate) group: Entry,
    /// To become descriptor 3.
    pub(crate) control: OwnedFd,
    /// To become descriptors 1 and 2.
    pub(crate) output: OwnedFd,
}

/// How a control group is joined.
#[derive(Debug)]
pub(crate) enum Entry {
    /// There is none.
    None,
    /// Version 1: `tasks` of each hierarchy, open for writing. A write of `0` moves the thread that writes.
    V1(Vec<OwnedFd>),
    /// Version 2: the group's directory, for `CLONE_INTO_CGROUP`.
    V2(OwnedFd),
}

/// What a zygote has answered.
#[derive(Debug)]
pub(crate) struct Spawned {
    /// Which seat it was.
    pub(crate) id: EnvironmentId,
    /// The process's number in the sandbox's pid namespace. Its parent there has ended, so that it is pid 1's to reap.
    /// An error is why there is no such process.
    pub(crate) process: io::Result<i32>,
}

/// All zygotes.
#[derive(Debug)]
pub(crate) struct Zygotes {
    setting: Setting,
    /// By the runtime's index in the warden's list.
    families: Vec<Family>,
    /// Those that were replaced or have ended, as long as answers may come, and since when.
    leaving: Vec<(Zygote, Instant)>,
    /// Those that have not been reaped yet, with their control group.
    groups: HashMap<Pid, String>,
    /// How many have been started.
    made: u64,
}

/// The zygotes of one runtime.
#[derive(Debug)]
struct Family {
    /// How one is started; `None` where the runtime has none.
    command: Option<StartCommand>,
    current: Option<Zygote>,
    /// The successor, which is booting.
    next: Option<Zygote>,
    /// How many have failed, one after the other.
    failures: u32,
    not_before: Option<Instant>,
    /// How many forks one makes before it is replaced.
    most_forks: u32,
}

#[derive(Debug)]
struct Zygote {
    /// The index of its family.
    family: usize,
    /// `None` when it has ended.
    pid: Option<Pid>,
    socket: OwnedFd,
    /// What it says to people, which is only ever why it has ended.
    output: OwnedFd,
    is_booted: bool,
    /// Whether it has ever done what it is for.
    has_forked: bool,
    /// Whether nobody holds the other end of its socket any more.
    is_closed: bool,
    /// The seats that it has not answered.
    asked: Vec<EnvironmentId>,
    forks: u32,
    born: Instant,
}

impl Zygotes {
    /// No zygote is started yet. `commands` are those of the warden's list of runtimes, where they have one.
    pub(crate) fn new(setting: Setting, commands: Vec<Option<StartCommand>>) -> Self {
        let most_forks = setting.most_forks;
        let family = |command| Family {
            command,
            current: None,
            next: None,
            failures: 0,
            not_before: None,
            most_forks,
        };
        Self {
            setting,
            families: commands.into_iter().map(family).collect(),
            leaving: Vec::new(),
            groups: HashMap::new(),
            made: 0,
        }
    }

    /// Whether there is a zygote for this runtime of the warden's list.
    pub(crate) fn has(&self, runtime: u16) -> bool {
        let family = self.families.get(usize::from(runtime));
        family.is_some_and(|family| family.command.is_some())
    }

    /// Asks a zygote for a process. Never waits; starts the zygote when it is not running, and its successor when it is
    /// to be replaced. An error when it has failed a moment ago.
    pub(crate) fn spawn(&mut self, seat: &Seat, now: Instant) -> io::Result<()> {
        let index = usize::from(seat.runtime);
        let family = self.families.get(index).ok_or(io::ErrorKind::Unsupported)?;
        if family.current.as_ref().is_none_or(|current| current.is_closed) {
            if family.not_before.is_some_and(|at| now < at) {
                let text = format!(
                    "the zygote has failed {} times: it is not started again yet",
                    family.failures
                );
                return Err(io::Error::other(text));
            }
            let started = self.start(index, now);
            let family = &mut self.families[index];
            match started {
                Ok(zygote) => self
                    .leaving
                    .extend(family.current.replace(zygote).map(|old| (old, now))),
                Err(error) => {
                    family.has_failed(now);
                    return Err(error);
                }
            }
        } else if family.is_due(now) {
            // Not at any price: the one that is there still works.
            match self.start(index, now) {
                Ok(next) => self.families[index].next = Some(next),
                Err(error) => {
                    tracing::warn!(%error, "a zygote's successor could not be started");
                    self.families[index].has_failed(now);
                }
            }
        }
        let Some(zygote) = &mut self.families[index].current else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let (bytes, descriptors) = message::request(seat);
        packet::send(&zygote.socket, &bytes, &descriptors, false)?;
        zygote.asked.push(seat.id);
        zygote.forks += 1;
        Ok(())
    }

    fn start(&mut self, index: usize, now: Instant) -> io::Result<Zygote> {
        let command = self.families[index].command.as_ref();
        let command = command.ok_or(io::ErrorKind::Unsupported)?;
        self.made += 1;
        let group = format!("zygote-{}", self.made);
        let started = process::start(&self.setting, index, command, &group)?;
        self.groups.insert(started.pid, group);
        Ok(Zygote {
            family: index,
            pid: Some(started.pid),
            socket: started.socket,
            output: started.output,
            is_booted: false,
            has_forked: false,
            is_closed: false,
            asked: Vec::new(),
            forks: 0,
            born: now,
        })
    }

    /// What to wait at for answers; readable when [`Zygotes::take`] has something.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let families = self.families.iter();
        let current = families.flat_map(|family| family.current.iter().chain(&family.next));
        let all = current
            .chain(self.leaving.iter().map(|(zygote, _)| zygote))
            .filter(|zygote| !zygote.is_closed);
        all.map(|zygote| zygote.socket.as_fd())
    }

    /// Takes all answers that have come. What a zygote that has ended was asked for and has not done are errors.
    pub(crate) fn take(&mut self, now: Instant) -> Vec<Spawned> {
        let mut answers = Vec::new();
        for family in &mut self.families {
            for zygote in family.current.iter_mut().chain(&mut family.next) {
                zygote.read(&mut answers);
            }
            if family.next.as_ref().is_some_and(|next| next.is_booted) {
                let old = std::mem::replace(&mut family.current, family.next.take());
                self.leaving.extend(old.map(|old| (old, now)));
            }
            if family.current.as_ref().is_some_and(|current| current.is_booted) {
                family.failures = 0;
            }
        }
        for (zygote, _) in &mut self.leaving {
            zygote.read(&mut answers);
        }
        // One that is asked nothing any more ends when its socket closes.
        self.leaving
            .retain(|(zygote, since)| !zygote.asked.is_empty() && now < *since + PATIENCE);
        answers
    }

    /// Takes note that a child of the warden has ended. If it was a zygote, its control group, which is to be removed.
    pub(crate) fn reaped(&mut self, pid: Pid, now: Instant) -> Option<String> {
        let group = self.groups.remove(&pid)?;
        let is_it = |zygote: &mut Zygote| zygote.pid == Some(pid);
        for family in &mut self.families {
            let current = family.current.take_if(is_it);
            let ended = current.or_else(|| family.next.take_if(is_it));
            // Forks that it has made may still answer.
            self.leaving.extend(ended.map(|zygote| (zygote, now)));
        }
        if let Some((zygote, _)) = self.leaving.iter_mut().find(|(zygote, _)| zygote.pid == Some(pid)) {
            zygote.pid = None;
            tracing::info!(%pid, forks = zygote.forks, said = zygote.last_words(), "a zygote has ended");
            if !zygote.has_forked {
                self.families[zygote.family].has_failed(now);
            }
        }
        Some(group)
    }

    /// Ends all zygotes; they are reaped like any child.
    pub(crate) fn end(&mut self) {
        for pid in self.groups.keys() {
            match kill_process(*pid, Signal::KILL) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => tracing::error!(%error, "a zygote could not be killed"),
            }
        }
        for family in &mut self.families {
            family.command = None;
        }
    }
}

impl Family {
    /// Whether the one that is there is to have a successor, and has none.
    fn is_due(&self, now: Instant) -> bool {
        let is_old = |zygote: &Zygote| zygote.forks >= self.most_forks || now >= zygote.born + AGE;
        self.next.is_none() && self.current.as_ref().is_some_and(is_old) && self.not_before.is_none_or(|at| now >= at)
    }

    fn has_failed(&mut self, now: Instant) {
        self.failures += 1;
        let pause = PAUSE.saturating_mul(1 << (self.failures - 1).min(16));
        self.not_before = Some(now + pause.min(LONGEST_PAUSE));
    }
}

impl Zygote {
    fn read(&mut self, answers: &mut Vec<Spawned>) {
        while !self.is_closed {
            match packet::receive(&self.socket) {
                Ok(Received::Nothing) => return,
                Ok(Received::Packet { bytes, .. }) => match Answer::decode(&bytes) {
                    Some(Answer::Booted) => {
                        tracing::debug!(took_ms = self.born.elapsed().as_millis(), "a zygote has booted");
                        self.is_booted = true;
                    }
                    Some(Answer::Spawned(spawned)) => {
                        // Whoever was given up is not waited for any more.
                        if let Some(at) = self.asked.iter().position(|id| *id == spawned.id) {
                            self.asked.swap_remove(at);
                            self.has_forked |= spawned.process.is_ok();
                            answers.push(spawned);
                        }
                    }
                    None => self.close("it says what no zygote says", answers),
                },
                Ok(Received::Closed) => self.close("it has ended", answers),
                Err(error) => self.close(&error.to_string(), answers),
            }
        }
    }

    /// No answer comes any more.
    fn close(&mut self, why: &str, answers: &mut Vec<Spawned>) {
        self.is_closed = true;
        if let Some(pid) = self.pid
            && let Err(error) = kill_process(pid, Signal::KILL)
        {
            tracing::debug!(%error, "a zygote could not be killed");
        }
        let said = self.last_words();
        answers.extend(self.asked.drain(..).map(|id| Spawned {
            id,
            process: Err(io::Error::other(format!("the zygote: {why} {said}"))),
        }));
    }

    /// The end of what it has said to people and has not been read.
    fn last_words(&self) -> String {
        let mut bytes = [0; 4096];
        let mut length = 0;
        while let Ok(read @ 1..) = rustix::io::read(&self.output, &mut bytes) {
            length = read;
        }
        String::from_utf8_lossy(&bytes[..length]).trim_end().to_owned()
    }
}
