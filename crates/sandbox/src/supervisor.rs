//! What the server and a sandbox's pid 1 say to each other, one message a packet.

use serde::{Deserialize, Serialize};

/// The largest packet in bytes: 4 KB of variables, their names, the arguments and some room.
pub const PACKET_BYTES: usize = 64 * 1024;

/// Server to pid 1, once: start the runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartCommand {
    /// The program and its arguments; the program is an absolute path in the sandbox.
    pub arguments: Vec<String>,
    /// The environment variables.
    pub variables: Vec<(String, String)>,
    /// The working directory.
    pub directory: String,
}

/// Pid 1 to server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// The program could not be executed: the errno.
    ExecFailed(i32),
    /// The program ended with this status.
    Exited(u8),
    /// The program was ended by this signal.
    Signalled(u8),
}

impl StartCommand {
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
            if let Ok(command) = StartCommand::decode(&packet) {
                prop_assert!(command.encode().is_ok());
            }
            if let Ok(notice) = Notice::decode(&packet) {
                prop_assert!(notice.encode().is_ok());
            }
        }

        #[test]
        fn commands_read_back(arguments in proptest::collection::vec(".{0,20}", 0..4), name in ".{0,20}", value in ".{0,20}") {
            let command = StartCommand { arguments, variables: vec![(name, value)], directory: "/var/task".to_owned() };
            prop_assert_eq!(StartCommand::decode(&command.encode().unwrap()), Ok(command));
        }
    }
}
