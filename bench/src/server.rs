//! The program under test: started on a folder and a port of its own, and ended whatever happens.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::Method;
use tempfile::TempDir;

use crate::census::Family;
use crate::connection::{Connection, unsigned};
use crate::process::Process;
use crate::stop;

/// The root credential that the program is given.
pub(crate) const ACCESS_KEY: &str = "AKIABENCHBENCHBENCH0";
pub(crate) const SECRET_KEY: &str = "a-secret-that-lives-as-long-as-one-benchmark";
/// How long it may take until it serves.
const START_TIME: Duration = Duration::from_secs(30);
/// How long what it does by itself after its start may take, how that is watched, and how often nothing is to be seen.
const SETTLE_TIME: Duration = Duration::from_secs(60);
const WINDOW: Duration = Duration::from_millis(100);
const QUIET_WINDOWS: usize = 4;
/// How long it may take until it has ended; a thousand environments take their time.
const STOP_TIME: Duration = Duration::from_secs(60);

/// How the program is started.
pub(crate) struct Program {
    pub(crate) executable: PathBuf,
    pub(crate) arguments: Vec<String>,
}

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// From its exec until it said that it serves.
    pub(crate) started_in: Duration,
    process: Process,
    folder: TempDir,
}

impl Program {
    pub(crate) fn new(executable: &Path, arguments: Vec<String>) -> Result<Self> {
        let executable = executable.canonicalize().with_context(|| {
            format!(
                "there is no {}; build it with `cargo build --release`",
                executable.display()
            )
        })?;
        Ok(Self { executable, arguments })
    }

    /// Starts it on an empty folder and waits until it serves.
    pub(crate) fn start(&self, more: &[&str]) -> Result<Server> {
        let folder = tempfile::Builder::new().prefix("ephyra-bench-").tempdir()?;
        self.start_on(folder, more)
    }

    fn start_on(&self, folder: TempDir, more: &[&str]) -> Result<Server> {
        let address = free_address()?;
        let mut command = Command::new(&self.executable);
        command
            .arg("serve")
            .arg("--data")
            .arg(folder.path().join("data"))
            .args(["--listen", &address.to_string(), "--drain-timeout", "2s"])
            .args(more)
            .args(&self.arguments)
            .env("EPHYRA_ROOT_ACCESS_KEY_ID", ACCESS_KEY)
            .env("EPHYRA_ROOT_SECRET_ACCESS_KEY", SECRET_KEY);
        let start = Instant::now();
        let mut process = Process::start(command, Some(&folder.path().join("log")))?;
        stop::until("the server", START_TIME, || {
            process.ensure_running()?;
            let request = unsigned(address, &Method::GET, "/_ephyra/health", b"");
            let answered = Connection::open(address).and_then(|mut connection| connection.send(&request));
            Ok(answered.is_ok_and(|(reply, _)| reply.status == 200))
        })
        .with_context(|| process.last_words())?;
        let server = Server {
            address,
            started_in: start.elapsed(),
            process,
            folder,
        };
        server.until_settled()?;
        Ok(server)
    }
}

impl Server {
    /// Ends it as an operator would, and waits for that.
    pub(crate) fn stop(self) -> Result<()> {
        self.end()?.close()?;
        Ok(())
    }

    /// Ends it and starts it again on what it has left.
    pub(crate) fn restart(self, program: &Program) -> Result<Self> {
        program.start_on(self.end()?, &[])
    }

    fn end(mut self) -> Result<TempDir> {
        let status = self.process.stop(STOP_TIME)?;
        ensure!(
            status.success(),
            "the server ended with {status}; it said:\n{}",
            self.process.last_words()
        );
        Ok(self.folder)
    }

    /// Waits until it and its guests have nothing more to do by themselves: on a new folder it compiles what its
    /// runtimes boot from, once, which takes all processors for some seconds.
    pub(crate) fn until_settled(&self) -> Result<()> {
        let mut seen = self.family()?.cpu();
        let mut quiet = 0;
        stop::until("quiet of the server", SETTLE_TIME, || {
            stop::pause(WINDOW)?;
            let now = self.family()?.cpu();
            let used = now
                .iter()
                .map(|(pid, cpu)| *cpu - seen.get(pid).copied().unwrap_or_default().min(*cpu));
            let is_quiet = used.sum::<Duration>() < WINDOW / 20;
            quiet = if is_quiet { quiet + 1 } else { 0 };
            seen = now;
            Ok(quiet >= QUIET_WINDOWS)
        })
    }

    /// Its processes, and the guests.
    pub(crate) fn family(&self) -> Result<Family> {
        Family::of(self.process.pid())
    }
}

/// An address of this machine that nobody listens on.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_serve_is_reported_with_its_words() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("ephyra");
        std::fs::write(&script, "#!/bin/sh\necho no such thing >&2\nexit 3\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&script, mode).unwrap();
        let program = Program::new(&script, Vec::new()).unwrap();
        let error = format!("{:#}", program.start(&[]).err().unwrap());
        assert!(
            error.contains("no such thing") && error.contains("exit status: 3"),
            "{error}"
        );
        assert!(Program::new(Path::new("/nonexistent"), Vec::new()).is_err());
    }
}
