//! The keys that parameters are locked with at rest, in the form that OpenWhisk's stores have.
//!
//! A locked value is base64 of: length of the nonce (four bytes, big-endian), nonce, AES-GCM cipher text of the
//! value's compact JSON, tag of 16 bytes. Nonces are random: 12 bytes for `aes-128`, 128 bytes for `aes-256`. Any
//! configured key unlocks, whichever is the current one, so keys can be changed while old values stay.
//!
//! Where nobody configures anything, values are locked with a key of 32 bytes that the node makes itself and keeps in
//! `parameters.key`, in the form of `aes-256` under the name `aes-256-node`. That lock is transparent: it guards what lies
//! on the disk and in copies of it, and clients see nothing of it.

use std::fmt;

use aes_gcm::aead::consts::{U12, U128};
use aes_gcm::aead::{Aead, KeyInit, Nonce};
use aes_gcm::aes::{Aes128, Aes256};
use aes_gcm::{AesGcm, KeySizeUser};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chasen_entity::RawJson;
use chasen_spi::{LockError, ParameterLock};

const AES_128: &str = "aes-128";
const AES_256: &str = "aes-256";
/// The algorithm of the node's own key.
const AES_256_NODE: &str = "aes-256-node";
/// What the setting calls it.
const NODE: &str = "node";
/// Name of the node's own key's file.
pub(crate) const FILE: &str = "parameters.key";
/// Bytes in front of the nonce.
const PREFIX: usize = 4;

/// What parameters are locked with. Keys are base64; an empty one is none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ParameterKeysConfig {
    /// What new values are locked with: `node`, `aes-128` or `aes-256`, in upper or lower case. Everything else, and one
    /// without its key, leaves them open.
    pub current: String,
    /// 16 bytes.
    pub aes_128: Option<String>,
    /// 32 bytes.
    pub aes_256: Option<String>,
}

impl fmt::Debug for ParameterKeysConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ParameterKeysConfig({:?}, …)", self.current)
    }
}

/// A configured key is not one. Says nothing about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the {algorithm} key for parameters is not {bytes} bytes in base64; make one with: head -c {bytes} /dev/urandom | base64"
)]
pub struct ParameterKeyError {
    algorithm: &'static str,
    bytes: usize,
}

/// The keys, ready for use. Never printed.
pub struct ParameterKeys {
    current: Option<&'static str>,
    aes_128: Option<AesGcm<Aes128, U12>>,
    aes_256: Option<AesGcm<Aes256, U128>>,
    node: Option<AesGcm<Aes256, U128>>,
}

impl fmt::Debug for ParameterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ParameterKeys({:?}, …)", self.current)
    }
}

impl ParameterKeys {
    /// Takes the keys of the configuration; the node's own is [`Embedded::parameter_keys`](crate::Embedded::parameter_keys)'
    /// to add.
    pub fn new(config: &ParameterKeysConfig) -> Result<Self, ParameterKeyError> {
        let aes_128: Option<AesGcm<Aes128, U12>> = cipher(AES_128, config.aes_128.as_deref())?;
        let aes_256: Option<AesGcm<Aes256, U128>> = cipher(AES_256, config.aes_256.as_deref())?;
        let current = match config.current.to_ascii_lowercase().as_str() {
            AES_128 if aes_128.is_some() => Some(AES_128),
            AES_256 if aes_256.is_some() => Some(AES_256),
            _ => None,
        };
        Ok(Self { current, aes_128, aes_256, node: None })
    }

    /// The keys with the node's own beside those of this configuration.
    pub(crate) fn with_node(self, key: &[u8; 32], config: &ParameterKeysConfig) -> Self {
        let is_current = config.current.eq_ignore_ascii_case(NODE);
        let current = if is_current { Some(AES_256_NODE) } else { self.current };
        Self { current, node: Some(AesGcm::new(key.into())), ..self }
    }

    /// What new values are locked with; `None` if they stay open.
    #[must_use]
    pub fn current(&self) -> Option<&'static str> {
        self.current
    }
}

impl ParameterLock for ParameterKeys {
    fn lock(&self, value: &RawJson) -> Result<Option<(&'static str, RawJson)>, LockError> {
        let value = value.clone().compact();
        let blob = match (self.current, &self.aes_128, &self.aes_256, &self.node) {
            (Some(AES_128), Some(cipher), ..) => lock(AES_128, cipher, value.as_str())?,
            (Some(AES_256), _, Some(cipher), _) => lock(AES_256, cipher, value.as_str())?,
            (Some(AES_256_NODE), .., Some(cipher)) => lock(AES_256_NODE, cipher, value.as_str())?,
            _ => return Ok(None),
        };
        Ok(self.current.map(|algorithm| (algorithm, RawJson::from_value(&STANDARD.encode(blob)))))
    }

    fn unlock(&self, algorithm: &str, value: &RawJson) -> Result<RawJson, LockError> {
        let unreadable = |reason| LockError::Unreadable { algorithm: algorithm.to_owned(), reason };
        let blob = value.read::<String>().ok().and_then(|text| STANDARD.decode(text).ok());
        let blob = || blob.as_deref().ok_or("it is not base64");
        let text = match (algorithm, &self.aes_128, &self.aes_256, &self.node) {
            (AES_128, Some(cipher), ..) => blob().and_then(|blob| unlock(cipher, blob)),
            (AES_256, _, Some(cipher), _) => blob().and_then(|blob| unlock(cipher, blob)),
            (AES_256_NODE, .., Some(cipher)) => blob().and_then(|blob| unlock(cipher, blob)),
            _ => return Err(LockError::NoKey(algorithm.to_owned())),
        };
        RawJson::parse(&text.map_err(unreadable)?).map_err(|_| unreadable("it is not JSON"))
    }

    fn is_transparent(&self, algorithm: &str) -> bool {
        algorithm == AES_256_NODE
    }
}

fn cipher<C: KeyInit + KeySizeUser>(
    algorithm: &'static str,
    key: Option<&str>,
) -> Result<Option<C>, ParameterKeyError> {
    let Some(key) = key.map(str::trim).filter(|key| !key.is_empty()) else { return Ok(None) };
    let bytes = STANDARD.decode(key).unwrap_or_default();
    let cipher = C::new_from_slice(&bytes);
    cipher.map(Some).map_err(|_| ParameterKeyError { algorithm, bytes: C::key_size() })
}

fn lock<C: Aead>(algorithm: &'static str, cipher: &C, text: &str) -> Result<Vec<u8>, LockError> {
    let mut nonce = Nonce::<C>::default();
    getrandom::fill(&mut nonce).map_err(|error| LockError::Random(error.to_string()))?;
    let locked = cipher.encrypt(&nonce, text.as_bytes()).map_err(|_| LockError::Unreadable {
        algorithm: algorithm.to_owned(),
        reason: "it is too long to be locked",
    })?;
    let length = u32::try_from(nonce.len()).unwrap_or(u32::MAX).to_be_bytes();
    Ok([length.as_slice(), &nonce, &locked].concat())
}

fn unlock<C: Aead>(cipher: &C, blob: &[u8]) -> Result<Vec<u8>, &'static str> {
    const INVALID: &str = "invalid iv length";
    let mut nonce = Nonce::<C>::default();
    let (length, rest) = blob.split_first_chunk::<PREFIX>().ok_or(INVALID)?;
    if u32::from_be_bytes(*length) as usize != nonce.len() {
        return Err(INVALID);
    }
    let (stored, locked) = rest.split_at_checked(nonce.len()).ok_or(INVALID)?;
    nonce.copy_from_slice(stored);
    cipher.decrypt(&nonce, locked).map_err(|_| "it was not locked with the platform's key")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY_128: &str = "AAECAwQFBgcICQoLDA0ODw==";
    const KEY_256: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const PLAIN: &str = r#"{"s":"grüß","n":[1.50,null]}"#;
    /// Locked by OpenSSL with the keys above and the nonces (7 i + 3) mod 256.
    const LOCKED: [(&str, &str); 2] = [
        (AES_128, "AAAADAMKERgfJi00O0JJUD3BXkbx9zElOJex/d4PmBkL7uSo3Sc44ui1sLledQxJUPbA/glV96CLHKqg0JY="),
        (
            AES_256,
            "AAAAgAMKERgfJi00O0JJUFdeZWxzeoGIj5adpKuyucDHztXc4+rx+P8GDRQbIikwNz5FTFNaYWhvdn2Ei5KZoKeutbzDytHY\
             3+bt9PsCCRAXHiUsMzpBSE9WXWRrcnmAh46VnKOqsbi/xs3U2+Lp8Pf+BQwTGiEoLzY9REtSWWBnbnV8ps8dTCj3HHYg1P3V\
             TWAO2Y0g6DWYSsmi1Pmov5xu2Bi9PxHP4FMWjfzTtP4ixQ==",
        ),
    ];

    fn keys(current: &str, aes_128: Option<&str>, aes_256: Option<&str>) -> ParameterKeys {
        let key = |key: Option<&str>| key.map(str::to_owned);
        let config =
            ParameterKeysConfig { current: current.to_owned(), aes_128: key(aes_128), aes_256: key(aes_256) };
        ParameterKeys::new(&config).unwrap()
    }

    fn json(text: &str) -> RawJson {
        RawJson::parse(text.as_bytes()).unwrap()
    }

    fn reason(outcome: Result<RawJson, LockError>) -> &'static str {
        match outcome {
            Err(LockError::Unreadable { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_node_s_own_key_is_used_unless_another_one_is_wanted() {
        let value = RawJson::parse(PLAIN.as_bytes()).unwrap();
        for (current, aes_256, algorithm) in [
            ("node", None, Some(AES_256_NODE)),
            ("NODE", Some(KEY_256), Some(AES_256_NODE)),
            ("aes-256", Some(KEY_256), Some(AES_256)),
            ("aes-256", None, None),
            ("off", None, None),
        ] {
            let config = ParameterKeysConfig {
                current: current.to_owned(),
                aes_256: aes_256.map(str::to_owned),
                ..ParameterKeysConfig::default()
            };
            let keys = ParameterKeys::new(&config).unwrap().with_node(&[7; 32], &config);
            assert_eq!(keys.current(), algorithm, "{current}");
            let Some((name, locked)) = keys.lock(&value).unwrap() else { continue };
            assert_eq!(keys.unlock(name, &locked).unwrap(), value.clone().compact());
            assert_eq!(keys.is_transparent(name), name == AES_256_NODE);
            let other = ParameterKeys::new(&config).unwrap().with_node(&[8; 32], &config);
            assert_eq!(other.unlock(name, &locked).is_ok(), name == AES_256);
        }
    }

    #[test]
    fn values_locked_elsewhere_open_whatever_is_current() {
        for current in ["off", "aes-128", "AES-256"] {
            let keys = keys(current, Some(KEY_128), Some(KEY_256));
            for (algorithm, locked) in LOCKED {
                let opened = keys.unlock(algorithm, &RawJson::from_value(locked)).unwrap();
                assert_eq!(opened.as_str(), PLAIN, "{algorithm}");
            }
        }
    }

    #[test]
    fn what_is_locked_has_the_form_of_the_stores() {
        for (current, nonce) in [("aes-128", 12), ("Aes-256", 128)] {
            let keys = keys(current, Some(KEY_128), Some(KEY_256));
            let (algorithm, first) = keys.lock(&json(PLAIN)).unwrap().unwrap();
            assert_eq!(algorithm, current.to_lowercase());
            let blob = STANDARD.decode(first.read::<String>().unwrap()).unwrap();
            assert_eq!(blob[..PREFIX], u32::to_be_bytes(nonce));
            assert_eq!(blob.len(), PREFIX + nonce as usize + PLAIN.len() + 16);
            let (_, second) = keys.lock(&json(PLAIN)).unwrap().unwrap();
            assert_ne!(first, second, "no nonce twice");
        }
    }

    #[test]
    fn without_a_key_values_stay_open() {
        for (current, aes_128, aes_256) in [
            ("off", Some(KEY_128), Some(KEY_256)),
            ("noop", Some(KEY_128), None),
            ("", Some(KEY_128), None),
            ("aes-512", Some(KEY_128), None),
            ("aes-256", Some(KEY_128), None),
            ("aes-128", Some(""), Some(KEY_256)),
        ] {
            let keys = keys(current, aes_128, aes_256);
            assert_eq!((keys.current(), keys.lock(&json("1")).unwrap()), (None, None), "{current}");
        }
        let keys = keys("aes-128", Some(KEY_128), None);
        for algorithm in ["aes-256", "AES-128", "noop", ""] {
            let outcome = keys.unlock(algorithm, &RawJson::from_value(LOCKED[1].1));
            assert_eq!(outcome, Err(LockError::NoKey(algorithm.to_owned())));
        }
    }

    #[test]
    fn what_was_not_locked_with_the_key_does_not_open() {
        let keys = keys("aes-128", Some(KEY_128), Some(KEY_256));
        let unlock = |algorithm: &str, blob: &[u8]| {
            reason(keys.unlock(algorithm, &RawJson::from_value(&STANDARD.encode(blob))))
        };
        let [whole, long] = LOCKED.map(|(_, locked)| STANDARD.decode(locked).unwrap());
        for cut in [0, 3, 4, 15] {
            assert_eq!(unlock(AES_128, &whole[..cut]), "invalid iv length", "{cut}");
        }
        assert_eq!(unlock(AES_256, &whole), "invalid iv length");
        assert_eq!(unlock(AES_128, &long), "invalid iv length");
        for place in [PREFIX, 20, whole.len() - 1] {
            let mut flipped = whole.clone();
            flipped[place] ^= 1;
            assert_eq!(unlock(AES_128, &flipped), "it was not locked with the platform's key");
        }
        assert_eq!(unlock(AES_128, &whole[..20]), "it was not locked with the platform's key");
        for no_text in ["5", "null", "\"%\"", "[]"] {
            assert_eq!(reason(keys.unlock(AES_128, &json(no_text))), "it is not base64");
        }
    }

    #[test]
    fn bad_keys_are_refused_and_none_is_shown() {
        for (aes_128, aes_256, text) in [
            (Some(KEY_256), None, "the aes-128 key for parameters is not 16 bytes in base64"),
            (Some("no base64 at all"), None, "the aes-128 key"),
            (None, Some(KEY_128), "the aes-256 key for parameters is not 32 bytes in base64"),
        ] {
            let key = |key: Option<&str>| key.map(str::to_owned);
            let config = ParameterKeysConfig {
                current: "off".to_owned(),
                aes_128: key(aes_128),
                aes_256: key(aes_256),
            };
            let error = ParameterKeys::new(&config).unwrap_err();
            assert!(error.to_string().starts_with(text), "{error}");
            assert!(!format!("{config:?} {error:?}").contains("AAEC"));
        }
        assert_eq!(
            format!("{:?}", keys("aes-128", Some(KEY_128), None)),
            "ParameterKeys(Some(\"aes-128\"), …)"
        );
    }

    fn any_json() -> impl Strategy<Value = String> {
        let number = "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,3})?";
        let text = "\"([^\"\\\\\\x00-\\x1f]|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4}){0,12}\"";
        let leaf = prop_oneof![
            number,
            text,
            prop::sample::select(vec!["null", "true", "false"]).prop_map(str::to_owned)
        ];
        leaf.prop_recursive(4, 32, 5, move |inner| {
            let array = prop::collection::vec(inner.clone(), 0..5);
            let object = prop::collection::vec((text, inner), 0..5);
            prop_oneof![
                array.prop_map(|items| format!("[{}]", items.join(","))),
                object.prop_map(|entries| {
                    let entries: Vec<_> =
                        entries.iter().map(|(key, value)| format!("{key}:{value}")).collect();
                    format!("{{{}}}", entries.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_value_comes_out_token_for_token(text in any_json(), current in prop::sample::select(vec!["aes-128", "aes-256"])) {
            let keys = keys(current, Some(KEY_128), Some(KEY_256));
            let (algorithm, locked) = keys.lock(&json(&text)).unwrap().unwrap();
            let unlocked = keys.unlock(algorithm, &locked).unwrap();
            prop_assert_eq!(unlocked.as_str(), text);
        }

        #[test]
        fn any_blob_is_refused_in_peace(blob in prop::collection::vec(any::<u8>(), 0..300), prefix in prop::sample::select(vec![0u32, 12, 128, u32::MAX])) {
            let keys = keys("off", Some(KEY_128), Some(KEY_256));
            let blob = [prefix.to_be_bytes().as_slice(), &blob].concat();
            for algorithm in [AES_128, AES_256] {
                prop_assert!(keys.unlock(algorithm, &RawJson::from_value(&STANDARD.encode(&blob))).is_err());
            }
        }
    }
}
