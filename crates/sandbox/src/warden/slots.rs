//! The places that sandboxes take: each with a user of its own outside, a user namespace that maps it, and a network
//! namespace, made once and used by one sandbox after the other.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;

use ephyra_sys::clone::{Namespaces, clone};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::SANDBOXES;
use super::networks::{Network, Networks};
use crate::isolation::Piece;
use crate::skeleton::{GUEST_GID, GUEST_UID};

/// How many free slots are made ahead: as many as a burst takes, about 200 KB of the kernel's memory each, most of it the
/// network namespace's.
const READY: usize = 64;
/// How many free slots keep their network namespace; the kernel takes a while to end the others.
const NETWORKS: usize = 128;
/// The users where none can be the platform's own: the one that everywhere stands for nobody, and the one before it.
const SHARED: (u32, u32) = (65_534, 65_533);

/// Which users the server and the sandboxes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Users {
    /// One for the server and one for each slot, from this one on.
    Own(u32),
    /// One for the server and one for all sandboxes.
    Shared,
}

impl Users {
    /// The users from `base` on; `None` when they would not fit.
    pub(crate) fn new(base: u32, weaker: &BTreeSet<Piece>) -> Option<Self> {
        if weaker.contains(&Piece::OwnUsers) {
            return Some(Self::Shared);
        }
        // The last two numbers mean "no user" and "unchanged" to the kernel.
        let last = base.checked_add(SANDBOXES)?;
        (base > 0 && last < u32::MAX - 1).then_some(Self::Own(base))
    }

    /// The server's.
    pub(crate) fn server(self) -> u32 {
        match self {
            Self::Own(base) => base,
            Self::Shared => SHARED.0,
        }
    }

    /// A slot's.
    pub(crate) fn of_slot(self, index: u32) -> u32 {
        match self {
            Self::Own(base) => base + 1 + index,
            Self::Shared => SHARED.1,
        }
    }
}

/// A place for a sandbox.
#[derive(Debug)]
pub(super) struct Slot {
    /// The guest's user outside; also its group.
    pub(super) uid: u32,
    /// Maps [`Slot::uid`] to the guest's own number, where user namespaces are used.
    pub(super) user_namespace: Option<OwnedFd>,
    /// A network with nothing but a loopback interface that is up; `None` for one to be made anew.
    pub(super) network: Option<Network>,
}

/// All slots; a slot that is taken is owned by its sandbox.
#[derive(Debug)]
pub(super) struct Slots {
    users: Users,
    has_namespaces: bool,
    networks: Networks,
    made: u32,
    /// The one that was given back last is taken first: its user's structures are warm in the kernel.
    free: Vec<Slot>,
}

impl Slots {
    pub(super) fn new(users: Users, has_namespaces: bool, networks: Networks) -> Self {
        Self {
            users,
            has_namespaces,
            networks,
            made: 0,
            free: Vec::new(),
        }
    }

    /// A free slot; `None` when all are taken.
    pub(super) fn take(&mut self) -> io::Result<Option<Slot>> {
        match self.free.pop() {
            Some(slot) => Ok(Some(slot)),
            None if self.made >= SANDBOXES => Ok(None),
            None => self.make().map(Some),
        }
    }

    /// Gives a slot back once no process of its user is left.
    pub(super) fn give_back(&mut self, mut slot: Slot) {
        slot.network = slot.network.filter(Network::is_reusable);
        self.free.push(slot);
        // The ones below are those that were not needed for the longest time.
        if let Some(below) = self.free.len().checked_sub(NETWORKS + 1) {
            self.free[below].network = None;
        }
    }

    /// Whether there are fewer slots with a network than are kept ready.
    pub(super) fn is_short(&self) -> bool {
        self.bare().is_some() || (self.free.len() < READY && self.made < SANDBOXES)
    }

    /// Gives one more slot a network, or makes one with it.
    pub(super) fn prepare(&mut self) -> io::Result<()> {
        let network = Some(self.networks.make()?);
        match self.bare() {
            Some(index) => self.free[index].network = network,
            None => {
                let slot = self.make()?;
                self.free.insert(0, Slot { network, ..slot });
            }
        }
        Ok(())
    }

    /// The next slot to be taken that has no network.
    fn bare(&self) -> Option<usize> {
        let next = self.free.len().saturating_sub(READY);
        let found = self.free[next..].iter().rposition(|slot| slot.network.is_none());
        found.map(|index| next + index)
    }

    fn make(&mut self) -> io::Result<Slot> {
        let uid = self.users.of_slot(self.made);
        let user_namespace = if self.has_namespaces {
            Some(user_namespace(uid)?)
        } else {
            None
        };
        self.made += 1;
        Ok(Slot {
            uid,
            user_namespace,
            network: None,
        })
    }
}

/// A user namespace in which the guest's user and group are `uid` outside, and nobody else is anybody. A short-lived
/// process holds it while the maps are written; the descriptor holds it from then on.
pub(crate) fn user_namespace(uid: u32) -> io::Result<OwnedFd> {
    let warden = rustix::process::getpid();
    let holder = clone(Namespaces::USER, None, || {
        let dies_with_us = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        // Seen from the new user namespace the parent's pid is the same, as the pid namespace is.
        if dies_with_us.is_ok() && rustix::process::getppid() == Some(warden) {
            rustix::event::pause();
        }
        1
    })
    .map_err(io::Error::other)?;
    let namespace = map(holder, uid);
    kill_process(holder, Signal::KILL)?;
    rustix::io::retry_on_intr(|| waitpid(Some(holder), WaitOptions::empty()))?;
    namespace
}

fn map(holder: Pid, uid: u32) -> io::Result<OwnedFd> {
    let file = |name: &str| format!("/proc/{holder}/{name}");
    fs::write(file("setgroups"), "deny")?;
    fs::write(file("uid_map"), format!("{GUEST_UID} {uid} 1"))?;
    fs::write(file("gid_map"), format!("{GUEST_GID} {uid} 1"))?;
    Ok(File::open(file("ns/user"))?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_stay_below_those_that_mean_nothing() {
        let none = BTreeSet::new();
        assert!(Users::new(0, &none).is_none());
        assert!(Users::new(u32::MAX - SANDBOXES, &none).is_none());
        let users = Users::new(1000, &none).unwrap();
        assert_eq!((users.server(), users.of_slot(0), users.of_slot(7)), (1000, 1001, 1008));
        let shared = Users::new(1000, &[Piece::OwnUsers].into()).unwrap();
        assert_ne!(shared.server(), shared.of_slot(3));
    }
}
