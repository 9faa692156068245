//! The root credentials: from the environment, or made on first start and kept in the data folder.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

pub(super) const ACCESS_KEY_VARIABLE: &str = "EPHYRA_ROOT_ACCESS_KEY_ID";
pub(super) const SECRET_VARIABLE: &str = "EPHYRA_ROOT_SECRET_ACCESS_KEY";

/// Shorter secrets can be guessed.
const SECRET_LENGTH: usize = 16;

/// An access key that may do everything.
#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Root {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
}

impl Root {
    fn path(data: &Path) -> PathBuf {
        data.join("credentials.json")
    }

    /// From the environment; `None` when neither variable is set.
    pub(crate) fn from_environment() -> anyhow::Result<Option<Self>> {
        let read = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        match (read(ACCESS_KEY_VARIABLE), read(SECRET_VARIABLE)) {
            (None, None) => Ok(None),
            (Some(access_key_id), Some(secret_access_key)) => {
                let is_key = (16..=128).contains(&access_key_id.len())
                    && access_key_id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                if !is_key {
                    bail!("{ACCESS_KEY_VARIABLE} must be 16 to 128 letters, digits and underscores");
                }
                if secret_access_key.len() < SECRET_LENGTH {
                    bail!("{SECRET_VARIABLE} must have at least {SECRET_LENGTH} characters");
                }
                Ok(Some(Self {
                    access_key_id,
                    secret_access_key,
                }))
            }
            _ => bail!("set both {ACCESS_KEY_VARIABLE} and {SECRET_VARIABLE}, or neither"),
        }
    }

    /// What the data folder holds.
    pub(crate) fn read(data: &Path) -> anyhow::Result<Self> {
        let path = Self::path(data);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) => {
                let hint = match error.kind() {
                    std::io::ErrorKind::NotFound => {
                        "start `ephyra serve` with this --data once, or name the right folder"
                    }
                    std::io::ErrorKind::PermissionDenied => "ask as root: sudo ephyra credentials",
                    _ => "see why below",
                };
                return Err(error).with_context(|| format!("{} cannot be read ({hint})", path.display()));
            }
        };
        serde_json::from_slice(&text).with_context(|| format!("{} is not what ephyra wrote", path.display()))
    }

    /// From the data folder, else made and kept there with mode 0600.
    pub(crate) fn find_or_make(data: &Path) -> anyhow::Result<Self> {
        if Self::path(data).exists() {
            return Self::read(data);
        }
        let root = Self {
            access_key_id: format!("AKIA{}", random_text(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16)?),
            secret_access_key: random_text(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", 40)?,
        };
        root.keep(data)?;
        Ok(root)
    }

    /// Written whole or not at all: a crash on the way leaves no half a secret.
    fn keep(&self, data: &Path) -> anyhow::Result<()> {
        let path = Self::path(data);
        let draft = data.join("credentials.json.new");
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&draft)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_all()?;
            std::fs::rename(&draft, &path)?;
            std::fs::File::open(data)?.sync_all()
        };
        write().with_context(|| format!("{} cannot be written", path.display()))
    }
}

/// `length` characters of `alphabet`, whose size is a power of two so that each is equally likely.
fn random_text(alphabet: &[u8], length: usize) -> anyhow::Result<String> {
    debug_assert!(
        alphabet.len().is_power_of_two(),
        "a remainder would favour some characters"
    );
    let mut bytes = vec![0; length];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("/dev/urandom cannot be read")?;
    Ok(bytes
        .into_iter()
        .map(|byte| char::from(alphabet[usize::from(byte) % alphabet.len()]))
        .collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn made_once_and_kept_private() {
        let folder = tempfile::tempdir().unwrap();
        let made = Root::find_or_make(folder.path()).unwrap();
        let found = Root::find_or_make(folder.path()).unwrap();
        assert_eq!(made.secret_access_key, found.secret_access_key);
        assert_eq!((made.access_key_id.len(), made.secret_access_key.len()), (20, 40));
        let mode = std::fs::metadata(Root::path(folder.path()))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn an_absent_folder_says_what_to_do() {
        let error = Root::read(Path::new("/does/not/exist")).err().unwrap();
        assert!(error.to_string().contains("ephyra serve"), "{error}");
    }
}
