//! Semantic versions of entities.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `major.minor.patch`; a new entity has `0.0.1`, every update raises the patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Default for Version {
    fn default() -> Self {
        Self { major: 0, minor: 0, patch: 1 }
    }
}

impl Version {
    /// The version after this one.
    #[must_use]
    pub fn next_patch(self) -> Self {
        Self { patch: self.patch.saturating_add(1), ..self }
    }

    /// Reads a version; missing parts are 0, a fourth part is ignored, leading zeros too.
    pub fn parse(text: &str) -> Result<Self, String> {
        let malformed = || "semantic version malformed".to_owned();
        let mut parts = [0u32; 3];
        for (slot, part) in parts.iter_mut().zip(text.split('.')) {
            if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
                return Err(malformed());
            }
            *slot = part.parse().map_err(|_| malformed())?;
        }
        let [major, minor, patch] = parts;
        if parts == [0; 3] { Err(malformed()) } else { Ok(Self { major, minor, patch }) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let malformed = |_| serde::de::Error::custom("semantic version malformed");
        let text = String::deserialize(deserializer).map_err(malformed)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_read_leniently() {
        for (text, canonical) in [("1", "1.0.0"), ("1.02", "1.2.0"), ("1.2.3.4", "1.2.3"), ("0.0.1", "0.0.1")]
        {
            assert_eq!(Version::parse(text).unwrap().to_string(), canonical);
        }
        for text in ["", "0.0.0", "a", "-1", "1..2", "1.x"] {
            assert!(Version::parse(text).is_err(), "{text}");
        }
    }
}
