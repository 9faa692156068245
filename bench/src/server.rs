//! The program under test: started on a folder and a port of its own, and ended whatever happens.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use http::{Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::connection::Connection;

/// The root credential that the program is given.
pub(crate) const ACCESS_KEY: &str = "AKIABENCHBENCHBENCH0";
pub(crate) const SECRET_KEY: &str = "a-secret-that-lives-as-long-as-one-benchmark";
/// How long it may take until it serves.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take until it has ended.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// How long it may take when it is ended for another reason than being done; then it is killed.
const DROP_TIMEOUT: Duration = Duration::from_secs(5);

/// How the program is started.
pub(crate) struct Program {
    executable: PathBuf,
    arguments: Vec<String>,
}

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// From its exec until it said that it serves.
    pub(crate) started_in: Duration,
    child: Child,
    log: PathBuf,
}

/// What a process of the program has in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// The largest of its processes: the server.
    pub(crate) server_kib: u64,
    /// All its processes; pages that they share are counted more than once.
    pub(crate) sum_kib: u64,
    /// How many there are.
    pub(crate) processes: usize,
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

    /// Starts it on `data` and waits until it serves. Its output goes to a file beside the folder.
    pub(crate) async fn start(&self, data: &Path) -> Result<Server> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let log = data.with_extension("log");
        let output = File::create(&log).with_context(|| format!("could not make {}", log.display()))?;
        let start = Instant::now();
        let child = Command::new(&self.executable)
            .arg("serve")
            .arg("--data")
            .arg(data)
            .args(["--listen", &address.to_string(), "--drain-timeout", "2s"])
            .args(&self.arguments)
            .env("EPHYRA_ROOT_ACCESS_KEY_ID", ACCESS_KEY)
            .env("EPHYRA_ROOT_SECRET_ACCESS_KEY", SECRET_KEY)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("could not start {}", self.executable.display()))?;
        let mut server = Server {
            address,
            started_in: Duration::ZERO,
            child,
            log,
        };
        match timeout(START_TIMEOUT, server.until_it_serves()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => bail!(
                "it did not serve within {START_TIMEOUT:?}; it said:\n{}",
                server.last_words()
            ),
        }
        server.started_in = start.elapsed();
        Ok(server)
    }
}

impl Server {
    async fn until_it_serves(&mut self) -> Result<()> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("`ephyra serve` ended with {status}; it said:\n{}", self.last_words());
            }
            if let Ok(mut connection) = Connection::open(self.address).await {
                let request = connection.unsigned(Method::GET, "/_ephyra/health")?;
                if let Ok((StatusCode::OK, _)) = connection.send(request).await {
                    return Ok(());
                }
            }
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Ends it as an operator would, and waits for that.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let pid = self.pid()?;
        kill_process(pid, Signal::TERM).context("could not signal the server")?;
        let Ok(status) = timeout(STOP_TIMEOUT, self.child.wait()).await else {
            self.child.kill().await.context("could not kill the server")?;
            bail!(
                "the server did not end within {STOP_TIMEOUT:?} of SIGTERM; it said:\n{}",
                self.last_words()
            );
        };
        let status = status?;
        ensure!(
            status.success(),
            "the server ended with {status}; it said:\n{}",
            self.last_words()
        );
        Ok(())
    }

    /// What its processes, found by their parents and their program, have in memory.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let root = self.pid()?.as_raw_nonzero().get();
        let program = program_of(root).context("the server is gone")?;
        let all: Vec<(i32, i32)> = std::fs::read_dir("/proc")?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(|pid| Some((pid, parent_of(pid)?)))
            .collect();
        let mut family = vec![root];
        let mut next = 0;
        while let Some(parent) = family.get(next).copied() {
            family.extend(all.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| pid));
            next += 1;
        }
        let sizes: Vec<u64> = family
            .into_iter()
            .filter(|pid| program_of(*pid).as_ref() == Some(&program))
            .filter_map(resident_kib)
            .collect();
        Ok(Memory {
            server_kib: sizes.iter().copied().max().context("the server is gone")?,
            sum_kib: sizes.iter().sum(),
            processes: sizes.len(),
        })
    }

    fn pid(&self) -> Result<Pid> {
        let pid = self.child.id().context("the server has ended")?;
        Pid::from_raw(i32::try_from(pid)?).context("the server has no pid")
    }

    fn last_words(&self) -> String {
        let text = std::fs::read(&self.log)
            .map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned());
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

/// What was not stopped, because something failed or was interrupted, still gets the chance to clean up.
impl Drop for Server {
    fn drop(&mut self) {
        let Ok(pid) = self.pid() else {
            return;
        };
        // An error means that it has ended.
        let _ = kill_process(pid, Signal::TERM);
        let deadline = Instant::now() + DROP_TIMEOUT;
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn program_of(pid: i32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/exe")).ok()
}

fn status_of(pid: i32, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

fn parent_of(pid: i32) -> Option<i32> {
    i32::try_from(status_of(pid, "PPid:")?).ok()
}

fn resident_kib(pid: i32) -> Option<u64> {
    status_of(pid, "VmRSS:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_with_its_parent_program_and_memory() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(
            parent_of(own),
            Some(i32::try_from(std::os::unix::process::parent_id()).unwrap())
        );
        assert_eq!(program_of(own), std::env::current_exe().ok());
        assert!(resident_kib(own).unwrap() > 100);
        assert_eq!(resident_kib(-1), None);
    }

    #[tokio::test]
    async fn a_program_that_does_not_serve_is_reported_with_its_words() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("ephyra");
        std::fs::write(&script, "#!/bin/sh\necho no such thing >&2\nexit 3\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&script, mode).unwrap();
        let program = Program::new(&script, Vec::new()).unwrap();
        let error = program
            .start(&folder.path().join("data"))
            .await
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("no such thing") && error.contains("exit status: 3"),
            "{error}"
        );
    }
}
