//! The key of a node: seals the secrets that lie in its data folder.
//!
//! 32 random bytes in `node.key`, readable by the owner alone, made at the first start ([`KeyFile`], which parameters have
//! one of, too). Sealing is AES-256-GCM
//! with a random nonce in front; the context (whose secret it is) is authenticated with it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use sha2::{Digest, Sha256};

use crate::{OpenError, files, subjects};

/// Name of the key's file.
pub(crate) const FILE: &str = "node.key";
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;

/// A file with a key, as it lies in a data folder. Never printed.
pub(crate) struct KeyFile {
    /// Where it lies.
    pub(crate) file: PathBuf,
    /// What is in it.
    pub(crate) bytes: [u8; KEY_BYTES],
}

impl KeyFile {
    /// Reads a key, making it if there is none and nothing is known to be locked with one (`is_used`, which is asked only
    /// then). Safe against another process doing the same.
    pub(crate) fn open(
        folder: &Path,
        name: &str,
        is_used: impl FnOnce() -> Result<bool, OpenError>,
    ) -> Result<Self, OpenError> {
        let file = folder.join(name);
        let mut found = Self::read(&file)?;
        if found.is_none() && is_used()? {
            // It may have been made, and used, between the two questions.
            found = Self::read(&file)?;
            if found.is_none() {
                return Err(OpenError::MissingKey { file });
            }
        }
        let bytes = match found {
            Some(bytes) => bytes,
            None => create(folder, name, &file).map_err(OpenError::io("create the key", &file))?,
        };
        let bytes = bytes.try_into().map_err(|_| OpenError::WrongKey { file: file.clone() })?;
        Ok(Self { file, bytes })
    }

    /// The bytes of a key's file, if it is there.
    pub(crate) fn read(file: &Path) -> Result<Option<Vec<u8>>, OpenError> {
        match fs::read(file) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(OpenError::io("read the key", file)(error)),
        }
    }

    /// Tells keys apart without giving them away.
    pub(crate) fn fingerprint(&self) -> i64 {
        let digest = Sha256::digest(self.bytes);
        i64::from_be_bytes(digest.first_chunk().copied().unwrap_or_default())
    }
}

/// The key, ready for use. Never printed.
pub(crate) struct NodeKey {
    cipher: Aes256Gcm,
    fingerprint: i64,
    file: PathBuf,
}

/// A secret could not be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SealError {
    /// The operating system has no random bytes.
    #[error("the system gave no random bytes")]
    Random,
    /// Not sealed by this key for this context, or damaged.
    #[error("the secret was not sealed with this node's key")]
    NotOurs,
}

impl NodeKey {
    /// Reads the folder's key, or makes it.
    pub(crate) fn open(folder: &Path) -> Result<Self, OpenError> {
        let is_used = || Ok(subjects::fingerprint(folder, subjects::NODE_KEY)?.is_some());
        let key = KeyFile::open(folder, FILE, is_used)?;
        let fingerprint = key.fingerprint();
        let cipher = Aes256Gcm::new(&key.bytes.into());
        Ok(Self { cipher, fingerprint, file: key.file })
    }

    /// Tells keys apart without giving them away.
    pub(crate) fn fingerprint(&self) -> i64 {
        self.fingerprint
    }

    /// Where the key lies.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Seals a secret: nonce, then cipher text with tag.
    pub(crate) fn seal(&self, secret: &[u8], context: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0u8; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| SealError::Random)?;
        let payload = Payload { msg: secret, aad: context };
        let sealed =
            self.cipher.encrypt(Nonce::from_slice(&nonce), payload).map_err(|_| SealError::NotOurs)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Opens what [`NodeKey::seal`] made for the same context.
    pub(crate) fn open_sealed(&self, sealed: &[u8], context: &[u8]) -> Result<Vec<u8>, SealError> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(SealError::NotOurs)?;
        let payload = Payload { msg: text, aad: context };
        self.cipher.decrypt(Nonce::from_slice(nonce), payload).map_err(|_| SealError::NotOurs)
    }
}

/// Writes a new key beside its place and links it in, so that of two makers one wins and both read the same.
fn create(folder: &Path, name: &str, file: &Path) -> io::Result<Vec<u8>> {
    let mut key = vec![0u8; KEY_BYTES];
    getrandom::fill(&mut key).map_err(io::Error::from)?;
    let draft = folder.join(format!("{name}.{}", std::process::id()));
    files::remove(&draft)?;
    let mut written = files::private().create_new(true).open(&draft)?;
    written.write_all(&key)?;
    written.sync_all()?;
    let linked = fs::hard_link(&draft, file);
    files::remove(&draft)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return fs::read(file),
        other => other?,
    }
    files::sync_folder(folder)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn secrets_open_only_with_their_key_and_context() {
        let folder = tempfile::tempdir().unwrap();
        let key = NodeKey::open(folder.path()).unwrap();
        let sealed = key.seal(b"secret", b"alice").unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        let again = NodeKey::open(folder.path()).unwrap();
        assert_eq!(again.open_sealed(&sealed, b"alice").unwrap(), b"secret");
        assert_eq!(again.open_sealed(&sealed, b"bob"), Err(SealError::NotOurs));
        assert_eq!(again.open_sealed(b"short", b"alice"), Err(SealError::NotOurs));
        let other = NodeKey::open(tempfile::tempdir().unwrap().path()).unwrap();
        assert_eq!(other.open_sealed(&sealed, b"alice"), Err(SealError::NotOurs));
        assert_ne!(other.fingerprint(), key.fingerprint());
    }

    #[test]
    fn only_the_owner_reads_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let key = NodeKey::open(folder.path()).unwrap();
        assert_eq!(fs::metadata(key.file()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
        fs::write(key.file(), b"too short").unwrap();
        assert!(matches!(NodeKey::open(folder.path()), Err(OpenError::WrongKey { .. })));
    }
}
