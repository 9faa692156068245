//! An interpreter with a bare loop at the other end of a socket pair: what any runtime must do, and nothing else.
//!
//! A frame is a length of four bytes, least significant first, and JSON. The loops are `guests/loop.py` and `loop.js`.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::function::ANSWER;
use crate::language::Language;
use crate::process::Process;

const PYTHON: &str = include_str!("../../guests/loop.py");
const NODE: &str = include_str!("../../guests/loop.js");

/// How long it may take for one answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// A running loop. Dropped, it is ended.
pub(crate) struct Guest {
    pub(crate) socket: UnixStream,
    process: Process,
}

impl Guest {
    pub(crate) fn start(language: Language, executable: &str) -> Result<Self> {
        let (socket, other) = UnixStream::pair().context("could not make a socket pair")?;
        socket.set_read_timeout(Some(ANSWER_TIME))?;
        let (flag, script) = match language {
            Language::Python => ("-c", PYTHON),
            Language::Node => ("-e", NODE),
            other => bail!("there is no bare loop for {}", other.name()),
        };
        let mut command = Command::new(executable);
        command
            .args([flag, script])
            .stdin(Stdio::from(OwnedFd::from(other)))
            .stdout(Stdio::null());
        Ok(Self {
            socket,
            process: Process::start_as_is(command)?,
        })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Sends an event, waits for its answer, and says how long that took.
    pub(crate) fn call(&mut self, event: &[u8]) -> Result<Duration> {
        let frame = frame(event)?;
        let mut buffer = [0; 256];
        let start = Instant::now();
        self.socket.write_all(&frame)?;
        let mut filled = 0;
        while filled < 4 || filled < 4 + length(&buffer)? {
            let count = self
                .socket
                .read(&mut buffer[filled..])
                .context("the loop did not answer")?;
            ensure!(count > 0, "the loop has ended");
            filled += count;
        }
        let took = start.elapsed();
        ensure!(&buffer[4..filled] == ANSWER, "the loop answered something else");
        Ok(took)
    }
}

/// An event as it goes over the socket.
pub(crate) fn frame(event: &[u8]) -> Result<Vec<u8>> {
    Ok([&u32::try_from(event.len())?.to_le_bytes(), event].concat())
}

/// The length that a frame begins with.
pub(crate) fn length(frame: &[u8]) -> Result<usize> {
    let head = frame.first_chunk::<4>().context("a frame begins with its length")?;
    Ok(usize::try_from(u32::from_le_bytes(*head))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_loops_answer() {
        for (language, executable) in [(Language::Python, "python3"), (Language::Node, "node")] {
            let mut guest = Guest::start(language, executable).unwrap();
            for event in ["{}", "[1, 2, 3]", "\"text\""] {
                guest.call(event.as_bytes()).unwrap();
            }
        }
        assert!(Guest::start(Language::Wasm, "x").is_err());
    }
}
