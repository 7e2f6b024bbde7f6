//! What an action executes.

use serde::{Deserialize, Serialize};

use crate::FullyQualifiedName;

/// Kind of an action that brings its own executable or image.
pub const BLACKBOX: &str = "blackbox";
/// Kind of an action that runs others one after the other.
pub const SEQUENCE: &str = "sequence";
/// Entry point where an action names none.
pub const DEFAULT_MAIN: &str = "main";

/// Reference to stored code: the attachment store has the text under its digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Code {
    /// SHA-256 of the text as received, in hex.
    pub digest: String,
    /// Bytes of the text as received (base64 text stays base64).
    pub length: u64,
}

/// The stored form of `exec`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Exec {
    /// Concrete kind (`nodejs:20`), or [`BLACKBOX`], or [`SEQUENCE`].
    pub kind: String,
    /// Code; a blackbox image may come without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// True if the code is base64.
    #[serde(default)]
    pub binary: bool,
    /// Entry point, in the language's own form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main: Option<String>,
    /// Image of a blackbox action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Actions of a sequence, in order; `/ns/[package/]name` on the wire.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "components")]
    pub components: Vec<FullyQualifiedName>,
}

mod components {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::FullyQualifiedName;

    pub(super) fn serialize<S: Serializer>(
        components: &[FullyQualifiedName],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(components.iter().map(|component| format!("/{component}")))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<FullyQualifiedName>, D::Error> {
        Vec::deserialize(deserializer)
    }
}

impl Exec {
    /// True for a sequence.
    #[must_use]
    pub fn is_sequence(&self) -> bool {
        self.kind == SEQUENCE
    }

    /// Entry point, with the default filled in.
    #[must_use]
    pub fn entry_point(&self) -> &str {
        self.main.as_deref().unwrap_or(DEFAULT_MAIN)
    }
}

/// True iff the code is base64 by OpenWhisk's rule: trimmed, not empty, a multiple of four characters,
/// of the base64 alphabet with at most two `=` at the end.
#[must_use]
pub fn is_binary_code(code: &str) -> bool {
    let code = code.trim().as_bytes();
    let body = code.strip_suffix(b"==").or_else(|| code.strip_suffix(b"=")).unwrap_or(code);
    !code.is_empty()
        && code.len().is_multiple_of(4)
        && body.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_told_by_its_look() {
        for (code, binary) in [
            ("abcd", true),
            ("UEsDBA==", true),
            ("  UEsDBA==\n", true),
            ("abc=", true),
            ("", false),
            ("abc", false),
            ("a=bc", false),
            ("===", false),
            ("function main() {}  ", false),
        ] {
            assert_eq!(is_binary_code(code), binary, "{code:?}");
        }
    }
}
