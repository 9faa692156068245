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
