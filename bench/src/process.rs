//! Processes that are started here, and ended here by their own ids whatever happens.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How long a process may take to end after it was asked; then it is killed.
const END_TIME: Duration = Duration::from_secs(5);

/// A started process, with the group that it leads. Dropped, it is ended.
pub(crate) struct Process {
    child: Child,
    pid: Pid,
    log: Option<PathBuf>,
}

impl Process {
    /// Starts `command` as the leader of a group of its own; its output goes to `log`, or nowhere.
    pub(crate) fn start(mut command: Command, log: Option<&Path>) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        if let Some(log) = log {
            let output = File::create(log).with_context(|| format!("could not make {}", log.display()))?;
            command.stdout(output.try_clone()?).stderr(output);
        } else {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        command.stdin(Stdio::null());
        Self::spawn(command, &program, log)
    }

    /// As [`start`](Self::start), with the output and input that `command` has been given.
    pub(crate) fn start_as_is(command: Command) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        Self::spawn(command, &program, None)
    }

    fn spawn(mut command: Command, program: &str, log: Option<&Path>) -> Result<Self> {
        let child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("could not start {program}"))?;
        let pid = Pid::from_raw(i32::try_from(child.id())?).context("a process has an id")?;
        Ok(Self {
            child,
            pid,
            log: log.map(Path::to_owned),
        })
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// An error, with its last words, when it has ended.
    pub(crate) fn ensure_running(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("it ended with {status}; it said:\n{}", self.last_words());
        }
        Ok(())
    }

    /// Asks it to end, and waits for that.
    pub(crate) fn stop(&mut self, limit: Duration) -> Result<ExitStatus> {
        // An error means that it has ended.
        let _ = kill_process(self.pid, Signal::TERM);
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= end {
                self.kill();
                bail!(
                    "it did not end within {limit:?} of SIGTERM; it said:\n{}",
                    self.last_words()
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn kill(&mut self) {
        // Errors mean that it is gone; what counts is that it is waited for.
        let _ = kill_process_group(self.pid, Signal::KILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The end of its output.
    pub(crate) fn last_words(&self) -> String {
        let Some(log) = &self.log else {
            return String::new();
        };
        let text =
            std::fs::read(log).map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned());
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // The error tells that it was killed, which is all that can be done.
            let _ = self.stop(END_TIME);
        }
        // What it started is in its group and goes with it.
        let _ = kill_process_group(self.pid, Signal::KILL);
    }
}

/// Runs a command to its end, with its output in the error when it fails or takes too long.
pub(crate) fn run(mut command: Command, limit: Duration) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("output");
    command.stdin(Stdio::null());
    let mut process = Process::start(command, Some(&log))?;
    let mut status = None;
    crate::stop::until(&format!("the end of {program}"), limit, || {
        status = process.child().try_wait()?;
        Ok(status.is_some())
    })
    .with_context(|| process.last_words())?;
    if !status.is_some_and(|status| status.success()) {
        bail!("{program} failed:\n{}", process.last_words());
    }
    Ok(String::from_utf8_lossy(&std::fs::read(&log)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_dropped_process_is_gone_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut process = Process::start(shell("sleep 100 & echo $!; wait"), Some(&log)).unwrap();
        let mut child = 0;
        crate::stop::until("the child's id", Duration::from_secs(10), || {
            process.ensure_running()?;
            child = process.last_words().trim().parse().unwrap_or(0);
            Ok(child != 0)
        })
        .unwrap();
        let own = process.pid();
        drop(process);
        assert!(!Path::new(&format!("/proc/{own}")).exists());
        crate::stop::until("the child's end", Duration::from_secs(10), || {
            let state = std::fs::read_to_string(format!("/proc/{child}/stat"));
            Ok(state.map_or(true, |text| text.contains(") Z ")))
        })
        .unwrap();
    }

    #[test]
    fn a_failing_command_is_told_with_its_output() {
        assert_eq!(run(shell("echo yes"), Duration::from_secs(10)).unwrap(), "yes\n");
        let error = run(shell("echo no; exit 3"), Duration::from_secs(10)).unwrap_err();
        assert!(error.to_string().contains("no"));
        let error = run(shell("sleep 100"), Duration::from_millis(50)).unwrap_err();
        assert!(format!("{error:#}").contains("did not come"));
    }
}
