//! Keeps the root secret out of the warden, and so out of every sandbox's pid 1, which is a copy of the warden.
//!
//! Credentials that come in environment variables are part of a process's memory from its first moment. So the program
//! puts them into a pipe and executes itself anew without them; only the server, once forked, reads the pipe.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, anyhow};
use rustix::io::FdFlags;

use super::credentials::{ACCESS_KEY_VARIABLE, Root, SECRET_VARIABLE};

/// Says, after the second execution, which descriptor the pipe is.
const DESCRIPTOR_VARIABLE: &str = "EPHYRA_ROOT_CREDENTIALS_FD";

/// Credentials that nobody has read yet.
pub(crate) struct Sealed(File);

impl Sealed {
    /// The credentials that the environment gave, sealed; `None` when it gave none. Executes the program anew when the
    /// environment holds them openly. To be called before anything else is set up, for nothing of that would stay.
    pub(crate) fn from_environment() -> anyhow::Result<Option<Self>> {
        if let Some(number) = std::env::var_os(DESCRIPTOR_VARIABLE) {
            let path = std::path::Path::new("/proc/self/fd").join(number);
            let file = File::open(path).with_context(|| format!("{DESCRIPTOR_VARIABLE} names no open descriptor"))?;
            return Ok(Some(Self(file)));
        }
        let Some(root) = Root::from_environment()? else {
            return Ok(None);
        };
        let (reader, writer) = rustix::pipe::pipe()?;
        // Far less than a pipe holds, so that writing does not wait for a reader.
        File::from(writer).write_all(&serde_json::to_vec(&root)?)?;
        rustix::io::fcntl_setfd(&reader, FdFlags::empty())?;
        let program = std::env::current_exe().context("the program's own file cannot be found")?;
        let error = std::process::Command::new(program)
            .args(std::env::args_os().skip(1))
            .env_remove(ACCESS_KEY_VARIABLE)
            .env_remove(SECRET_VARIABLE)
            .env(DESCRIPTOR_VARIABLE, reader.as_raw_fd().to_string())
            .exec();
        Err(anyhow!(error).context("the program could not be executed anew without the root credentials"))
    }

    /// Reads them.
    pub(crate) fn open(mut self) -> anyhow::Result<Root> {
        let mut text = Vec::new();
        self.0
            .read_to_end(&mut text)
            .context("the root credentials cannot be read")?;
        serde_json::from_slice(&text).context("the root credentials are not what was written")
    }
}
