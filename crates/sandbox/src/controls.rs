//! A sandbox's controls through its control files, which the warden has opened: no request is needed to freeze it, to
//! thaw it or to read what it has used.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use ephyra_core::id::EnvironmentId;
use futures_util::future::BoxFuture;

use crate::cgroup::{CgroupVersion, Files, cpu_cap};
use crate::client::{Assignment, CreateError, Shared};
use crate::sandbox::Controls;

/// The most that is read of a control file, in bytes; the longest, `cpu.stat`, has some 300.
const FILE_BYTES: usize = 2048;
/// How often a group of version 1 is asked whether all of it has frozen; whatever has not by then freezes when it
/// next returns from the kernel.
const FREEZE_CHECKS: usize = 4;

/// Controls by control groups. Where a controller was given up, freezing and capping do nothing and readings are zero.
pub(crate) struct CgroupControls {
    id: EnvironmentId,
    warden: Arc<Shared>,
    version: CgroupVersion,
    files: Files,
    memory_mb: u32,
    is_assigned: bool,
    is_ended: bool,
}

impl CgroupControls {
    pub(crate) fn new(
        id: EnvironmentId,
        warden: Arc<Shared>,
        version: CgroupVersion,
        files: Files,
        memory_mb: u32,
    ) -> Self {
        Self {
            id,
            warden,
            version,
            files,
            memory_mb,
            is_assigned: false,
            is_ended: false,
        }
    }
}

impl Controls for CgroupControls {
    fn assign(&mut self, assignment: Assignment) -> BoxFuture<'static, Result<(), CreateError>> {
        if std::mem::replace(&mut self.is_assigned, true) {
            return Box::pin(std::future::ready(Err(CreateError::Assigned)));
        }
        self.memory_mb = assignment.memory_mb;
        let assigned = self.warden.assign(self.id, assignment);
        Box::pin(async move { assigned.await.unwrap_or(Err(CreateError::Gone)) })
    }

    fn freeze(&mut self) -> io::Result<()> {
        let Some(file) = &self.files.freezer else { return Ok(()) };
        match self.version {
            CgroupVersion::V2 => write(file, "1"),
            CgroupVersion::V1 => {
                write(file, "FROZEN")?;
                // Reading also makes the kernel notice that the last one has frozen.
                for _ in 0..FREEZE_CHECKS {
                    if read(file)?.starts_with("FROZEN") {
                        break;
                    }
                    std::thread::yield_now();
                }
                Ok(())
            }
        }
    }

    fn thaw(&mut self) -> io::Result<()> {
        let Some(file) = &self.files.freezer else { return Ok(()) };
        match self.version {
            CgroupVersion::V2 => write(file, "0"),
            CgroupVersion::V1 => write(file, "THAWED"),
        }
    }

    fn cap_cpu(&mut self) -> io::Result<()> {
        match &self.files.cpu_cap {
            Some(file) => write(file, &cpu_cap(self.version, self.memory_mb)),
            None => Ok(()),
        }
    }

    fn cpu_time(&self) -> io::Result<Duration> {
        let Some(file) = &self.files.cpu_usage else {
            return Ok(Duration::ZERO);
        };
        let text = read(file)?;
        match self.version {
            CgroupVersion::V1 => number(&text).map(Duration::from_nanos),
            CgroupVersion::V2 => field(&text, "usage_usec").map(Duration::from_micros),
        }
    }

    fn peak_memory_bytes(&self) -> io::Result<u64> {
        self.files
            .peak_memory
            .as_ref()
            .map_or(Ok(0), |file| number(&read(file)?))
    }

    fn oom_kills(&self) -> io::Result<u64> {
        // The files differ, the field does not.
        self.files
            .memory_events
            .as_ref()
            .map_or(Ok(0), |file| field(&read(file)?, "oom_kill"))
    }

    fn end(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        self.is_ended = true;
        let ended = self.warden.end(self.id);
        Box::pin(async move {
            // An error means that the warden is gone, and with it every sandbox.
            drop(ended.await);
        })
    }
}

impl Drop for CgroupControls {
    fn drop(&mut self) {
        if !self.is_ended {
            self.warden.end_unheard(self.id);
        }
    }
}

fn write(file: &OwnedFd, value: &str) -> io::Result<()> {
    rustix::io::retry_on_intr(|| rustix::io::pwrite(file, value.as_bytes(), 0))?;
    Ok(())
}

fn read(file: &OwnedFd) -> io::Result<String> {
    let mut buffer = [0; FILE_BYTES];
    let length = rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut buffer, 0))?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn number(text: &str) -> io::Result<u64> {
    text.trim().parse().map_err(|_| unexpected(text))
}

/// The value behind a name in a file of `name value` lines.
fn field(text: &str, name: &str) -> io::Result<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .ok_or_else(|| unexpected(text))
        .and_then(number)
}

fn unexpected(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a control file reads {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_files_are_read() {
        assert_eq!(number("123\n").unwrap(), 123);
        assert_eq!(field("usage_usec 42\nuser_usec 40\n", "usage_usec").unwrap(), 42);
        let events = "low 0\nhigh 0\nmax 7\noom 1\noom_kill 3\noom_group_kill 1\n";
        assert_eq!(field(events, "oom_kill").unwrap(), 3);
        assert_eq!(
            field("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", "oom_kill").unwrap(),
            2
        );
        assert!(number("max\n").is_err() && field("", "oom_kill").is_err());
    }
}
