//! Who calls: Basic credentials, looked up once per key and change of the subjects.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use chasen_entity::{AuthKey, Identity, UserLimits, error_text};
use chasen_spi::SubjectStore;
use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderMap};
use subtle::ConstantTimeEq;

use crate::throttle::{Throttles, Usage};
use crate::wire::error::ApiError;

/// Longest encoded credentials that are looked at; keys are far shorter.
pub(crate) const MAX_ENCODED: usize = 1024;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// An authenticated caller.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) identity: Arc<Identity>,
    /// Counters of its namespace.
    pub(crate) usage: Arc<Usage>,
}

/// The callers that are known, by the public half of their key. An entry counts only in the generation of subjects
/// it was read in, so a blocked caller or a changed limit is seen at the next request.
pub(crate) struct Identities {
    subjects: Arc<dyn SubjectStore>,
    /// What namespaces have where their own limits say nothing.
    defaults: UserLimits,
    known: papaya::HashMap<Arc<str>, Known>,
    /// The identities that speak for namespaces, by name.
    speakers: papaya::HashMap<Arc<str>, Known>,
    /// Generation that entries of earlier ones were last removed in.
    swept: AtomicU64,
}

struct Known {
    generation: u64,
    caller: Caller,
}

impl Identities {
    pub(crate) fn new(subjects: Arc<dyn SubjectStore>, defaults: UserLimits) -> Self {
        Self {
            subjects,
            defaults,
            known: papaya::HashMap::new(),
            speakers: papaya::HashMap::new(),
            swept: AtomicU64::new(0),
        }
    }

    /// The caller that the headers speak for.
    pub(crate) async fn authenticate(
        &self,
        headers: &HeaderMap,
        throttles: &Throttles,
    ) -> Result<Caller, ApiError> {
        let generation = self.subjects.generation();
        let key = match self.recall_or_key(headers, generation)? {
            Ok(caller) => return Ok(caller),
            Err(key) => key,
        };
        let identity = self.subjects.identity(&key).await?.ok_or_else(refused)?;
        let caller = self.caller(identity, throttles);
        self.remember(&self.known, key.uuid, Known { generation, caller: caller.clone() });
        Ok(caller)
    }

    /// The caller that a request without one acts for: the owner of a namespace.
    pub(crate) async fn of_namespace(
        &self,
        namespace: &str,
        throttles: &Throttles,
    ) -> Result<Option<Caller>, ApiError> {
        let generation = self.subjects.generation();
        let known = {
            let speakers = self.speakers.pin();
            let found = speakers.get(namespace).filter(|found| found.generation == generation);
            found.map(|found| found.caller.clone())
        };
        if known.is_some() {
            return Ok(known);
        }
        let Some(identity) = self.subjects.identity_of_namespace(namespace).await? else { return Ok(None) };
        let caller = self.caller(identity, throttles);
        self.remember(&self.speakers, namespace.into(), Known { generation, caller: caller.clone() });
        Ok(Some(caller))
    }

    /// The caller of an identity, the limits of its namespace filled in.
    fn caller(&self, mut identity: Arc<Identity>, throttles: &Throttles) -> Caller {
        if self.defaults != UserLimits::default() {
            let limits = identity.limits.clone().or(&self.defaults);
            identity = Arc::new(Identity { limits, ..Identity::clone(&identity) });
        }
        Caller { usage: throttles.usage_of(&identity.namespace.uuid), identity }
    }

    /// The caller where it is known, else the key to look it up with.
    fn recall_or_key(
        &self,
        headers: &HeaderMap,
        generation: u64,
    ) -> Result<Result<Caller, AuthKey>, ApiError> {
        let mut decoded = [0u8; MAX_ENCODED];
        let credentials = credentials(headers, &mut decoded)?;
        if let Some(caller) = self.recall(credentials, generation) {
            return Ok(Ok(caller));
        }
        std::str::from_utf8(credentials).ok().and_then(AuthKey::parse).map(Err).ok_or_else(refused)
    }

    fn recall(&self, credentials: &[u8], generation: u64) -> Option<Caller> {
        let (uuid, key) = std::str::from_utf8(credentials).ok()?.split_once(':')?;
        let known = self.known.pin();
        let found = known.get(uuid).filter(|found| found.generation == generation)?;
        let same = found.caller.identity.auth_key.key.as_bytes().ct_eq(key.as_bytes());
        bool::from(same).then(|| found.caller.clone())
    }

    fn remember(&self, among: &papaya::HashMap<Arc<str>, Known>, key: Arc<str>, entry: Known) {
        let generation = entry.generation;
        among.pin().insert(key, entry);
        if self.swept.swap(generation, Ordering::AcqRel) != generation {
            for all in [&self.known, &self.speakers] {
                all.pin().retain(|_, entry| entry.generation == generation);
            }
        }
    }
}

fn refused() -> ApiError {
    ApiError::rejection(StatusCode::UNAUTHORIZED, error_text::BAD_CREDENTIALS)
}

/// True if the headers bring what could be a key.
pub(crate) fn has_key(headers: &HeaderMap) -> bool {
    let mut decoded = [0; MAX_ENCODED];
    let presented = credentials(headers, &mut decoded).ok();
    presented.and_then(|text| std::str::from_utf8(text).ok()).and_then(AuthKey::parse).is_some()
}

/// Decodes the credentials of a request: `uuid:key`, unchecked.
pub(crate) fn credentials<'a>(
    headers: &HeaderMap,
    decoded: &'a mut [u8; MAX_ENCODED],
) -> Result<&'a [u8], ApiError> {
    let missing = || ApiError::rejection(StatusCode::UNAUTHORIZED, error_text::NO_CREDENTIALS);
    let value = headers.get(AUTHORIZATION).ok_or_else(missing)?.as_bytes();
    let scheme_end = value.iter().position(|byte| *byte == b' ').ok_or_else(missing)?;
    let (scheme, rest) = value.split_at(scheme_end);
    let encoded = rest.trim_ascii();
    if !scheme.eq_ignore_ascii_case(b"basic") || encoded.is_empty() || encoded.len() > MAX_ENCODED {
        return Err(missing());
    }
    let length = BASE64.decode_slice(encoded, decoded).map_err(|_| missing())?;
    decoded.get(..length).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use chasen_entity::{EntityName, Subject};
    use chasen_spi::memory::MemorySubjectStore;
    use chasen_spi::{SubjectDocument, SubjectNamespace};
    use http::HeaderValue;

    use super::*;
    use crate::config::Rates;

    fn headers(credentials: &str) -> HeaderMap {
        let value = format!("Basic {}", BASE64.encode(credentials));
        [(AUTHORIZATION, HeaderValue::try_from(value).unwrap())].into_iter().collect()
    }

    fn subject(blocked: bool) -> SubjectDocument {
        let auth_key = AuthKey { uuid: "id".into(), key: "k".repeat(64).into() };
        let namespaces = vec![SubjectNamespace { name: EntityName::new("guest").unwrap(), auth_key }];
        SubjectDocument { subject: Subject::new("guest").unwrap(), blocked, namespaces }
    }

    #[tokio::test]
    async fn changes_of_subjects_count_at_once() {
        let store = Arc::new(MemorySubjectStore::default());
        let identities = Identities::new(store.clone(), UserLimits::default());
        let throttles = Throttles::new(Rates::default());
        let headers = headers(&format!("id:{}", "k".repeat(64)));
        let limits =
            async || identities.authenticate(&headers, &throttles).await.map(|c| c.identity.limits.clone());
        assert_eq!(limits().await.unwrap_err().text(), error_text::BAD_CREDENTIALS);
        store.put(&subject(false)).await.unwrap();
        assert_eq!(limits().await.unwrap(), UserLimits::default());
        let five = UserLimits { fires_per_minute: Some(5), ..UserLimits::default() };
        store.set_limits("guest", Some(&five)).await.unwrap();
        assert_eq!(limits().await.unwrap(), five);
        store.put(&subject(true)).await.unwrap();
        assert_eq!(limits().await.unwrap_err().text(), error_text::BAD_CREDENTIALS);
        store.put(&subject(false)).await.unwrap();
        assert_eq!(limits().await.unwrap(), five);
    }

    #[tokio::test]
    async fn a_known_id_with_another_key_is_refused() {
        let store = Arc::new(MemorySubjectStore::default());
        store.put(&subject(false)).await.unwrap();
        let identities = Identities::new(store, UserLimits::default());
        let throttles = Throttles::new(Rates::default());
        identities.authenticate(&headers(&format!("id:{}", "k".repeat(64))), &throttles).await.unwrap();
        for wrong in ["x".repeat(64), "k".repeat(63), "k".repeat(65), String::new()] {
            let error =
                identities.authenticate(&headers(&format!("id:{wrong}")), &throttles).await.unwrap_err();
            assert_eq!(error.text(), error_text::BAD_CREDENTIALS);
        }
    }

    #[test]
    fn unreadable_credentials_are_none() {
        for value in
            ["", "Basic", "Basic ", "Basic !!!", "Bearer YTpi", &format!("Basic {}", "A".repeat(2000))]
        {
            let headers = [(AUTHORIZATION, HeaderValue::try_from(value).unwrap())].into_iter().collect();
            let error = credentials(&headers, &mut [0; MAX_ENCODED]).unwrap_err();
            assert_eq!(error.text(), error_text::NO_CREDENTIALS, "{value}");
        }
        let headers = [(AUTHORIZATION, HeaderValue::from_static("bAsIc YTpi"))].into_iter().collect();
        assert_eq!(credentials(&headers, &mut [0; MAX_ENCODED]).unwrap(), b"a:b");
    }
}
