//! Where the front's certificates come from, and who keeps them new.
//!
//! [`Prepared`] is made before the server is apart from the host; [`Prepared::start`] is the server's side.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use ephyra_tls::acme::{self, Acme, Pending};
use ephyra_tls::folder::{Folder, Loaded};
use ephyra_tls::keeper::{PAIRS, Received};
use ephyra_tls::{Certificates, Refreshed, Source, Watch};
use ephyra_wire::front::Tls;
use tokio::io::unix::AsyncFd;

use super::listeners;
use crate::cli::FrontArgs;

/// How long the files may take to be read at start.
const FIRST_READ: Duration = Duration::from_secs(10);
/// How long to wait after a change of the folder for the next.
const SETTLE: Duration = Duration::from_millis(200);

/// What was opened with the rights that the program was started with.
pub(crate) struct Prepared {
    /// Where the keeper sends what the operator's files hold.
    keeper: Option<UnixStream>,
    acme: Option<acme::Options>,
    /// Whether TLS is spoken at all.
    is_on: bool,
    /// Listeners besides the first, which all speak TLS too.
    pub(crate) listeners: Vec<TcpListener>,
}

impl Prepared {
    /// Binds the address, starts the keeper, reads whom to trust. The program has no threads yet.
    pub(crate) fn open(options: &FrontArgs, data: &Path) -> anyhow::Result<Self> {
        if options.tls_cert.len() != options.tls_key.len() {
            bail!("give one --tls-key for each --tls-cert, in the same order");
        }
        if options.tls_cert.len() > PAIRS {
            bail!("at most {PAIRS} certificates can be given");
        }
        let acme = if options.acme_domain.is_empty() {
            None
        } else {
            let authorities = options.acme_ca.as_ref().map(|file| {
                std::fs::read(file).with_context(|| format!("{} cannot be read: see --acme-ca", file.display()))
            });
            Some(acme::Options {
                names: options.acme_domain.clone(),
                directory: options.acme_directory.clone(),
                contacts: options.acme_contact.clone(),
                authorities: authorities.transpose()?,
            })
        };
        let is_on = !options.tls_cert.is_empty() || acme.is_some() || Folder::of(data).has_certificates();
        let bound = options
            .tls_listen
            .map(|address| listeners::bind(address, "--tls-listen"));
        if bound.is_some() && !is_on {
            bail!("--tls-listen needs certificates: --tls-cert, --acme-domain, or `ephyra tls init`");
        }
        Ok(Self {
            keeper: keeper(options)?,
            acme,
            is_on,
            listeners: bound.transpose()?.unwrap_or_default(),
        })
    }

    /// Where TLS is spoken, for the links that are handed out, when `address` is where everything is.
    pub(crate) fn address(&self, address: SocketAddr) -> std::io::Result<Option<SocketAddr>> {
        match self.listeners.first() {
            Some(listener) => listener.local_addr().map(Some),
            None => Ok(self.is_on.then_some(address)),
        }
    }

    /// Loads all certificates and goes on doing so when they change.
    pub(crate) async fn start(self, data: &Path, dice: fn() -> f64) -> anyhow::Result<Option<Tls>> {
        if !self.is_on {
            return Ok(None);
        }
        let certificates = Arc::new(Certificates::default());
        if let Some(keeper) = self.keeper {
            keeper.set_nonblocking(true)?;
            let mut socket = tokio::net::UnixStream::from_std(keeper)?;
            let mut received = Received::default();
            let first = tokio::time::timeout(FIRST_READ, received.next(&mut socket)).await;
            let first = first.context("the certificates' files were not read in time")??;
            let first = first.context("the certificates' files cannot be read")?;
            if let Some(reason) = first.broken.first() {
                bail!("--tls-cert cannot be used: {reason}");
            }
            show(&certificates, Source::Files, first);
            tokio::spawn(follow_files(certificates.clone(), socket, received));
        }
        let folder = Folder::of(data);
        if self.acme.is_some() {
            folder.make().context("the folder of certificates cannot be made")?;
        }
        if folder.path().is_dir() {
            let watch = Watch::new()?;
            watch
                .add(folder.path())
                .context("the folder of certificates cannot be watched")?;
            let mut loaded = Loaded::new(folder.clone());
            let first = loaded.refresh().context("the folder of certificates cannot be read")?;
            show(&certificates, Source::Folder, first);
            #[expect(
                deprecated,
                reason = "it is for descriptors that may be closed by others; this one is the watch's own"
            )]
            let watch = AsyncFd::new(watch)?;
            tokio::spawn(follow_folder(certificates.clone(), watch, loaded));
        }
        let pending = Arc::new(Pending::default());
        if let Some(options) = self.acme {
            let acme = Acme::new(options, folder, pending.clone(), dice)?;
            tokio::spawn(acme.run());
        }
        let config = ephyra_tls::server_config(certificates).context("TLS could not be set up")?;
        Ok(Some(Tls {
            config: Arc::new(config),
            challenges: pending,
        }))
    }
}

/// Starts the process that reads the operator's files: this program again, with nothing of the environment.
fn keeper(options: &FrontArgs) -> anyhow::Result<Option<UnixStream>> {
    if options.tls_cert.is_empty() {
        return Ok(None);
    }
    let (ours, theirs) = UnixStream::pair()?;
    let program = std::env::current_exe().context("the program's own file cannot be found")?;
    let files = options
        .tls_cert
        .iter()
        .zip(&options.tls_key)
        .flat_map(|(certificate, key)| [certificate, key]);
    Command::new(program)
        .args(["tls", "keep", "--"])
        .args(files)
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .context("the process that reads certificates could not be started")?;
    Ok(Some(ours))
}

fn show(certificates: &Certificates, source: Source, refreshed: Refreshed) {
    for reason in &refreshed.broken {
        tracing::error!(
            reason,
            "a certificate cannot be used; what was there before is shown on"
        );
    }
    for certificate in &refreshed.shown {
        tracing::info!(names = certificate.names.join(" "), until = %certificate.to, "a certificate is shown");
    }
    certificates.replace(source, refreshed.shown);
}

async fn follow_files(certificates: Arc<Certificates>, mut socket: tokio::net::UnixStream, mut received: Received) {
    loop {
        match received.next(&mut socket).await {
            Ok(Some(refreshed)) => show(&certificates, Source::Files, refreshed),
            Ok(None) => {
                break tracing::warn!("changes of --tls-cert are not noticed any more: who reads them has ended");
            }
            Err(error) => break tracing::warn!(%error, "changes of --tls-cert are not noticed any more"),
        }
    }
}

async fn follow_folder(certificates: Arc<Certificates>, watch: AsyncFd<Watch>, mut loaded: Loaded) {
    let result: std::io::Result<()> = async {
        loop {
            let mut ready = watch.readable().await?;
            ready.clear_ready();
            drop(ready);
            tokio::time::sleep(SETTLE).await;
            if watch.get_ref().has_changed()? {
                show(&certificates, Source::Folder, loaded.refresh()?);
            }
        }
    }
    .await;
    if let Err(error) = result {
        tracing::warn!(%error, "changes of the folder of certificates are not noticed any more");
    }
}
