//! What is kept of dealings with an authority: the account, and the certificate with its key. For the node's eyes only.

use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use instant_acme::AccountCredentials;
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::{TlsError, pair};

/// Name of the folder.
const FOLDER: &str = "acme";

/// The files of one directory of an authority and one set of names.
#[derive(Debug)]
pub(super) struct Shelf {
    folder: PathBuf,
    account: PathBuf,
    certificate: PathBuf,
}

impl Shelf {
    /// The shelf below the data folder.
    pub(super) fn new(data: &Path, directory: &str, names: &[String]) -> Result<Self, TlsError> {
        let folder = data.join(FOLDER);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|source| TlsError::File { path: folder.clone(), source })?;
        let of = |text: &str| -> String {
            Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
        };
        // Another authority, or other names: nothing that is there counts.
        let account = folder.join(format!("account-{}.json", of(directory)));
        let certificate =
            folder.join(format!("certificate-{}.pem", of(&format!("{directory} {}", names.join(" ")))));
        Ok(Self { folder, account, certificate })
    }

    /// The account, if there is one.
    pub(super) fn account(&self) -> Option<AccountCredentials> {
        let bytes = std::fs::read(&self.account).ok()?;
        serde_json::from_slice(&bytes)
            .inspect_err(|_| tracing::warn!(path = %self.account.display(), "an account is unreadable; a new one is made"))
            .ok()
    }

    /// Keeps an account.
    pub(super) fn put_account(&self, account: &AccountCredentials) -> io::Result<()> {
        self.put(&self.account, &serde_json::to_vec(account)?)
    }

    /// The certificate with its key, if there is one.
    pub(super) fn certificate(&self) -> Option<CertifiedKey> {
        let text = std::fs::read(&self.certificate).ok()?;
        pair::parse(&self.certificate, &text, &text)
            .inspect_err(
                |error| tracing::warn!(%error, "a kept certificate is not used; a new one is asked for"),
            )
            .ok()
    }

    /// Keeps a certificate with its key, both PEM, if they are what they should be.
    pub(super) fn put_certificate(&self, chain: &str, key: &str) -> Result<CertifiedKey, TlsError> {
        let text = format!("{key}{chain}");
        let pair = pair::parse(&self.certificate, text.as_bytes(), text.as_bytes())?;
        let failed = |source| TlsError::File { path: self.certificate.clone(), source };
        self.put(&self.certificate, text.as_bytes()).map_err(failed)?;
        Ok(pair)
    }

    /// Writes a file as a whole or not at all, for its owner alone.
    fn put(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = NamedTempFile::new_in(&self.folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        std::fs::File::open(&self.folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::tls::pair::tests::made;

    #[test]
    fn certificates_are_kept_for_their_names_and_for_nobody_else() {
        let data = tempfile::tempdir().unwrap();
        let shelf =
            |directory: &str, name: &str| Shelf::new(data.path(), directory, &[name.to_owned()]).unwrap();
        let (chain, key) = made("a");
        shelf("https://x", "a").put_certificate(&chain, &key).unwrap();
        assert!(shelf("https://x", "a").certificate().is_some());
        assert!(shelf("https://x", "b").certificate().is_none());
        assert!(shelf("https://y", "a").certificate().is_none());
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        let kept = shelf("https://x", "a").certificate;
        assert_eq!((mode(&data.path().join(FOLDER)), mode(&kept)), (0o700, 0o600));
        assert!(shelf("https://x", "a").put_certificate(&made("b").0, &key).is_err());
        assert!(shelf("https://x", "a").certificate().is_some(), "what cannot be used replaces nothing");
        std::fs::write(&kept, "nonsense").unwrap();
        assert!(shelf("https://x", "a").certificate().is_none());
    }
}
