//! HTTP APIs: where they are kept, and who answers for them.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use ephyra_core::arn::Place;
use ephyra_core::compute::{Invoke, Resolve};
use ephyra_core::logs::LogSink;
use ephyra_gateway::api::live::fetch::Client;
use ephyra_gateway::api::live::integrate::function::Functions;
use ephyra_gateway::api::live::way::{DataPlane, Dependencies};
use ephyra_gateway::api::store::ApiStore;
use ephyra_store::Table;
use ephyra_store::clock::Clock;
use ephyra_wire::sigv4::{Credentials, Verifier};
use ephyra_wire::trust::client_config;

/// What HTTP APIs need of other rooms.
pub(super) struct Neighbours {
    pub(super) table: Arc<dyn Table>,
    pub(super) place: Place,
    pub(super) resolve: Arc<dyn Resolve>,
    pub(super) invoke: Arc<dyn Invoke>,
    pub(super) logs: Arc<dyn LogSink>,
    pub(super) credentials: Arc<dyn Credentials>,
    pub(super) clock: Arc<dyn Clock>,
    /// Certificates (PEM) that other servers are believed by besides the system's.
    pub(super) authorities: Vec<u8>,
}

/// Opens the documents of HTTP APIs, and answers for them.
pub(super) async fn open(neighbours: Neighbours) -> anyhow::Result<(Arc<ApiStore>, DataPlane)> {
    let store = Arc::new(ApiStore::open(neighbours.table).await?);
    let plane = DataPlane::open(Dependencies {
        store: Arc::clone(&store),
        functions: Functions {
            resolve: neighbours.resolve,
            invoke: neighbours.invoke,
        },
        verifier: Verifier::new(neighbours.credentials),
        logs: neighbours.logs,
        client: Client::new(neighbours.authorities),
        place: neighbours.place,
        clock: neighbours.clock,
    });
    Ok((store, plane.await?))
}

/// Reads the certificates that `--trust` names. The server cannot: it does not see the file.
pub(super) fn read_authorities(file: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    let Some(file) = file else {
        return Ok(Vec::new());
    };
    let pem = std::fs::read(file).with_context(|| format!("--trust: {} cannot be read", file.display()))?;
    let is_some = String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----");
    ensure!(is_some, "--trust: there is no certificate (PEM) in {}", file.display());
    client_config(&pem).with_context(|| format!("--trust: {}", file.display()))?;
    Ok(pem)
}
