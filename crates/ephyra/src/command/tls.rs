//! `ephyra tls`: a local certificate authority, and the process that reads files for the server.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, OpenOptions};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use ephyra_sandbox::warden::MARKER;
use ephyra_tls::folder::{AUTHORITY, Folder};
use ephyra_tls::keeper;
use ephyra_tls::local::{self, Issued};
use jiff::Timestamp;
use serde_json::json;

use crate::cli::{Tls, TlsInit};
use crate::output::Output;

pub(crate) fn run(command: Tls, output: &Output) -> anyhow::Result<ExitCode> {
    match command {
        Tls::Init(options) => init(&options, output),
        Tls::Keep { files } => keep(&files),
    }
}

fn init(options: &TlsInit, output: &Output) -> anyhow::Result<ExitCode> {
    make_data(&options.data)?;
    let folder = Folder::of(&options.data);
    let issued = local::issue(&folder, options.region.as_str(), &options.names, Timestamp::now())?;
    let authority = folder.file(AUTHORITY);
    let made = json!({
        "authority": authority,
        "isNewAuthority": issued.is_new_authority,
        "names": issued.names,
        "notAfter": issued.to.to_string(),
    });
    output.result(&made, |_| describe(&issued, &authority))?;
    Ok(ExitCode::SUCCESS)
}

fn describe(issued: &Issued, authority: &Path) -> String {
    let mut text = format!(
        "Certificate for {}, valid until {}. Run this again to renew it.\n",
        issued.names.join(", "),
        issued.to.strftime("%Y-%m-%d")
    );
    let authority = authority.display();
    if issued.is_new_authority {
        let _ = write!(
            text,
            "
`ephyra serve` shows it by itself. Let your programs trust the new authority (who can read ca-key.pem beside it
can make certificates that they then believe):

  Debian, Ubuntu   sudo cp {authority} /usr/local/share/ca-certificates/ephyra.crt && sudo update-ca-certificates
  Fedora, RHEL     sudo cp {authority} /etc/pki/ca-trust/source/anchors/ephyra.pem && sudo update-ca-trust
  macOS            sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {authority}
  Firefox          Settings, Certificates, Authorities, Import
  curl             curl --cacert {authority} https://localhost:4566/_ephyra/health
  AWS CLI, boto3   export AWS_CA_BUNDLE={authority}
  Node             export NODE_EXTRA_CA_CERTS={authority}
"
        );
    }
    text
}

/// The data folder, which may not be there before the platform first runs.
fn make_data(data: &Path) -> anyhow::Result<()> {
    let marker = data.join(MARKER);
    if fs::symlink_metadata(&marker).is_ok() {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(data);
    made.with_context(|| format!("{} cannot be made", data.display()))?;
    let mut entries = fs::read_dir(data).with_context(|| format!("{} cannot be read", data.display()))?;
    if entries.next().is_some() {
        bail!(
            "{} is not empty and not a data folder of ephyra's: choose another with --data",
            data.display()
        );
    }
    let marked = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&marker);
    marked.with_context(|| format!("{} cannot be written", marker.display()))?;
    Ok(())
}

/// Runs beside the server, which is at the other end of standard input.
fn keep(files: &[std::path::PathBuf]) -> anyhow::Result<ExitCode> {
    // A terminal's Ctrl-C is for the warden: this ends when the server has.
    let _ = rustix::process::setsid();
    let pairs: Vec<_> = files
        .chunks_exact(2)
        .map(|pair| keeper::Pair {
            certificate: pair[0].clone(),
            key: pair[1].clone(),
        })
        .collect();
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    match keeper::run(&pairs, socket) {
        // The server has ended.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        result => {
            result.context("changes of certificates cannot be followed")?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
