//! Whom to believe when connecting with TLS.

use std::io;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::{ClientConfig, RootCertStore};

/// Where systems keep the certificates of those that they trust, all in one file.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Why `more` cannot be believed.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// They are no certificates.
    #[error("the certificates to trust are not PEM")]
    Pem(#[from] pem::Error),
    /// One of them cannot be an authority's, or the provider of cryptography lacks something.
    #[error("the certificates to trust cannot be used")]
    Unfit(#[from] rustls::Error),
}

/// TLS to servers whose certificates the machine trusts, or that are issued by `more`, certificates in PEM. Reads the
/// machine's file, which takes milliseconds.
///
/// # Errors
/// When `more` is malformed.
pub fn client_config(more: &[u8]) -> Result<Arc<ClientConfig>, TrustError> {
    let mut roots = RootCertStore::empty();
    let bundle = BUNDLES
        .iter()
        .map(std::fs::read)
        .find_map(io::Result::ok)
        .unwrap_or_default();
    // Of what a system trusts, some may be of kinds that nobody uses any more.
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&bundle).flatten());
    for certificate in CertificateDer::pem_slice_iter(more) {
        roots.add(certificate?)?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
