//! Transaction ids: the name of one request through the whole platform.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The id that a request carries in `X-Request-ID` and that errors repeat as `code`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TransactionId(Arc<str>);

const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const LENGTH: usize = 32;
/// Longest id taken from a client; what is longer is replaced, so that logs and errors stay small.
const MAX_CLIENT_LENGTH: usize = 128;

impl TransactionId {
    /// A fresh id of 32 random letters and digits.
    #[must_use]
    pub fn generate() -> Self {
        let random = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
        let mut text = [0; LENGTH];
        for (letter, byte) in text.iter_mut().zip(random.iter().flat_map(uuid::Uuid::as_bytes)) {
            *letter = ALPHABET.get(usize::from(*byte) % ALPHABET.len()).copied().unwrap_or(b'A');
        }
        // Letters and digits only: always a text.
        Self(std::str::from_utf8(&text).unwrap_or_default().into())
    }

    /// The id a client sent, or a fresh one if it sent none, an internal one (`sid_…`), or an unusable one.
    #[must_use]
    pub fn from_client(header: Option<&str>) -> Self {
        match header {
            Some(id) if !id.is_empty() && id.len() <= MAX_CLIENT_LENGTH && !id.starts_with("sid_") => {
                Self(id.into())
            }
            _ => Self::generate(),
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for TransactionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_ids_are_32_letters_and_digits() {
        let id = TransactionId::generate();
        assert_eq!(id.as_str().len(), 32);
        assert!(id.as_str().bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_ne!(id, TransactionId::generate());
    }

    #[test]
    fn client_ids_are_kept_unless_internal() {
        assert_eq!(TransactionId::from_client(Some("abc")).as_str(), "abc");
        assert_ne!(TransactionId::from_client(Some("sid_x")).as_str(), "sid_x");
    }
}
