//! What the warden and pid 1 say to each other while pid 1 is privileged, one message a packet: pid 1 that it stands, the
//! warden for whom, pid 1 that it is done; then the socket is closed for ever.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use crate::packet::{self, Received};
use crate::protocol::Step;

/// Pid 1 to the warden.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BuildReport {
    /// The sandbox stands; its listener comes along, then what it had to make itself and others may have after it: its
    /// network, and what its /tmp is.
    Ready {
        /// Whether its network is among them.
        network: bool,
    },
    /// It has what belongs to the function, and pid 1 has no rights any more.
    Assigned,
    /// It does not stand, or could not be assigned; pid 1 ends.
    Failed {
        /// What was being done.
        step: Step,
        /// The error number, 0 when there is none.
        errno: i32,
        /// The error.
        text: String,
    },
}

/// The warden to pid 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Order {
    /// A zygote has forked the runtime, which has this number here.
    Adopt {
        /// The number.
        process: i32,
    },
    /// Mount what came along and give up all rights.
    Assign(Mounts),
}

/// Which mounts come with an assignment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mounts {
    /// The package.
    pub(crate) code: bool,
    /// The layers, as one.
    pub(crate) layers: bool,
    /// What was prepared for the function.
    pub(crate) prepared: bool,
    /// A `/tmp` of another size than the one that is there.
    pub(crate) tmp: bool,
}

impl Mounts {
    /// Those that come, in their order, as the steps of mounting them.
    pub(crate) fn steps(self) -> impl Iterator<Item = Step> {
        let Self {
            code,
            layers,
            prepared,
            tmp,
        } = self;
        [
            (code, Step::Code),
            (layers, Step::Layers),
            (prepared, Step::Prepared),
            (tmp, Step::Tmp),
        ]
        .into_iter()
        .filter_map(|(comes, step)| comes.then_some(step))
    }
}

/// Says something to the warden; an error means that it is gone.
pub(super) fn say(report: &OwnedFd, message: &BuildReport, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = postcard::to_stdvec(message).map_err(io::Error::other)?;
    packet::send(report, &bytes, descriptors, true)
}

/// Gives pid 1 an order. It is waiting for one, so that there is room.
pub(crate) fn give(report: &OwnedFd, order: Order, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = postcard::to_stdvec(&order).map_err(io::Error::other)?;
    packet::send(report, &bytes, descriptors, false)
}

/// The warden's next order, if one has come. An error also means that the warden is gone.
pub(super) fn hear(report: &OwnedFd) -> io::Result<Option<(Order, Vec<OwnedFd>)>> {
    match packet::receive(report)? {
        Received::Packet { bytes, descriptors } => {
            let order = postcard::from_bytes(&bytes).map_err(io::Error::other)?;
            Ok(Some((order, descriptors)))
        }
        Received::Closed => Err(io::ErrorKind::BrokenPipe.into()),
        Received::Nothing => Ok(None),
    }
}
