//! Network namespaces for one sandbox after the other: making one takes long and ending one longer, during which nobody
//! else can make any.
//!
//! Nothing of a sandbox stays in its network: a guest has no right to change it, its sockets end with its processes, and
//! connections that it has closed are not remembered. What can still be read are counters of all that went over the
//! loopback interface.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ephyra_sys::clone::Namespaces;
use ephyra_sys::namespace::{enter_network, unshare};
use ephyra_sys::network::raise_loopback;

/// The namespace of whoever opens it.
const OWN: &str = "/proc/self/ns/net";
/// How many closed connections are remembered, for a minute each; it is the network's of whoever opens it.
const REMEMBERED: &str = "/proc/sys/net/ipv4/tcp_max_tw_buckets";

/// A network with a loopback interface that is up.
#[derive(Debug)]
pub(crate) struct Network {
    namespace: OwnedFd,
    /// Whether it forgets closed connections.
    is_forgetful: bool,
}

impl Network {
    /// The new network that this process is in, made ready.
    pub(crate) fn set_up() -> io::Result<Self> {
        raise_loopback()?;
        Ok(Self {
            namespace: File::open(OWN)?.into(),
            is_forgetful: std::fs::write(REMEMBERED, "0").is_ok(),
        })
    }

    /// One that a sandbox's pid 1 has made for itself and found reusable.
    pub(super) fn made_inside(namespace: OwnedFd) -> Self {
        Self {
            namespace,
            is_forgetful: true,
        }
    }

    /// To be entered.
    pub(crate) fn namespace(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }

    /// Whether another sandbox may have it afterwards.
    pub(crate) fn is_reusable(&self) -> bool {
        self.is_forgetful
    }
}

/// Makes networks.
#[derive(Debug)]
pub(super) struct Networks {
    /// The warden's own, to return to.
    own: OwnedFd,
}

impl Networks {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self {
            own: File::open(OWN)?.into(),
        })
    }

    /// Makes one. This process is in it for a moment; it uses no network itself.
    pub(super) fn make(&self) -> io::Result<Network> {
        unshare(Namespaces::NETWORK)?;
        let made = Network::set_up();
        enter_network(self.own.as_fd())?;
        made
    }
}
