//! What the server and a sandbox's pid 1 say to each other, one message a packet.
//!
//! The runtime is started at most once, before or after the sandbox is assigned; at most [`EXTENSIONS`] extensions are,
//! after it. Whatever else the server says, pid 1 takes for its end.

use serde::{Deserialize, Serialize};

/// The largest packet in bytes: 4 KB of variables, their names, the arguments and some room.
pub const PACKET_BYTES: usize = 64 * 1024;
/// The most extensions that are started in one sandbox.
pub const EXTENSIONS: usize = 10;

/// Server to pid 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Start the runtime: once, unless a zygote has.
    Start(StartCommand),
    /// Start another extension: only once the sandbox is assigned. They are numbered from 0 in the order of starting.
    Extension(StartCommand),
    /// Send SIGTERM to the runtime, if it runs.
    Terminate,
    /// Kill the runtime, if it runs, and leave the extensions running.
    Kill,
    /// Make a TCP socket and hand it over unconnected: whoever has it can connect it inside the sandbox, and only there.
    /// Only once the sandbox is assigned.
    Socket,
}

/// A program to be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartCommand {
    /// The program and its arguments; the program is an absolute path in the sandbox.
    pub arguments: Vec<String>,
    /// The environment variables.
    pub variables: Vec<(String, String)>,
    /// The working directory. One that is mounted over later, as `/var/task` is, stays the old one for who is in it.
    pub directory: String,
}

/// Who has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Process {
    /// The runtime. When no extension runs, everything else in the sandbox ends with it.
    Runtime,
    /// The extension of this number.
    Extension(u8),
}

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// The program could not be executed: the errno.
    ExecFailed(i32),
    /// It ended with this status.
    Exited(u8),
    /// It was ended by this signal.
    Signalled(u8),
}

/// Pid 1 to server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// One of its processes has ended.
    Ended {
        /// Which.
        process: Process,
        /// How.
        exit: Exit,
    },
    /// A socket that was asked for comes with this packet; without one, none could be made.
    Socket,
}

impl Command {
    /// The command as a packet.
    pub fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_stdvec(self)
    }

    /// A packet as a command.
    pub fn decode(packet: &[u8]) -> Result<Self, postcard::Error> {
        postcard::from_bytes(packet)
    }
}

impl Notice {
    /// The notice as a packet.
    pub fn encode(self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_stdvec(&self)
    }

    /// A packet as a notice.
    pub fn decode(packet: &[u8]) -> Result<Self, postcard::Error> {
        postcard::from_bytes(packet)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_bytes_decode_or_are_refused(packet in proptest::collection::vec(any::<u8>(), 0..256)) {
            if let Ok(command) = Command::decode(&packet) {
                prop_assert!(command.encode().is_ok());
            }
            if let Ok(notice) = Notice::decode(&packet) {
                prop_assert!(notice.encode().is_ok());
            }
        }

        #[test]
        fn commands_read_back(arguments in proptest::collection::vec(".{0,20}", 0..4), name in ".{0,20}", value in ".{0,20}") {
            let start = StartCommand { arguments, variables: vec![(name, value)], directory: "/var/task".to_owned() };
            for command in [Command::Start(start.clone()), Command::Extension(start), Command::Terminate, Command::Socket] {
                prop_assert_eq!(Command::decode(&command.encode().unwrap()), Ok(command));
            }
        }
    }
}
