//! One certificate with its chain and key.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem;
use rustls::sign::CertifiedKey;

use crate::{pem as text, validity};

/// Why a text is no certificate that can be shown.
#[derive(Debug, thiserror::Error)]
pub enum ReadCertificateError {
    /// The certificates could not be read.
    #[error("the certificates are not PEM")]
    Chain(#[source] pem::Error),
    /// There is none.
    #[error("there is no certificate")]
    Empty,
    /// The key could not be read.
    #[error("there is no private key in PEM")]
    Key(#[source] pem::Error),
    /// The key is of a kind that cannot be used, or another certificate's.
    #[error("the private key does not fit")]
    Unfit(#[source] rustls::Error),
    /// The certificate is malformed.
    #[error("the certificate is malformed")]
    Malformed(#[source] webpki::Error),
    /// Its time cannot be read.
    #[error("the certificate does not say how long it is valid")]
    Validity,
}

/// A certificate that can be shown to clients.
#[derive(Debug)]
pub struct Certificate {
    pub(crate) key: Arc<CertifiedKey>,
    /// The names that it is for, in lower case; one that begins with `*.` is for all names with one label more.
    pub names: Vec<String>,
    /// From when it is valid.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
}

impl Certificate {
    /// Reads a chain, its own certificate first, and the private key; both texts may be the same.
    ///
    /// # Errors
    /// When either is missing or malformed, or they do not belong together.
    pub fn read(chain: &[u8], key: &[u8]) -> Result<Self, ReadCertificateError> {
        let chain = text::certificates(chain).map_err(ReadCertificateError::Chain)?;
        let first = chain.first().ok_or(ReadCertificateError::Empty)?;
        let (from, to) = validity::of(first).ok_or(ReadCertificateError::Validity)?;
        let end_entity = webpki::EndEntityCert::try_from(first).map_err(ReadCertificateError::Malformed)?;
        let names = end_entity.valid_dns_names().map(str::to_ascii_lowercase).collect();
        let key = text::key(key).map_err(ReadCertificateError::Key)?;
        let key =
            CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(ReadCertificateError::Unfit)?;
        Ok(Self {
            key: Arc::new(key),
            names,
            from,
            to,
        })
    }
}
