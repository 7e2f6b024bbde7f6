//! A certificate and its key, from PEM.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::TlsError;

/// Largest file, in bytes; chains are far shorter.
const MAX_FILE: u64 = 1 << 20;

/// Reads a file of bounded size.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::File { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The chain in `certificate` with the key in `key`, which must belong together; `path` is what errors speak of.
pub(super) fn parse(path: &Path, certificate: &[u8], key: &[u8]) -> Result<CertifiedKey, TlsError> {
    let nothing = |what| TlsError::Nothing { path: path.to_owned(), what };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<_, _>>()
        .map_err(|_| nothing("certificate"))?;
    if chain.is_empty() {
        return Err(nothing("certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| nothing("private key"))?;
    CertifiedKey::from_der(chain, key, &ring::default_provider())
        .map_err(|why| TlsError::Pair { path: path.to_owned(), why })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A certificate and its key, both PEM.
    pub(in crate::tls) fn made(name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn pairs_belong_together_or_say_what_is_wrong() {
        let path = Path::new("c.pem");
        let ((one, key), (other, _)) = (made("a"), made("b"));
        assert_eq!(parse(path, one.as_bytes(), key.as_bytes()).unwrap().cert.len(), 1);
        let both = format!("{one}{other}");
        assert_eq!(parse(path, both.as_bytes(), key.as_bytes()).unwrap().cert.len(), 2, "a chain");
        let wrong = |certificate: &str, key: &str| {
            parse(path, certificate.as_bytes(), key.as_bytes()).unwrap_err().to_string()
        };
        assert!(wrong(&other, &key).contains("cannot be used with its key"));
        assert!(wrong("", &key).contains("c.pem holds no certificate"));
        assert!(wrong(&one, &one).contains("c.pem holds no private key"));
        assert!(
            wrong("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", &key)
                .contains("no certificate")
        );
        assert!(!format!("{:?}", parse(path, one.as_bytes(), key.as_bytes())).contains("PRIVATE"));
    }
}
