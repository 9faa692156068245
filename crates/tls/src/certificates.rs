//! What is shown to whom: certificates by the names that clients ask for.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::Certificate;

/// Where certificates come from; of two for one name, and for clients that ask for no name, the first source's is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Files that the operator named.
    Files,
    /// The data folder.
    Folder,
}

/// What a source has after it was read anew.
#[derive(Debug, Default)]
pub struct Refreshed {
    /// What is to be shown.
    pub shown: Vec<Arc<Certificate>>,
    /// What was not understood, and why. Of these, what was there before is shown on.
    pub broken: Vec<String>,
}

/// All certificates. Shared by every listener; replaced a source at a time.
#[derive(Default)]
pub struct Certificates {
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    sources: BTreeMap<Source, Vec<Arc<Certificate>>>,
    by_name: HashMap<String, Arc<CertifiedKey>>,
    /// For clients that ask for no name, or one that no certificate is for.
    first: Option<Arc<CertifiedKey>>,
}

impl Certificates {
    /// Replaces what a source has.
    pub fn replace(&self, source: Source, certificates: Vec<Arc<Certificate>>) {
        let mut state = self.state.write();
        state.sources.insert(source, certificates);
        let all: Vec<_> = state.sources.values().flatten().cloned().collect();
        state.first = all.first().map(|certificate| certificate.key.clone());
        state.by_name.clear();
        for certificate in &all {
            for name in &certificate.names {
                let key = || certificate.key.clone();
                state.by_name.entry(name.clone()).or_insert_with(key);
            }
        }
    }

    /// The certificates of a source.
    pub fn of(&self, source: Source) -> Vec<Arc<Certificate>> {
        self.state.read().sources.get(&source).cloned().unwrap_or_default()
    }

    fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let state = self.state.read();
        let named = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let wild = || {
                let (_, rest) = name.split_once('.')?;
                state.by_name.get(&format!("*.{rest}"))
            };
            state.by_name.get(&name).or_else(wild)
        });
        named.or(state.first.as_ref()).cloned()
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.state.read().by_name.keys()).finish()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(names: &[&str]) -> Arc<Certificate> {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        Arc::new(Certificate::read(made.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap())
    }

    #[test]
    fn names_choose_and_sources_go_in_order() {
        let certificates = Certificates::default();
        assert!(certificates.find(Some("a.c.test")).is_none());
        let (a, files) = (certificate(&["a.c.test"]), certificate(&["b.c.test"]));
        let wild = certificate(&["*.c.test", "A.C.Test"]);
        certificates.replace(Source::Folder, vec![a.clone(), wild.clone()]);
        let check = |name: Option<&str>, want: &Arc<Certificate>| {
            assert!(Arc::ptr_eq(&certificates.find(name).unwrap(), &want.key), "{name:?}");
        };
        check(Some("a.c.test"), &a);
        check(Some("A.C.TEST"), &a);
        check(Some("b.c.test"), &wild);
        check(Some("a.b.c.test"), &a);
        check(None, &a);
        certificates.replace(Source::Files, vec![files.clone()]);
        check(Some("b.c.test"), &files);
        check(None, &files);
        check(Some("a.c.test"), &a);
        certificates.replace(Source::Files, Vec::new());
        check(Some("b.c.test"), &wild);
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (key, other) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
        let made = rcgen::CertificateParams::new(vec!["a.test".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let read = |chain: &str, key: &str| Certificate::read(chain.as_bytes(), key.as_bytes());
        assert!(read(&made.pem(), &key.serialize_pem()).is_ok());
        assert!(matches!(
            read(&made.pem(), &other.serialize_pem()),
            Err(crate::ReadCertificateError::Unfit(_))
        ));
        assert!(matches!(
            read("", &key.serialize_pem()),
            Err(crate::ReadCertificateError::Empty)
        ));
        assert!(matches!(
            read(&made.pem(), &made.pem()),
            Err(crate::ReadCertificateError::Key(_))
        ));
    }
}
