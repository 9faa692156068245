//! A certificate authority for one machine, and the certificate that it issues: for development.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use jiff::{Timestamp, ToSpan as _};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, date_time_ymd,
};
use sha2::{Digest as _, Sha256};

use crate::folder::{AUTHORITY, AUTHORITY_KEY, Folder, LOCAL, Readers};

/// How long the authority is valid, in days.
const AUTHORITY_DAYS: i64 = 3650;
/// How long a certificate is: the longest that all systems take.
const LEAF_DAYS: i64 = 397;
/// The names that were asked for, to be there again when the certificate is renewed.
const NAMES: &str = "local-names.json";
/// The most names of one certificate.
const MOST_NAMES: usize = 100;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// A name that cannot be in a certificate.
    #[error("{0:?} is neither a host name nor an address")]
    Name(String),
    /// More than a certificate should have.
    #[error("more than {MOST_NAMES} names")]
    TooMany,
    /// One half of the authority is there, and the other is not.
    #[error("{present} is there and {missing} is not: put it back, or remove the other to make a new authority")]
    Halved {
        /// The file that is there.
        present: &'static str,
        /// The file that is not.
        missing: &'static str,
    },
    /// There is a certificate of somebody else's making.
    #[error("{LOCAL} is there without an authority: remove it first, it is not overwritten")]
    Foreign,
    /// A file could not be read or written.
    #[error("{file} cannot be {verb}")]
    Io {
        /// The file.
        file: &'static str,
        /// What was to be done.
        verb: &'static str,
        /// Why it could not.
        #[source]
        source: io::Error,
    },
    /// The authority's key is not what was written.
    #[error("the authority's key cannot be used")]
    Key(#[source] rcgen::Error),
    /// It could not be made.
    #[error("the certificate could not be made")]
    Make(#[source] rcgen::Error),
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Whether the authority is new too, and has to be trusted.
    pub is_new_authority: bool,
    /// Whom the certificate is for.
    pub names: Vec<String>,
    /// Until when.
    pub to: Timestamp,
}

/// The names that every platform has on its own machine.
pub fn own_names(region: &str) -> Vec<String> {
    vec![
        "localhost".to_owned(),
        "*.localhost".to_owned(),
        format!("*.lambda-url.{region}.localhost"),
        format!("*.execute-api.{region}.localhost"),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ]
}

/// Makes an authority where there is none yet, and issues a certificate for these names and those that were asked for
/// before. An authority that is there stays.
///
/// # Errors
/// When a name cannot be in a certificate, or files are in the way or cannot be written.
pub fn issue(folder: &Folder, region: &str, more: &[String], now: Timestamp) -> Result<Issued, LocalError> {
    let io = |file: &'static str, verb: &'static str| move |source| LocalError::Io { file, verb, source };
    folder.make().map_err(io("tls", "made"))?;
    let mut extra: BTreeSet<String> = match folder.read(NAMES) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| io(NAMES, "read")(error.into()))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
        Err(error) => return Err(io(NAMES, "read")(error)),
    };
    extra.extend(more.iter().map(|name| name.to_ascii_lowercase()));
    let mut names = own_names(region);
    names.extend(extra.iter().filter(|name| !own_names(region).contains(name)).cloned());
    if names.len() > MOST_NAMES {
        return Err(LocalError::TooMany);
    }
    let alternatives = names
        .iter()
        .map(|name| alternative(name))
        .collect::<Result<Vec<_>, _>>()?;

    let is_there = |name: &str| folder.file(name).symlink_metadata().is_ok();
    let (key, is_new_authority) = match (is_there(AUTHORITY), is_there(AUTHORITY_KEY)) {
        (true, true) => {
            let text = folder.read(AUTHORITY_KEY).map_err(io(AUTHORITY_KEY, "read"))?;
            let text = String::from_utf8_lossy(&text).into_owned();
            (KeyPair::from_pem(&text).map_err(LocalError::Key)?, false)
        }
        (true, false) => {
            return Err(LocalError::Halved {
                present: AUTHORITY,
                missing: AUTHORITY_KEY,
            });
        }
        (false, true) => {
            return Err(LocalError::Halved {
                present: AUTHORITY_KEY,
                missing: AUTHORITY,
            });
        }
        (false, false) if is_there(LOCAL) => return Err(LocalError::Foreign),
        (false, false) => (KeyPair::generate().map_err(LocalError::Make)?, true),
    };
    let authority = authority(&key, now);
    if is_new_authority {
        let certificate = authority.self_signed(&key).map_err(LocalError::Make)?;
        let text = key.serialize_pem();
        folder
            .write(AUTHORITY_KEY, text.as_bytes(), Readers::Maker)
            .map_err(io(AUTHORITY_KEY, "written"))?;
        let text = certificate.pem();
        folder
            .write(AUTHORITY, text.as_bytes(), Readers::All)
            .map_err(io(AUTHORITY, "written"))?;
    }

    let mut params = CertificateParams::default();
    set_validity(&mut params, now, LEAF_DAYS);
    params.distinguished_name = named("Ephyra on this machine");
    params.subject_alt_names = alternatives;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let leaf_key = KeyPair::generate().map_err(LocalError::Make)?;
    let leaf = params
        .signed_by(&leaf_key, &Issuer::new(authority, key))
        .map_err(LocalError::Make)?;
    let extra = serde_json::to_vec(&extra).map_err(|error| io(NAMES, "written")(error.into()))?;
    folder
        .write(NAMES, &extra, Readers::Server)
        .map_err(io(NAMES, "written"))?;
    let text = format!("{}{}", leaf_key.serialize_pem(), leaf.pem());
    folder
        .write(LOCAL, text.as_bytes(), Readers::Server)
        .map_err(io(LOCAL, "written"))?;
    Ok(Issued {
        is_new_authority,
        names,
        to: now + (LEAF_DAYS * 24).hours(),
    })
}

/// The authority's own certificate. Its name follows from its key, so that it is the same each time.
fn authority(key: &KeyPair, now: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    set_validity(&mut params, now, AUTHORITY_DAYS);
    let digest = hex::encode(&Sha256::digest(key.public_key_raw())[..4]);
    params.distinguished_name = named(&format!("Ephyra local authority {digest}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named(name: &str) -> rcgen::DistinguishedName {
    let mut names = rcgen::DistinguishedName::new();
    names.push(DnType::OrganizationName, "Ephyra");
    names.push(DnType::CommonName, name);
    names
}

/// From the day before, as not all clocks agree.
fn set_validity(params: &mut CertificateParams, now: Timestamp, days: i64) {
    let day = |time: Timestamp| {
        let date = time.to_zoned(jiff::tz::TimeZone::UTC).date();
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        date_time_ymd(i32::from(date.year()), month, day)
    };
    params.not_before = day(now - 24.hours());
    params.not_after = day(now + (days * 24).hours());
}

fn alternative(name: &str) -> Result<SanType, LocalError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let invalid = || LocalError::Name(name.to_owned());
    let plain = name.strip_prefix("*.").unwrap_or(name);
    let is_label = |label: &str| {
        let is_character = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(is_character) && !label.starts_with('-')
    };
    if plain.len() > 253 || !plain.split('.').all(is_label) {
        return Err(invalid());
    }
    name.try_into().map(SanType::DnsName).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Certificate;

    fn issue_at(data: &std::path::Path, more: &[&str], now: &str) -> Result<Issued, LocalError> {
        let more: Vec<_> = more.iter().map(|name| (*name).to_owned()).collect();
        issue(&Folder::of(data), "us-east-1", &more, now.parse().unwrap())
    }

    #[test]
    fn an_authority_is_made_once_and_its_certificate_each_time() {
        let data = tempfile::tempdir().unwrap();
        let folder = Folder::of(data.path());
        let first = issue_at(
            data.path(),
            &["Dev.Test", "10.0.0.5", "*.dev.test"],
            "2026-11-23T12:00:00Z",
        )
        .unwrap();
        assert!(first.is_new_authority);
        let names = "localhost *.localhost *.lambda-url.us-east-1.localhost *.execute-api.us-east-1.localhost 127.0.0.1 ::1 \
             *.dev.test 10.0.0.5 dev.test";
        assert_eq!(first.names.join(" "), names);
        let authority = folder.read(AUTHORITY).unwrap();
        let text = folder.read(LOCAL).unwrap();
        let leaf = Certificate::read(&text, &text).unwrap();
        assert_eq!(
            (leaf.from.to_string(), leaf.to.to_string()),
            ("2026-11-22T00:00:00Z".into(), "2027-12-25T00:00:00Z".into())
        );
        assert!(leaf.names.contains(&"dev.test".to_owned()));

        // Renewed: of the same authority, and with what was asked for before.
        let second = issue_at(data.path(), &["other.test"], "2027-11-23T12:00:00Z").unwrap();
        assert!(!second.is_new_authority && second.names.contains(&"*.dev.test".to_owned()));
        assert_eq!(folder.read(AUTHORITY).unwrap(), authority);
        let text = folder.read(LOCAL).unwrap();
        let chain = crate::pem::certificates(&text).unwrap();
        let authority = crate::pem::certificates(&authority).unwrap();
        let anchor = webpki::anchor_from_trusted_cert(&authority[0]).unwrap();
        let leaf = webpki::EndEntityCert::try_from(&chain[0]).unwrap();
        let now = std::time::Duration::from_secs(1_827_000_000);
        let now = rustls::pki_types::UnixTime::since_unix_epoch(now);
        let usage = webpki::KeyUsage::server_auth();
        leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &[anchor], &[], now, usage, None, None)
            .unwrap();
        for name in [
            "localhost",
            "abc.lambda-url.us-east-1.localhost",
            "a.dev.test",
            "127.0.0.1",
            "::1",
            "10.0.0.5",
        ] {
            let name = rustls::pki_types::ServerName::try_from(name).unwrap();
            leaf.verify_is_valid_for_subject_name(&name).unwrap();
        }
    }

    #[test]
    fn nothing_is_overwritten_and_names_are_checked() {
        let data = tempfile::tempdir().unwrap();
        let folder = Folder::of(data.path());
        for name in ["", "a b", "a..b", "a/b", "*", "*.*.a", "a.*", "-a", "a,b", "http://a"] {
            let made = issue_at(data.path(), &[name], "2026-11-23T12:00:00Z");
            assert!(matches!(made, Err(LocalError::Name(_))), "{name}");
        }
        folder.write(LOCAL, b"mine", Readers::Server).unwrap();
        assert!(matches!(
            issue_at(data.path(), &[], "2026-11-23T12:00:00Z"),
            Err(LocalError::Foreign)
        ));
        assert_eq!(folder.read(LOCAL).unwrap(), b"mine");
        folder.write(AUTHORITY, b"mine", Readers::All).unwrap();
        assert!(matches!(
            issue_at(data.path(), &[], "2026-11-23T12:00:00Z"),
            Err(LocalError::Halved { .. })
        ));
        assert_eq!(folder.read(AUTHORITY).unwrap(), b"mine");
    }
}
