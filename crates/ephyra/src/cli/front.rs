//! What can be said of how clients are served: TLS, proxies, compression.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::DEFAULT_DATA;

/// Takes a name that an ACME server can issue for: no wildcard, no address.
fn domain(text: &str) -> Result<String, String> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
    };
    let is_name = text.len() <= 253
        && text.contains('.')
        && text.split('.').all(is_label)
        && text.parse::<std::net::IpAddr>().is_err();
    is_name
        .then(|| text.to_ascii_lowercase())
        .ok_or_else(|| format!("{text:?} is not a name such as functions.example.org"))
}

/// Takes the directory of an ACME server.
fn directory(text: &str) -> Result<String, String> {
    match text.strip_prefix("https://") {
        Some(host) if !host.is_empty() && !host.starts_with('/') => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is not an https URL")),
    }
}

#[derive(Args, Debug)]
#[command(next_help_heading = "TLS and proxies")]
pub(crate) struct FrontArgs {
    /// Certificate with its chain, in PEM; read again when it changes. TLS is then spoken on every port beside plain HTTP
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Vec<PathBuf>,

    /// Private key of the certificate, in PEM; one for each --tls-cert, in their order
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Vec<PathBuf>,

    /// One more address to listen on, for TLS, such as 0.0.0.0:443; links are then made for it
    #[arg(long, value_name = "ADDR")]
    pub(crate) tls_listen: Option<SocketAddr>,

    /// Name to get a certificate for from an ACME server; it must lead here on port 80
    #[arg(long, value_name = "NAME", value_parser = domain)]
    pub(crate) acme_domain: Vec<String>,

    /// Directory of the ACME server
    #[arg(long, value_name = "URL", value_parser = directory, default_value = ephyra_tls::acme::DEFAULT_DIRECTORY)]
    pub(crate) acme_directory: String,

    /// How the ACME server's operator reaches you, such as mailto:you@example.org
    #[arg(long, value_name = "URL")]
    pub(crate) acme_contact: Vec<String>,

    /// Certificates, in PEM, to trust for the ACME server besides those that the machine trusts
    #[arg(long, value_name = "FILE")]
    pub(crate) acme_ca: Option<PathBuf>,

    /// Proxies, as addresses or networks such as 10.0.0.0/8, whose X-Forwarded-For and X-Forwarded-Proto are believed
    #[arg(long, value_name = "CIDR")]
    pub(crate) trusted_proxy: Vec<ephyra_wire::front::Network>,

    /// Never compress the answers of function URLs and HTTP APIs, whatever clients accept
    #[arg(long)]
    pub(crate) no_compression: bool,
}

/// Certificates.
#[derive(Debug, Subcommand)]
pub(crate) enum Tls {
    /// Make a local certificate authority, and a certificate for this machine that `serve` then shows; again: renew it
    Init(TlsInit),
    /// Read files for the server, which cannot see them
    #[command(hide = true)]
    Keep {
        /// Certificate and key in turns.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

#[derive(Args, Debug)]
pub(crate) struct TlsInit {
    /// More names or addresses that the certificate is to be for, such as dev.example.org or 192.168.1.5
    pub(crate) names: Vec<String>,

    /// The platform's data folder; made when it is not there
    #[arg(long, value_name = "DIR", env = "EPHYRA_DATA", default_value = DEFAULT_DATA)]
    pub(crate) data: PathBuf,

    /// The platform's region, which is part of function URLs
    #[arg(long, default_value = "us-east-1", value_parser = super::region)]
    pub(crate) region: ephyra_core::id::Region,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_names() {
        for text in ["a.example.org", "A-1.test"] {
            assert_eq!(domain(text), Ok(text.to_ascii_lowercase()));
        }
        for text in [
            "",
            "localhost",
            "*.a.test",
            "a..b",
            "-a.b",
            "1.2.3.4",
            "a/b.c",
            "a.b:80",
            "../a.b",
        ] {
            assert!(domain(text).is_err(), "{text}");
        }
        assert!(directory("https://a/b").is_ok());
        for text in ["http://a", "https://", "https:///x", "a"] {
            assert!(directory(text).is_err(), "{text}");
        }
    }
}
