//! What handshakes get: the certificate in force, or the proof that an authority looks for.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The protocol that authorities look in (RFC 8737).
pub(super) const AUTHORITY_LOOKS: &[u8] = b"acme-tls/1";

/// Certificates with their keys. What is put in force counts from the next handshake on.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    served: ArcSwapOption<CertifiedKey>,
    /// By the name that the authority asks for.
    proofs: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

impl Certificates {
    /// Puts a certificate in force.
    pub(super) fn serve(&self, key: CertifiedKey) {
        self.served.store(Some(Arc::new(key)));
    }

    /// Shows a proof to the authority.
    pub(super) fn prove(&self, name: String, proof: CertifiedKey) {
        self.proofs.lock().insert(name, Arc::new(proof));
    }

    /// Forgets all proofs.
    pub(super) fn forget_proofs(&self) {
        self.proofs.lock().clear();
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_authority = hello.alpn().is_some_and(|mut offered| offered.any(|one| one == AUTHORITY_LOOKS));
        match is_authority {
            true => self.proofs.lock().get(hello.server_name()?).cloned(),
            false => self.served.load_full(),
        }
    }
}
