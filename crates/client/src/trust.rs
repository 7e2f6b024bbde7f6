//! Whom a client believes that a server is who it says, where `https` is spoken.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Who vouches for servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// The authorities that the machine knows.
    Machine,
    /// These and no others, PEM.
    Authorities(Vec<u8>),
    /// Nobody: whoever answers is believed. For tests only.
    Anybody,
}

impl Trust {
    /// What handshakes with servers are made with; the error says why it cannot be made.
    pub fn config(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match self {
            Self::Anybody => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Gullible(provider)))
            }
            Self::Machine => builder.with_root_certificates(machine()?),
            Self::Authorities(pem) => {
                let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(given(pem)?), provider);
                builder.with_webpki_verifier(verifier.build().map_err(|error| error.to_string())?)
            }
        };
        Ok(builder.with_no_client_auth())
    }
}

/// What is wrong with the certificate that a server showed and what to do, if it is that what failed: other words than those of
/// whoever implements TLS.
#[must_use]
pub fn refused_certificate(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(Error::InvalidCertificate(why)) = error.downcast_ref::<Error>() {
            return Some(told(why));
        }
        // What lies in an error of the system is not its source.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = inner.map(|inner| inner as &(dyn StdError + 'static)).or_else(|| error.source());
    }
    None
}

fn told(why: &CertificateError) -> String {
    let is_authority =
        matches!(why, CertificateError::Other(other) if other.0.to_string().contains("CaUsedAsEndEntity"));
    match why {
        _ if is_authority => "its certificate is one of an authority (CA:TRUE), as `openssl req -x509` makes it, and cannot be \
            a server's: make one with `-addext basicConstraints=critical,CA:FALSE`, or do not check it with --insecure"
            .to_owned(),
        // The latter, where an authority of the same name is trusted.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => "nobody who is trusted vouches for its certificate: name its authority, or the \
            certificate itself, with --cacert"
            .to_owned(),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("its certificate is for another name: {why}")
        }
        _ => format!("its certificate is refused: {why}"),
    }
}

fn machine() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(format!("the machine knows no authorities{why}; install ca-certificates, or name some"));
    }
    Ok(roots)
}

fn given(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("an authority is no certificate: {error}"))?;
        roots.add(certificate).map_err(|error| format!("an authority cannot be used: {error}"))?;
    }
    if roots.is_empty() {
        return Err("there is no certificate among the authorities that were given".to_owned());
    }
    Ok(roots)
}

/// Believes every certificate, but not that somebody else's is one's own.
#[derive(Debug)]
struct Gullible(Arc<CryptoProvider>);

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_certificates_are_told_in_words() {
        #[derive(Debug)]
        struct Unknown;
        impl std::fmt::Display for Unknown {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("CaUsedAsEndEntity")
            }
        }
        impl StdError for Unknown {}
        let authority = CertificateError::Other(rustls::OtherError(Arc::new(Unknown)));
        for (why, words) in [
            (authority, "CA:FALSE"),
            (CertificateError::UnknownIssuer, "--cacert"),
            (CertificateError::BadSignature, "--cacert"),
            (CertificateError::NotValidForName, "another name"),
            (CertificateError::Expired, "refused"),
        ] {
            // As it comes: in an error of the system, beneath others.
            let error =
                io::Error::other(io::Error::new(io::ErrorKind::InvalidData, Error::InvalidCertificate(why)));
            let told = refused_certificate(&error).unwrap();
            assert!(told.contains(words), "{told}");
        }
        assert_eq!(refused_certificate(&io::Error::other("no route")), None);
    }

    #[test]
    fn authorities_must_be_certificates() {
        let why = |pem: &str| Trust::Authorities(pem.as_bytes().to_vec()).config().unwrap_err();
        assert!(why("").contains("no certificate"));
        assert!(
            why("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").contains("an authority")
        );
        assert!(Trust::Anybody.config().is_ok());
    }
}
