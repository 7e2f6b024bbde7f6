//! Activation ids: 32 hex digits, time-ordered (UUID version 7 without dashes).

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error_text;

/// The name of one activation. Ids that are ours start with their creation time in milliseconds,
/// so the time segment of a record follows from its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActivationId([u8; 16]);

impl ActivationId {
    /// A fresh id for this moment.
    #[must_use]
    pub fn generate() -> Self {
        Self(*uuid::Uuid::now_v7().as_bytes())
    }

    /// The id with these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of the id.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 16] {
        self.0
    }

    /// Creation time in epoch milliseconds, as the first 48 bits tell it. Bounds it gives for an id
    /// that is not ours are meaningless but harmless: no record lies there.
    #[must_use]
    pub fn created_at(&self) -> u64 {
        let [a, b, c, d, e, f, ..] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// The id as 32 lower-case hex digits.
    #[must_use]
    pub fn digits(&self) -> Digits {
        let mut digits = [0; 32];
        for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            *pair = [hex_digit(byte >> 4), hex_digit(byte & 0xf)];
        }
        Digits(digits)
    }

    /// Reads 32 lower-case hex digits. The error is the text for the client.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() != 32 {
            return Err(error_text::activation_id_length(text.chars().count()));
        }
        let mut bytes = [0u8; 16];
        for (slot, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let [high, low] = pair else { return Err(error_text::ACTIVATION_ID_ILLEGAL.to_owned()) };
            let (Some(high), Some(low)) = (hex_value(*high), hex_value(*low)) else {
                return Err(error_text::ACTIVATION_ID_ILLEGAL.to_owned());
            };
            *slot = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

/// Things by the activation that they belong to; for ids that the platform made, half of which is random.
pub type ById<V> = HashMap<ActivationId, V, BuildHasherDefault<IdHasher>>;

/// Takes the random half of an id for its hash: nobody outside chooses the ids of a [`ById`].
#[derive(Debug, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(random) = bytes.last_chunk() {
            // Spread over all bits: a table looks at the highest and at the lowest.
            self.0 = u64::from_be_bytes(*random).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The 32 digits of an id, without an allocation.
#[derive(Debug, Clone, Copy)]
pub struct Digits([u8; 32]);

impl Digits {
    /// The digits as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Digits only: always a text.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

fn hex_digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for ActivationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.digits().as_str())
    }
}

impl Serialize for ActivationId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.digits().as_str())
    }
}

impl<'de> Deserialize<'de> for ActivationId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn ids_are_32_hex_digits_in_time_order() {
        let first = ActivationId::generate();
        let second = ActivationId::generate();
        assert!(first < second);
        assert_eq!(ActivationId::parse(&first.to_string()), Ok(first));
        assert!(first.created_at() <= second.created_at());
    }

    #[test]
    fn ids_are_spread_over_a_table() {
        let ids: Vec<_> = (0..4096).map(|_| ActivationId::generate()).collect();
        let hash = |id: &ActivationId| BuildHasherDefault::<IdHasher>::default().hash_one(id);
        for shift in [0, 57] {
            let places: HashSet<u64> = ids.iter().map(|id| hash(id) >> shift & 0x7f).collect();
            assert!(places.len() > 100, "{shift}: {}", places.len());
        }
        let mut by_id = ById::default();
        by_id.extend(ids.iter().map(|id| (*id, ())));
        assert!(by_id.len() == ids.len() && ids.iter().all(|id| by_id.contains_key(id)));
    }

    #[test]
    fn bad_ids_are_told_apart() {
        assert_eq!(ActivationId::parse("abc"), Err("Activation id length is 3 but must be 32.".to_owned()));
        assert_eq!(ActivationId::parse(&"G".repeat(32)), Err("The activation id is not valid.".to_owned()));
    }
}
