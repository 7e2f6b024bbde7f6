//! Who calls: subjects, namespaces and keys.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{EntityName, UserLimits};

/// Length that the secret part of a key has, exactly.
pub const KEY_LENGTH: usize = 64;
/// Shortest subject.
pub const MIN_SUBJECT_LENGTH: usize = 5;

/// A person or program that owns namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Subject(Arc<str>);

impl Subject {
    /// Takes a subject of at least [`MIN_SUBJECT_LENGTH`] characters.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        if text.trim().chars().count() < MIN_SUBJECT_LENGTH {
            return Err("Subject name must be at least 5 characters");
        }
        Ok(Self(text.trim().into()))
    }

    /// The subject as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The two halves of Basic credentials: a public id and a secret of [`KEY_LENGTH`] characters.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthKey {
    /// User part.
    pub uuid: Arc<str>,
    /// Password part. Never printed by `Debug`.
    pub key: Arc<str>,
}

impl AuthKey {
    /// Reads `uuid:key`; `None` without a colon or with a secret of the wrong length.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (uuid, key) = text.split_once(':')?;
        (key.len() == KEY_LENGTH && !uuid.is_empty()).then(|| Self { uuid: uuid.into(), key: key.into() })
    }

    /// `uuid:key`, as functions and clients get it.
    #[must_use]
    pub fn to_credentials(&self) -> String {
        format!("{}:{}", self.uuid, self.key)
    }
}

impl fmt::Debug for AuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthKey({}:…)", self.uuid)
    }
}

/// A tenant: what entities and activations belong to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Namespace {
    /// Name in paths.
    pub name: EntityName,
    /// Id that counters are kept by.
    pub uuid: Arc<str>,
}

/// An authenticated caller: the namespace follows from the key that was presented.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Owner of the namespace.
    pub subject: Subject,
    /// Namespace of the key.
    pub namespace: Namespace,
    /// The key itself; functions may ask for theirs.
    pub auth_key: AuthKey,
    /// Limits set for the namespace.
    #[serde(default)]
    pub limits: UserLimits,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_need_a_colon_and_64_characters_and_stay_secret() {
        let secret = "s".repeat(64);
        let key = AuthKey::parse(&format!("id:{secret}")).unwrap();
        assert!(!format!("{key:?}").contains(&secret));
        assert_eq!(key.to_credentials(), format!("id:{secret}"));
        for bad in ["id", &secret, "id:short", &format!(":{secret}")] {
            assert_eq!(AuthKey::parse(bad), None, "{bad}");
        }
    }
}
