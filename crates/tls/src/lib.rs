//! Certificates for the front's TLS: where they come from, which one a client is shown, and when there are newer ones.
//!
//! They come from files that an operator names ([`keeper`], as the server cannot see the host's files), from the data
//! folder's `tls/` ([`folder`]), where a local authority ([`local`]) and ACME ([`acme`]) put theirs. [`Certificates`] holds
//! what is shown; a certificate that cannot be read never takes the place of one that can.
//!
//! This crate never speaks TLS with clients of the platform itself: the front does, with [`server_config`].
//!
//! Read `certificate`, `certificates`, then the sources.
//!
//! **Invariant:** a private key is written only to files that none but their owner can read.
#![forbid(unsafe_code)]

pub mod acme;
mod certificate;
mod certificates;
pub mod folder;
pub mod keeper;
pub mod local;
mod pem;
mod validity;
mod watch;

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::ServerSessionMemoryCache;
use rustls::version::{TLS12, TLS13};

pub use certificate::{Certificate, ReadCertificateError};
pub use certificates::{Certificates, Refreshed, Source};
pub use watch::Watch;

/// Sessions that clients may come back to, of those who do not take tickets.
const SESSIONS: usize = 4096;

/// TLS 1.2 and 1.3 with these certificates, for HTTP/1.1 and HTTP/2, with sessions that can be resumed.
///
/// # Errors
/// When the provider of cryptography has no random numbers, or not these versions.
pub fn server_config(certificates: Arc<Certificates>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    Ok(config)
}
