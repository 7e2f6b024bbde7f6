//! Certificate and key from files of the operator's, read again when they change.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::sign::CertifiedKey;
use tokio::signal::unix::{SignalKind, signal};

use super::certificates::Certificates;
use super::{TlsError, pair, validity};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// Bits of a mode that let others read.
const OTHERS: u32 = 0o077;

/// Where they are.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// What changes when a file does: device, inode, size, and when it was written.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

impl Files {
    /// Reads both.
    pub(super) fn load(&self) -> Result<CertifiedKey, TlsError> {
        let (certificate, key) = (pair::read(&self.certificate)?, pair::read(&self.key)?);
        let mode = self.key.metadata().map_or(0, |key| key.mode());
        if mode & OTHERS != 0 {
            tracing::warn!(
                path = %self.key.display(),
                "others than its owner can read the key of server.tls: chmod 600 it"
            );
        }
        let pair = pair::parse(&self.certificate, &certificate, &key)?;
        validity::warn(&pair, &self.certificate);
        Ok(pair)
    }

    /// Puts in force what comes to be in the files, now and then and at SIGHUP. What cannot be used changes nothing.
    pub(super) async fn watch(&self, certificates: &Certificates) {
        let mut hangup = signal(SignalKind::hangup())
            .inspect_err(|error| tracing::warn!(%error, "SIGHUP does not read certificates again"))
            .ok();
        let mut seen = self.stamps();
        loop {
            let asked = async {
                match &mut hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            let asked = tokio::time::timeout(LOOK, asked).await.is_ok();
            let now = self.stamps();
            if now == seen && !asked {
                continue;
            }
            seen = now;
            match self.load() {
                Ok(pair) => {
                    certificates.serve(pair);
                    tracing::info!(path = %self.certificate.display(), "a new certificate is in force");
                }
                Err(error) => {
                    tracing::error!(%error, "the certificate in force stays: the new one cannot be used")
                }
            }
        }
    }

    fn stamps(&self) -> [Stamp; 2] {
        [&self.certificate, &self.key].map(|path| stamp(path))
    }
}

fn stamp(path: &Path) -> Stamp {
    let of = |file: Metadata| (file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec());
    path.metadata().ok().map(of)
}
