//! The peer of a warm invoke: the same interpreter, running a bare loop at the other end of a socket pair.
//!
//! A frame is a length of four bytes, least significant first, and JSON. The loop does what any runtime must: read a
//! frame, parse it, call the handler, write its result as JSON.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::language::{Interpreter, Language};

const PYTHON: &str = r"
import json, socket, struct
def handler(event, context):
    return None
connection = socket.socket(fileno=0)
read = connection.makefile('rb').read
while True:
    head = read(4)
    if len(head) < 4:
        break
    event = json.loads(read(struct.unpack('<I', head)[0]))
    answer = json.dumps(handler(event, None)).encode()
    connection.sendall(struct.pack('<I', len(answer)) + answer)
";

const NODE: &str = r"
const net = require('node:net');
const handler = async () => null;
const connection = new net.Socket({ fd: 0, readable: true, writable: true });
let rest = Buffer.alloc(0);
connection.on('data', async (chunk) => {
    rest = rest.length ? Buffer.concat([rest, chunk]) : chunk;
    while (rest.length >= 4 && rest.length >= 4 + rest.readUInt32LE(0)) {
        const end = 4 + rest.readUInt32LE(0);
        const event = JSON.parse(rest.subarray(4, end).toString());
        rest = rest.subarray(end);
        const answer = Buffer.from(JSON.stringify(await handler(event, null)));
        const frame = Buffer.allocUnsafe(4 + answer.length);
        frame.writeUInt32LE(answer.length, 0);
        answer.copy(frame, 4);
        connection.write(frame);
    }
});
connection.on('end', () => process.exit(0));
";

/// How long the peer may take for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A running peer. Dropped, it is ended.
pub(crate) struct Direct {
    child: Child,
    socket: UnixStream,
}

impl Direct {
    pub(crate) fn start(language: Language, interpreter: &Interpreter) -> Result<Self> {
        let (socket, other) = UnixStream::pair().context("could not make a socket pair")?;
        socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let (flag, script) = match language {
            Language::Python => ("-c", PYTHON),
            Language::Node => ("-e", NODE),
        };
        let child = Command::new(&interpreter.executable)
            .args([flag, script])
            .stdin(Stdio::from(OwnedFd::from(other)))
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("could not start {}", interpreter.executable))?;
        Ok(Self { child, socket })
    }

    /// Sends an event, waits for its answer, and says how long that took.
    pub(crate) fn call(&mut self, event: &[u8]) -> Result<Duration> {
        let length = u32::try_from(event.len())?;
        let frame = [&length.to_le_bytes(), event].concat();
        let start = Instant::now();
        self.socket.write_all(&frame)?;
        let mut head = [0; 4];
        self.socket.read_exact(&mut head).context("the peer did not answer")?;
        let mut answer = vec![0; usize::try_from(u32::from_le_bytes(head))?];
        self.socket.read_exact(&mut answer)?;
        let took = start.elapsed();
        ensure!(
            answer == b"null",
            "the peer answered {:?}",
            String::from_utf8_lossy(&answer)
        );
        Ok(took)
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        // It may have ended by itself; what counts is that it is waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::Interpreters;

    #[test]
    fn both_peers_answer() {
        let interpreters = Interpreters::find("python3", "node").unwrap();
        for language in Language::ALL {
            let mut direct = Direct::start(language, interpreters.of(language)).unwrap();
            for event in ["{}", "[1, 2, 3]", "\"text\""] {
                direct.call(event.as_bytes()).unwrap();
            }
        }
    }
}
