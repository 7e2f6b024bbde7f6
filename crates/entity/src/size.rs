//! Sizes in bytes and their texts (`256 MB`).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error_text;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(u64);

impl ByteSize {
    /// This many bytes.
    #[must_use]
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// This many MiB, which OpenWhisk writes `MB`.
    #[must_use]
    pub const fn mb(mb: u64) -> Self {
        Self(mb * 1024 * 1024)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn as_bytes(self) -> u64 {
        self.0
    }

    /// Whole MiB.
    #[must_use]
    pub const fn as_mb(self) -> u64 {
        self.0 / (1024 * 1024)
    }

    /// Reads `<n> B|K|KB|M|MB|G|GB` in any case, or a bare number of bytes.
    pub fn parse(text: &str) -> Result<Self, String> {
        let unsupported = || error_text::SIZE_UNIT.to_owned();
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| unsupported())?;
        let factor: u64 = match unit.trim().to_ascii_uppercase().as_str() {
            "" | "B" => 1,
            "K" | "KB" => 1 << 10,
            "M" | "MB" => 1 << 20,
            "G" | "GB" => 1 << 30,
            _ => return Err(unsupported()),
        };
        number.checked_mul(factor).map(Self).ok_or_else(unsupported)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, factor) in [("GB", 1u64 << 30), ("MB", 1 << 20), ("KB", 1 << 10)] {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{} {unit}", self.0 / factor);
            }
        }
        write!(f, "{} B", self.0)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_every_unit_and_print_the_largest_whole_one() {
        for (text, bytes) in
            [("256 MB", 256 << 20), ("256m", 256 << 20), ("8 GB", 8 << 30), ("10 b", 10), ("7", 7)]
        {
            assert_eq!(ByteSize::parse(text), Ok(ByteSize::bytes(bytes)), "{text}");
        }
        assert_eq!(ByteSize::mb(256).to_string(), "256 MB");
        assert_eq!(ByteSize::bytes(1500).to_string(), "1500 B");
    }

    #[test]
    fn bad_sizes_are_refused() {
        for text in ["", "MB", "3 TB", "-1 MB", "99999999999999999999 MB", "18446744073709551615 GB"] {
            assert_eq!(ByteSize::parse(text), Err(error_text::SIZE_UNIT.to_owned()), "{text}");
        }
    }
}
