//! Certificates from an authority by ACME (RFC 8555): an account, an order, a proof shown at the node's own door
//! (TLS-ALPN-01), and the same again before a certificate ends.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use chasen_client::{Client, ClientError, Trust};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use instant_acme::{
    Account, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType, Error as AcmeError, HttpClient,
    Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use jiff::Timestamp;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

use super::certificates::Certificates;
use super::shelf::Shelf;
use super::validity::Validity;
use super::{TlsError, pair};
use crate::settings;

/// Longest time between two looks at the clock, which may jump.
const LOOK: Duration = Duration::from_hours(1);
/// Time after the first failure, which may be one of a machine that is starting. It grows fourfold up to [`LONGEST`]:
/// authorities bear few failures in an hour.
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_hours(6);
/// Bound on one order, from the first request to the certificate.
const ORDER: Duration = Duration::from_mins(10);
/// Bound on one request.
const REQUEST: Duration = Duration::from_secs(30);
/// How long an authority may take to look, and then to sign.
const POLLS: RetryPolicy = RetryPolicy::new().timeout(Duration::from_mins(3));
/// Bytes of the digest that a proof shows.
const DIGEST: usize = 32;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
enum OrderError {
    #[error(transparent)]
    Acme(#[from] AcmeError),
    #[error("the authority wants a proof of {0} that is not TLS-ALPN-01; it must offer that one")]
    NoProof(String),
    #[error("the authority does not trust in {0}: {1}")]
    Refused(String, String),
    #[error("a proof cannot be made: {0}")]
    Proof(#[from] rcgen::Error),
    #[error("a proof cannot be shown: {0}")]
    Shown(#[from] rustls::Error),
    #[error("the account cannot be kept: {0}")]
    Account(#[from] io::Error),
    #[error(transparent)]
    Kept(#[from] TlsError),
    #[error("it took longer than {} min", ORDER.as_secs() / 60)]
    Late,
}

/// What is asked for, and of whom.
pub(super) struct Acme {
    names: Vec<String>,
    contact: String,
    directory: String,
    client: Client,
    shelf: Shelf,
}

impl Acme {
    pub(super) fn new(settings: &settings::Tls, data: &Path) -> Result<Self, TlsError> {
        let directory = settings.acme_directory.clone();
        let trust = match &settings.acme_ca.0 {
            Some(path) => Trust::Authorities(pair::read(path)?),
            None => Trust::Machine,
        };
        let client = Client::trusting(&directory, &trust)
            .map_err(|error| TlsError::Setup(error.to_string()))?
            .with_timeout(REQUEST);
        let names = settings.acme_domains.clone();
        let shelf = Shelf::new(data, &directory, &names)?;
        Ok(Self { names, contact: settings.acme_contact.clone(), directory, client, shelf })
    }

    /// Puts the kept certificate in force, if there is one.
    pub(super) fn serve_kept(&self, certificates: &Certificates) {
        match self.shelf.certificate() {
            Some(pair) => certificates.serve(pair),
            None => tracing::info!(
                names = self.names.join(", "),
                "there is no certificate yet: handshakes fail until the authority has given one"
            ),
        }
    }

    /// Asks for a certificate whenever it is time to.
    pub(super) async fn renew(&self, certificates: &Certificates) {
        let mut failures = 0;
        loop {
            let kept = self.shelf.certificate();
            let validity = kept.as_ref().and_then(|pair| Validity::of(pair.cert.first()?));
            let rest = remaining(validity, Timestamp::now().as_second());
            if !rest.is_zero() {
                tokio::time::sleep(rest.min(LOOK)).await;
                continue;
            }
            let ordered = tokio::time::timeout(ORDER, self.order(certificates)).await;
            certificates.forget_proofs();
            match ordered.unwrap_or(Err(OrderError::Late)) {
                Ok(pair) => {
                    failures = 0;
                    certificates.serve(pair);
                    tracing::info!(names = self.names.join(", "), "a new certificate is in force");
                }
                Err(error) => {
                    failures += 1;
                    let pause = pause_after(failures);
                    tracing::error!(
                        %error, directory = self.directory, again_s = pause.as_secs(),
                        "the authority gave no certificate"
                    );
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn order(&self, certificates: &Certificates) -> Result<CertifiedKey, OrderError> {
        let account = self.account().await?;
        let names: Vec<Identifier> = self.names.iter().map(|name| identifier(name)).collect();
        let mut order = account.new_order(&NewOrder::new(&names)).await?;
        prove(&mut order, certificates).await?;
        match order.poll_ready(&POLLS).await? {
            OrderStatus::Ready => {}
            _ => return Err(self.refused(&mut order).await),
        }
        let key = order.finalize().await?;
        let chain = order.poll_certificate(&POLLS).await?;
        Ok(self.shelf.put_certificate(&chain, &key)?)
    }

    /// The account that is kept, or a new one.
    async fn account(&self) -> Result<Account, OrderError> {
        let builder = || Account::builder_with_http(Box::new(Directory(self.client.clone())));
        if let Some(kept) = self.shelf.account() {
            return Ok(builder().from_credentials(kept).await?);
        }
        let contact = format!("mailto:{}", self.contact);
        let contact: &[&str] = if self.contact.is_empty() { &[] } else { &[&contact] };
        let new = NewAccount { contact, terms_of_service_agreed: true, only_return_existing: false };
        let (account, credentials) = builder().create(&new, self.directory.clone(), None).await?;
        self.shelf.put_account(&credentials)?;
        Ok(account)
    }

    /// What the authority says about names that it does not believe are ours.
    async fn refused(&self, order: &mut Order) -> OrderError {
        let mut why = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(Ok(authorization)) = authorizations.next().await {
            let problems = authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
            why.extend(problems.map(ToString::to_string));
        }
        OrderError::Refused(self.names.join(", "), why.join("; "))
    }
}

/// Shows what the authority looks for and asks it to look.
async fn prove(order: &mut Order, certificates: &Certificates) -> Result<(), OrderError> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let name = authorization.identifier().to_string();
        let Some(mut challenge) = authorization.challenge(ChallengeType::TlsAlpn01) else {
            return Err(OrderError::NoProof(name));
        };
        let digest = challenge.key_authorization().digest();
        certificates.prove(asked_for(&name), proof(&name, digest.as_ref())?);
        challenge.set_ready().await?;
    }
    Ok(())
}

/// A certificate that shows the digest.
fn proof(name: &str, digest: &[u8]) -> Result<CertifiedKey, OrderError> {
    let digest: [u8; DIGEST] = digest.try_into().map_err(|_| OrderError::NoProof(name.to_owned()))?;
    let mut parameters = CertificateParams::new(vec![name.to_owned()])?;
    parameters.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
    let key = KeyPair::generate()?;
    let certificate = parameters.self_signed(&key)?;
    let key = ring::sign::any_supported_type(&PrivateKeyDer::Pkcs8(key.serialize_der().into()))?;
    // Its one extension is of no use to anybody else, so nothing but the key is looked at here.
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}

fn identifier(name: &str) -> Identifier {
    name.parse().map_or_else(|_| Identifier::Dns(name.to_owned()), Identifier::Ip)
}

/// The name that an authority asks for when it looks; addresses have one in the tree of reverse names (RFC 8738).
fn asked_for(name: &str) -> String {
    match name.parse() {
        Ok(IpAddr::V4(address)) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Ok(IpAddr::V6(address)) => {
            let digits = format!("{:032x}", address.to_bits());
            digits.chars().rev().map(|digit| format!("{digit}.")).collect::<String>() + "ip6.arpa"
        }
        Err(_) => name.to_owned(),
    }
}

/// Time until a certificate should be renewed: when two thirds of its life are over.
fn remaining(validity: Option<Validity>, now: i64) -> Duration {
    let renewed = validity.map_or(now, |Validity { from, to }| from + (to - from) / 3 * 2);
    u64::try_from(renewed - now).map_or(Duration::ZERO, Duration::from_secs)
}

/// Time after so many failures in a row.
fn pause_after(failures: u32) -> Duration {
    FIRST.saturating_mul(1 << (2 * failures.saturating_sub(1)).min(24)).min(LONGEST)
}

/// The authority's directory, over the platform's own client.
struct Directory(Client);

impl HttpClient for Directory {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, AcmeError>> + Send>> {
        let client = self.0.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let failed = |error: ClientError| AcmeError::Other(Box::new(error));
            let reply = client.send(Request::from_parts(head, body)).await.map_err(failed)?;
            let mut response = Response::new(Full::new(reply.body));
            *response.status_mut() = reply.status;
            *response.headers_mut() = reply.headers;
            Ok(BytesResponse::from(response))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_renewed_after_two_thirds_of_their_life() {
        let validity = Some(Validity { from: 1000, to: 4000 });
        assert_eq!(remaining(validity, 1000), Duration::from_secs(2000));
        assert_eq!(remaining(validity, 2999), Duration::from_secs(1));
        assert_eq!(remaining(validity, 5000), Duration::ZERO);
        assert_eq!(remaining(None, 5000), Duration::ZERO);
    }

    #[test]
    fn failures_are_followed_by_longer_and_longer_pauses() {
        let seconds = [1, 2, 3, 4, 1000].map(|failures| pause_after(failures).as_secs());
        assert_eq!(seconds, [10, 40, 160, 640, 6 * 60 * 60]);
    }

    #[test]
    fn authorities_ask_for_names() {
        assert_eq!(asked_for("a.example"), "a.example");
        assert_eq!(asked_for("192.0.2.1"), "1.2.0.192.in-addr.arpa");
        assert!(asked_for("2001:db8::1").starts_with("1.0.0.0."));
        assert!(asked_for("2001:db8::1").ends_with("8.b.d.0.1.0.0.2.ip6.arpa"));
        assert!(matches!(identifier("::1"), Identifier::Ip(_)));
        assert!(matches!(identifier("a.example"), Identifier::Dns(_)));
    }

    #[test]
    fn proofs_show_their_digest() {
        let shown = proof("a.example", &[7; DIGEST]).unwrap();
        let der: &[u8] = &shown.cert[0];
        assert!(der.windows(DIGEST).any(|window| window == [7; DIGEST]));
        assert!(proof("a.example", &[7; 5]).is_err());
    }
}
