//! Files on the host, for a server that cannot see them.
//!
//! The server's root folder holds its data folder and next to nothing more, and it may read no private key of the host's. So
//! a process beside it, with the rights that the platform was started with, reads the files that the operator named, and
//! again whenever they change, and sends their content through a socket. It reads nothing from that socket, and ends with
//! it.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;

use crate::folder::read_bounded;
use crate::pem::LARGEST;
use crate::{Certificate, Refreshed, Watch};

/// How long to wait after a change for the next: a certificate and its key are two files.
const SETTLE: Duration = Duration::from_millis(300);
/// The most pairs of files.
pub const PAIRS: usize = 100;

/// A certificate's file and its key's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The chain, in PEM.
    pub certificate: PathBuf,
    /// The private key, in PEM.
    pub key: PathBuf,
}

/// What the files of a pair hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// Their texts.
    Texts {
        /// The certificate's.
        certificate: String,
        /// The key's.
        key: String,
    },
    /// Why they could not be read.
    Unreadable(String),
}

/// Sends what the pairs hold, now and after every change, until the other end is closed.
///
/// # Errors
/// Those of inotify(7), poll(2) and write(2).
pub fn run(pairs: &[Pair], mut socket: UnixStream) -> io::Result<()> {
    let watch = Watch::new()?;
    let mut sent = None;
    loop {
        for pair in pairs {
            watch_folders(&watch, &pair.certificate);
            watch_folders(&watch, &pair.key);
        }
        let contents: Vec<_> = pairs.iter().map(read).collect();
        if sent.as_ref() != Some(&contents) {
            let bytes = serde_json::to_vec(&contents)?;
            let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
            socket.write_all(&length.to_be_bytes())?;
            socket.write_all(&bytes)?;
            sent = Some(contents);
        }
        if is_closed(&socket, &watch, None)? || is_closed(&socket, &watch, Some(SETTLE))? {
            return Ok(());
        }
        watch.has_changed()?;
    }
}

/// Waits for a change, or for a time; whether the other end was closed.
fn is_closed(socket: &UnixStream, watch: &Watch, time: Option<Duration>) -> io::Result<bool> {
    let timeout = time.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
    let mut polled = vec![PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)];
    if time.is_none() {
        polled.push(PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN));
    }
    rustix::io::retry_on_intr(|| poll(&mut polled, timeout.as_ref()))?;
    Ok(!polled[0].revents().is_empty())
}

/// The folder of the file and, where it is a link, that of what it leads to: either may be put in its place.
fn watch_folders(watch: &Watch, file: &Path) {
    let canonical = file.canonicalize().ok();
    for file in std::iter::once(file).chain(canonical.as_deref()) {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Err(error) = watch.add(folder.unwrap_or_else(|| Path::new("."))) {
            tracing::warn!(%error, file = %file.display(), "changes of this file will not be noticed");
        }
    }
}

fn read(pair: &Pair) -> Content {
    let text = |path: &Path| {
        let bytes = File::open(path).and_then(|file| read_bounded(&file));
        let bytes = bytes.map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        String::from_utf8(bytes).map_err(|_| format!("{} is not PEM", path.display()))
    };
    match (text(&pair.certificate), text(&pair.key)) {
        (Ok(certificate), Ok(key)) => Content::Texts { certificate, key },
        (Err(reason), _) | (_, Err(reason)) => Content::Unreadable(reason),
    }
}

/// What the keeper has sent last, on the server's side.
#[derive(Debug, Default)]
pub struct Received {
    certificates: Vec<Option<Arc<Certificate>>>,
}

impl Received {
    /// Waits for the next message. `None` when the keeper has ended.
    ///
    /// # Errors
    /// Those of read(2), and `InvalidData` for what is no message.
    pub async fn next(&mut self, socket: &mut tokio::net::UnixStream) -> io::Result<Option<Refreshed>> {
        let length = match socket.read_u32().await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            length => usize::try_from(length?).map_err(io::Error::other)?,
        };
        if length > PAIRS * 4 * LARGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = vec![0; length];
        socket.read_exact(&mut bytes).await?;
        let contents: Vec<Content> = serde_json::from_slice(&bytes)?;
        Ok(Some(self.take(contents)))
    }

    fn take(&mut self, contents: Vec<Content>) -> Refreshed {
        let mut broken = Vec::new();
        self.certificates.resize(contents.len(), None);
        for (content, held) in contents.into_iter().zip(&mut self.certificates) {
            let read = match content {
                Content::Unreadable(reason) => Err(reason),
                Content::Texts { certificate, key } => {
                    Certificate::read(certificate.as_bytes(), key.as_bytes()).map_err(|error| error.to_string())
                }
            };
            match read {
                Ok(certificate) => *held = Some(Arc::new(certificate)),
                Err(reason) => broken.push(reason),
            }
        }
        Refreshed {
            shown: self.certificates.iter().flatten().cloned().collect(),
            broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str) {
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
        std::fs::write(folder.join("new.pem"), made.pem()).unwrap();
        std::fs::rename(folder.join("new.pem"), folder.join("cert.pem")).unwrap();
    }

    #[tokio::test]
    async fn changes_arrive_and_broken_ones_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a.test");
        let pair = Pair {
            certificate: folder.path().join("cert.pem"),
            key: folder.path().join("key.pem"),
        };
        let (ours, theirs) = UnixStream::pair().unwrap();
        let keeper = std::thread::spawn(move || run(&[pair], theirs));
        ours.set_nonblocking(true).unwrap();
        let mut socket = tokio::net::UnixStream::from_std(ours).unwrap();
        let mut received = Received::default();
        let Refreshed { shown, broken } = received.next(&mut socket).await.unwrap().unwrap();
        assert_eq!((shown[0].names[0].as_str(), broken.len()), ("a.test", 0));
        std::fs::write(folder.path().join("cert.pem"), "nonsense").unwrap();
        let Refreshed { shown, broken } = received.next(&mut socket).await.unwrap().unwrap();
        assert_eq!((shown[0].names[0].as_str(), broken.len()), ("a.test", 1));
        write(folder.path(), "b.test");
        let Refreshed { shown, broken } = received.next(&mut socket).await.unwrap().unwrap();
        assert_eq!((shown[0].names[0].as_str(), broken.len()), ("b.test", 0));
        std::fs::remove_file(folder.path().join("key.pem")).unwrap();
        let Refreshed { shown, broken } = received.next(&mut socket).await.unwrap().unwrap();
        assert_eq!((shown.len(), broken.len()), (1, 1));
        drop(socket);
        keeper.join().unwrap().unwrap();
    }
}
