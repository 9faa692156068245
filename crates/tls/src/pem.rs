//! PEM: the texts that certificates and keys are kept in.

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Bytes of a file that holds certificates and a key; more is something else.
pub(crate) const LARGEST: usize = 1024 * 1024;

/// The certificates of a text, in its order. Other sections are skipped.
pub(crate) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    CertificateDer::pem_slice_iter(text).collect()
}

/// The first private key of a text.
pub(crate) fn key(text: &[u8]) -> Result<PrivateKeyDer<'static>, pem::Error> {
    PrivateKeyDer::from_pem_slice(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_bytes_are_read_or_refused(begin in "(-----BEGIN (CERTIFICATE|PRIVATE KEY)-----\n)?", bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let text = [begin.as_bytes(), &bytes].concat();
            let _ = super::certificates(&text);
            prop_assert!(super::key(&text).is_err());
        }
    }
}
