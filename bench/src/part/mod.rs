//! One file for each measurement.

pub(crate) mod burst;
pub(crate) mod cold;
pub(crate) mod scale;
pub(crate) mod throughput;
pub(crate) mod warm;

use anyhow::Result;
use tempfile::TempDir;

use crate::Bench;
use crate::server::Server;

/// A server on an empty folder, which goes with it.
struct Fresh {
    server: Server,
    folder: TempDir,
}

impl Fresh {
    async fn start(bench: &Bench) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("ephyra-bench-").tempdir()?;
        let server = bench.program.start(&folder.path().join("data")).await?;
        Ok(Self { server, folder })
    }

    async fn stop(self) -> Result<()> {
        self.server.stop().await?;
        self.folder.close()?;
        Ok(())
    }
}
