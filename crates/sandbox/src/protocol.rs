//! What the server and the warden say to each other: one typed message a packet, never a path.
//!
//! The warden treats the server as one that may have been taken over: a packet that does not decode, or a request
//! that [`Request::validate`] refuses, changes nothing.

use std::ops::RangeInclusive;

use ephyra_core::digest::Digest;
use ephyra_core::id::EnvironmentId;
use ephyra_core::limits;
use serde::{Deserialize, Serialize};

use crate::cgroup::CgroupVersion;

/// The largest packet in bytes, either way.
pub(crate) const PACKET_BYTES: usize = 4096;
/// The most descriptors that come with one packet.
pub(crate) const PACKET_DESCRIPTORS: usize = 16;
/// The most bytes of [`Reply::Failed`]'s text.
const TEXT_BYTES: usize = 1024;

/// Server to warden.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Build a sandbox that is nobody's yet.
    Prepare(Prepare),
    /// Give one to a function.
    Assign(Assign),
    /// End a sandbox: kill what is in it and remove what it was made of.
    End {
        /// Which.
        id: EnvironmentId,
    },
}

/// What a sandbox is made of before it is known for whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Prepare {
    /// Its name, new to the warden.
    pub id: EnvironmentId,
    /// The index of its runtime in the warden's own list.
    pub runtime: u16,
    /// Its memory in MB, until it is assigned.
    pub memory_mb: u32,
    /// The prepared folder that is mounted at `/var/lang/base`.
    pub base: Option<Digest>,
    /// Whether the runtime's zygote forks a process into it.
    pub has_zygote: bool,
}

/// What a sandbox gets when it is known for whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Assign {
    /// Which: one that stands and was not assigned before.
    pub id: EnvironmentId,
    /// Its memory in MB.
    pub memory_mb: u32,
    /// The size of its `/tmp` in MB.
    pub tmp_mb: u32,
    /// The package that is mounted at `/var/task`.
    pub code: Option<Digest>,
    /// The layers that are mounted at `/opt`; a later one covers an earlier one.
    pub layers: Vec<Digest>,
    /// The prepared folder that is mounted at `/var/lang/function`.
    pub prepared: Option<Digest>,
}

/// Warden to server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The sandbox stands. Its descriptors come with the packet in this order: control, supervisor, output, the
    /// extensions' output, the listener, then the control files that `files` names.
    Prepared {
        /// Which.
        id: EnvironmentId,
        /// The control files that came along.
        files: FilesPresent,
    },
    /// The sandbox is the function's, and nothing in it is privileged any more.
    Assigned {
        /// Which.
        id: EnvironmentId,
    },
    /// The sandbox could not be built or assigned; nothing of it is left.
    Failed {
        /// Which.
        id: EnvironmentId,
        /// What was being done.
        step: Step,
        /// The error number, 0 when there is none.
        errno: i32,
        /// More, for people.
        text: String,
    },
    /// Nothing of the sandbox is left, or there never was one of that name.
    Ended {
        /// Which.
        id: EnvironmentId,
    },
}

/// Which control files a sandbox has; a file is absent when its controller was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FilesPresent {
    /// How they are written and read.
    pub version: CgroupVersion,
    /// `freezer.state` or `cgroup.freeze`.
    pub freezer: bool,
    /// `cpuacct.usage` or `cpu.stat`.
    pub cpu_usage: bool,
    /// `memory.max_usage_in_bytes`, `memory.peak` or `memory.current`.
    pub peak_memory: bool,
    /// `memory.oom_control` or `memory.events`.
    pub memory_events: bool,
    /// `cpu.cfs_quota_us` or `cpu.max`.
    pub cpu_cap: bool,
}

macro_rules! steps {
    ($($(#[$doc:meta])* $step:ident = $text:literal),* $(,)?) => {
        /// A step of building a sandbox.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Step { $($(#[$doc])* $step),* }

        impl std::fmt::Display for Step {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Self::$step => $text),* })
            }
        }
    };
}

steps! {
    /// The request was not one that the warden carries out.
    Request = "checking the request",
    /// All places for sandboxes are taken.
    Slot = "finding a free place",
    /// The slot's user namespace.
    UserNamespace = "making the user namespace",
    /// Its cgroup.
    Cgroup = "making the cgroup",
    /// Its descriptors.
    Descriptors = "making the descriptors",
    /// Copying the warden.
    Clone = "cloning the process",
    /// Taking longer than is allowed.
    Time = "building within the time allowed",
    /// Ending before it stood.
    Died = "building (the process died)",
    /// Moving into the cgroup.
    JoinCgroup = "joining the cgroup",
    /// Leaving the warden's session, naming the host.
    Session = "leaving the session",
    /// The prepared root of the runtime.
    Root = "mounting the runtime's root",
    /// What the runtime boots from.
    Base = "mounting the runtime's base",
    /// A fork of the runtime's zygote.
    Zygote = "forking the zygote",
    /// The package.
    Code = "mounting the code",
    /// The layers.
    Layers = "mounting the layers",
    /// What was prepared for the function.
    Prepared = "mounting what was prepared",
    /// `/tmp`.
    Tmp = "mounting /tmp",
    /// `/proc`.
    Proc = "mounting /proc",
    /// Making the new root the root.
    Pivot = "changing the root",
    /// The loopback interface.
    Loopback = "raising the loopback interface",
    /// The Runtime API's listener.
    Listener = "opening the listener",
    /// Groups and user.
    Identity = "becoming the guest's user",
    /// Capabilities, `no_new_privs`, limits.
    Privileges = "dropping privileges",
    /// Landlock.
    Landlock = "applying landlock",
    /// Closing what the guest must not hold.
    Close = "closing descriptors",
    /// The system call filter.
    Seccomp = "applying the system call filter",
}

/// Why a request is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    /// A number is out of its range.
    #[error("{name} is {value} but must be {} to {}", range.start(), range.end())]
    Range {
        /// Which.
        name: &'static str,
        /// Its value.
        value: u32,
        /// What it may be.
        range: RangeInclusive<u32>,
    },
    /// More layers than a function may have.
    #[error("there are {0} layers but at most {max} are allowed", max = limits::LAYERS)]
    Layers(usize),
    /// The runtime is not in the warden's list.
    #[error("there is no runtime {0}")]
    Runtime(u16),
}

fn in_range(name: &'static str, value: u32, range: RangeInclusive<u32>) -> Result<(), RequestError> {
    if range.contains(&value) {
        Ok(())
    } else {
        Err(RequestError::Range { name, value, range })
    }
}

impl Prepare {
    /// Refuses what is out of bounds; `runtimes` is the length of the warden's list.
    pub(crate) fn validate(&self, runtimes: usize) -> Result<(), RequestError> {
        in_range("memory", self.memory_mb, limits::MEMORY_MB)?;
        if usize::from(self.runtime) >= runtimes {
            return Err(RequestError::Runtime(self.runtime));
        }
        Ok(())
    }
}

impl Assign {
    /// Refuses what is out of bounds.
    pub(crate) fn validate(&self) -> Result<(), RequestError> {
        in_range("memory", self.memory_mb, limits::MEMORY_MB)?;
        in_range("/tmp", self.tmp_mb, limits::EPHEMERAL_STORAGE_MB)?;
        if self.layers.len() > limits::LAYERS {
            return Err(RequestError::Layers(self.layers.len()));
        }
        Ok(())
    }
}

impl Request {
    /// The request as a packet.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_stdvec(self)
    }

    /// A packet as a request.
    pub(crate) fn decode(packet: &[u8]) -> Result<Self, postcard::Error> {
        postcard::from_bytes(packet)
    }
}

impl Reply {
    /// A failure, its text cut to what a packet holds.
    pub(crate) fn failed(id: EnvironmentId, step: Step, errno: i32, mut text: String) -> Self {
        text.truncate(text.floor_char_boundary(TEXT_BYTES));
        Self::Failed { id, step, errno, text }
    }

    /// The reply as a packet.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_stdvec(self)
    }

    /// A packet as a reply.
    pub(crate) fn decode(packet: &[u8]) -> Result<Self, postcard::Error> {
        postcard::from_bytes(packet)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: EnvironmentId = EnvironmentId::from_bytes([7; 16]);

    fn prepare() -> Prepare {
        Prepare {
            id: ID,
            runtime: 1,
            memory_mb: 128,
            base: Some(Digest::of(b"base")),
            has_zygote: true,
        }
    }

    fn assign() -> Assign {
        Assign {
            id: ID,
            memory_mb: 128,
            tmp_mb: 512,
            code: Some(Digest::of(b"code")),
            layers: vec![Digest::of(b"layer"); limits::LAYERS],
            prepared: Some(Digest::of(b"prepared")),
        }
    }

    #[test]
    fn the_largest_messages_fit_a_packet_and_read_back() {
        for request in [Request::Prepare(prepare()), Request::Assign(assign())] {
            let packet = request.encode().unwrap();
            assert!(packet.len() <= PACKET_BYTES);
            assert_eq!(Request::decode(&packet), Ok(request));
        }
        let reply = Reply::failed(ID, Step::Clone, 11, "ä".repeat(PACKET_BYTES));
        let packet = reply.encode().unwrap();
        assert!(packet.len() <= PACKET_BYTES);
        assert_eq!(Reply::decode(&packet), Ok(reply));
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        assert_eq!(prepare().validate(2), Ok(()));
        assert_eq!(prepare().validate(1), Err(RequestError::Runtime(1)));
        assert_eq!(assign().validate(), Ok(()));
        let mut request = assign();
        request.layers.push(Digest::of(b"one more"));
        assert_eq!(request.validate(), Err(RequestError::Layers(6)));
        for (memory_mb, tmp_mb) in [(127, 512), (10_241, 512), (128, 511), (128, u32::MAX)] {
            let request = Assign {
                memory_mb,
                tmp_mb,
                ..assign()
            };
            assert!(matches!(request.validate(), Err(RequestError::Range { .. })));
        }
        let request = Prepare {
            memory_mb: 127,
            ..prepare()
        };
        assert!(matches!(request.validate(2), Err(RequestError::Range { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn any_bytes_decode_or_are_refused(packet in proptest::collection::vec(any::<u8>(), 0..256)) {
            if let Ok(request) = Request::decode(&packet) {
                prop_assert!(request.encode().is_ok());
            }
            if let Ok(reply) = Reply::decode(&packet) {
                prop_assert!(reply.encode().is_ok());
            }
        }

        #[test]
        fn a_damaged_request_never_panics(at in 0usize..64, byte in any::<u8>()) {
            for request in [Request::Prepare(prepare()), Request::Assign(assign())] {
                let mut packet = request.encode().unwrap();
                let at = at % packet.len();
                packet[at] = byte;
                match Request::decode(&packet) {
                    Ok(Request::Prepare(prepare)) => drop(prepare.validate(1)),
                    Ok(Request::Assign(assign)) => drop(assign.validate()),
                    Ok(Request::End { .. }) | Err(_) => {}
                }
            }
        }
    }
}
