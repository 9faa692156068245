//! Certificates from an ACME server (RFC 8555), by the HTTP-01 challenge: one for each name, made when it is missing and
//! renewed when a third of its time is left.
//!
//! It runs in the background and never in the way of a request: until there is a certificate, and if there is none, the
//! others are shown. The front asks [`Pending`] for what the ACME server wants to see.

mod client;
mod order;
mod schedule;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ephyra_wire::front::Challenges;
use ephyra_wire::trust::TrustError;
use instant_acme::{Account, AccountCredentials, NewAccount};
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::Certificate;
use crate::folder::{Folder, Readers};
use client::HttpsClient;
use schedule::Schedule;

/// Let's Encrypt.
pub const DEFAULT_DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// The account's key and address, below the folder.
const ACCOUNT: &str = "acme-account.json";
/// How long one order may take.
const ORDER_TIME: Duration = Duration::from_secs(300);
/// The longest that is slept at once: the machine's clock may be set.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// What an operator says.
#[derive(Clone, Debug)]
pub struct Options {
    /// The names. Each must lead here on port 80.
    pub names: Vec<String>,
    /// The ACME server's directory: an `https` URL.
    pub directory: String,
    /// How its operator reaches ours, such as `mailto:` URLs.
    pub contacts: Vec<String>,
    /// Certificates, in PEM, that the ACME server's own may be issued by, besides those that all trust.
    pub authorities: Option<Vec<u8>>,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// The ACME server refuses, or cannot be reached.
    #[error("the ACME server does not serve")]
    Server(#[from] instant_acme::Error),
    /// The server offers no challenge that can be met.
    #[error("the ACME server offers no HTTP-01 challenge")]
    NoChallenge,
    /// The proof was not accepted.
    #[error("the ACME server did not find the proof at http://{0}/.well-known/acme-challenge/")]
    NotProven(String),
    /// It took longer than it may.
    #[error("it took longer than {} s", ORDER_TIME.as_secs())]
    TooSlow,
    /// A request to the server could not be made.
    #[error("the request for a certificate could not be made")]
    Request(#[source] rcgen::Error),
    /// What came is no certificate.
    #[error("what the ACME server sent is no certificate")]
    Certificate(#[from] crate::ReadCertificateError),
    /// A file could not be read or written.
    #[error("the folder of certificates cannot be used")]
    Folder(#[from] io::Error),
    /// The account's file is not what was written.
    #[error("{} is not what was written", .0.display())]
    Account(PathBuf, #[source] serde_json::Error),
    /// The operator's authorities cannot be read.
    #[error("it is not clear whom to trust as the ACME server")]
    Trust(#[from] TrustError),
}

/// The proofs of orders that are under way: at most one for each name.
#[derive(Debug, Default)]
pub struct Pending(Mutex<HashMap<String, String>>);

impl Challenges for Pending {
    fn find(&self, token: &str) -> Option<String> {
        self.0.lock().get(token).cloned()
    }
}

/// Gets and renews certificates, for ever.
pub struct Acme {
    options: Options,
    folder: Folder,
    client: HttpsClient,
    pending: Arc<Pending>,
    account: Option<Account>,
    /// Uniform in [0, 1).
    dice: fn() -> f64,
}

impl Acme {
    /// Puts certificates into `folder`, and proofs into `pending`, which the front shows.
    ///
    /// # Errors
    /// When the options' authorities are malformed.
    pub fn new(options: Options, folder: Folder, pending: Arc<Pending>, dice: fn() -> f64) -> Result<Self, AcmeError> {
        Ok(Self {
            client: HttpsClient::new(options.authorities.as_deref())?,
            options,
            folder,
            pending,
            account: None,
            dice,
        })
    }

    /// Works until it is dropped.
    pub async fn run(mut self) {
        let mut schedule = Schedule::new(self.options.names.len());
        loop {
            let now = Timestamp::now();
            for index in 0..self.options.names.len() {
                let name = self.options.names[index].clone();
                let held = self.held(&name).map(|certificate| (certificate.from, certificate.to));
                if !schedule.is_due(index, held, now) {
                    continue;
                }
                match tokio::time::timeout(ORDER_TIME, self.renew(&name)).await {
                    Ok(Ok(())) => {
                        schedule.succeeded(index);
                        tracing::info!(name, "a certificate was issued");
                    }
                    failed => {
                        let error = failed.map_or(AcmeError::TooSlow, |made| made.err().unwrap_or(AcmeError::TooSlow));
                        // The account may be what is wrong: it is looked for again.
                        self.account = None;
                        let pause = schedule.failed(index, Timestamp::now(), (self.dice)());
                        tracing::warn!(
                            name,
                            error = &error as &dyn std::error::Error,
                            ?pause,
                            "no certificate was issued; what there is is shown on"
                        );
                    }
                }
            }
            let held: Vec<_> = self.options.names.iter().map(|name| self.held(name)).collect();
            let held: Vec<_> = held
                .iter()
                .map(|held| held.as_ref().map(|held| (held.from, held.to)))
                .collect();
            let sleep = schedule.next(&held, Timestamp::now());
            tokio::time::sleep(sleep.min(LONGEST_SLEEP)).await;
        }
    }

    /// The certificate that there is for a name.
    fn held(&self, name: &str) -> Option<Certificate> {
        let text = self.folder.read(&file_of(name)).ok()?;
        let certificate = Certificate::read(&text, &text).ok()?;
        certificate.names.iter().any(|held| held == name).then_some(certificate)
    }

    async fn renew(&mut self, name: &str) -> Result<(), AcmeError> {
        let account = match &self.account {
            Some(account) => account.clone(),
            None => self.open_account().await?,
        };
        self.account = Some(account.clone());
        let text = order::certificate(&account, name, &self.pending).await?;
        Certificate::read(text.as_bytes(), text.as_bytes())?;
        self.folder.make()?;
        self.folder.write(&file_of(name), text.as_bytes(), Readers::Server)?;
        Ok(())
    }

    /// The account that there is at this server, or a new one.
    async fn open_account(&self) -> Result<Account, AcmeError> {
        let builder = || Account::builder_with_http(Box::new(self.client.clone()));
        match self.folder.read(ACCOUNT) {
            Ok(text) => {
                let path = || self.folder.file(ACCOUNT);
                let kept: Kept = serde_json::from_slice(&text).map_err(|error| AcmeError::Account(path(), error))?;
                if kept.directory == self.options.directory {
                    return Ok(builder().from_credentials(kept.credentials).await?);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let contacts: Vec<_> = self.options.contacts.iter().map(String::as_str).collect();
        let account = NewAccount {
            contact: &contacts,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let (account, credentials) = builder().create(&account, self.options.directory.clone(), None).await?;
        let kept = Kept {
            directory: self.options.directory.clone(),
            credentials,
        };
        let text = serde_json::to_vec(&kept).map_err(io::Error::from)?;
        self.folder.make()?;
        self.folder.write(ACCOUNT, &text, Readers::Server)?;
        Ok(account)
    }
}

impl std::fmt::Debug for Acme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acme")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// The account's file.
#[derive(serde::Serialize, serde::Deserialize)]
struct Kept {
    directory: String,
    credentials: AccountCredentials,
}

/// The file of a name's certificate.
fn file_of(name: &str) -> String {
    format!("acme-{name}.pem")
}
