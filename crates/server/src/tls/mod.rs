//! TLS of the API's door: a certificate from files, which are watched, or from an authority by ACME.

mod acme;
mod certificates;
mod files;
mod pair;
mod shelf;
mod validity;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::version::{TLS12, TLS13};

use self::acme::Acme;
use self::certificates::Certificates;
use self::files::Files;
use crate::settings;

/// What clients may speak once the handshake is done.
const HTTP: &[u8] = b"http/1.1";

/// Why there is no TLS. Each text says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}; see server.tls")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{path} holds no {what} in PEM form; see server.tls")]
    Nothing {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// Certificate and key cannot be used, or not with each other.
    #[error("the certificate of {path} cannot be used with its key: {why}; see server.tls")]
    Pair {
        /// The certificate.
        path: PathBuf,
        /// Why.
        why: rustls::Error,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// The TLS of a node.
pub struct Tls {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    origin: Origin,
}

/// Where certificates come from.
enum Origin {
    Files(Files),
    Authority(Box<Acme>),
}

impl Tls {
    /// TLS as the settings have it, if they do. Files must be good from the start; a certificate of an authority is
    /// got while the node runs, and kept in `folder`.
    pub fn open(settings: &settings::Tls, folder: &Path) -> Result<Option<Self>, TlsError> {
        let certificates = Arc::new(Certificates::default());
        let mut protocols = vec![HTTP.to_vec()];
        let origin = match (&settings.certificate.0, &settings.key.0) {
            (Some(certificate), Some(key)) => {
                let files = Files { certificate: certificate.clone(), key: key.clone() };
                certificates.serve(files.load()?);
                Origin::Files(files)
            }
            _ if !settings.acme_domains.is_empty() => {
                protocols.push(certificates::AUTHORITY_LOOKS.to_vec());
                let acme = Acme::new(settings, folder)?;
                acme.serve_kept(&certificates);
                Origin::Authority(Box::new(acme))
            }
            _ => return Ok(None),
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| TlsError::Setup(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(certificates.clone());
        config.alpn_protocols = protocols;
        Ok(Some(Self { config: Arc::new(config), certificates, origin }))
    }

    /// What handshakes are made with. It stays the same when certificates change.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// Keeps the certificate up to date until `stopped` resolves.
    pub async fn keep(self, stopped: impl Future<Output = ()>) {
        let keeping = async {
            match self.origin {
                Origin::Files(files) => files.watch(&self.certificates).await,
                Origin::Authority(acme) => acme.renew(&self.certificates).await,
            }
        };
        tokio::select! {
            () = keeping => {}
            () = stopped => {}
        }
    }
}
