//! JSON strings as texts, whatever is in them.

use std::fmt;

use chasen_entity::RawJson;
use serde::de::{Deserializer, Visitor};

/// The text of a JSON string; `None` if the value is none. Halves of surrogate pairs, which functions can send but
/// no text can hold, become `U+FFFD`.
pub(super) fn of(value: &RawJson) -> Option<String> {
    struct Bytes;
    impl Visitor<'_> for Bytes {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<String, E> {
            Ok(String::from_utf8_lossy(bytes).into_owned())
        }
    }
    if !value.as_str().starts_with('"') {
        return None;
    }
    serde_json::Deserializer::from_str(value.as_str()).deserialize_bytes(Bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_string_is_a_text() {
        let of = |text: &str| of(&RawJson::parse(text.as_bytes()).unwrap());
        assert_eq!(of(r#""a\n\u00e9\ud83d\ude00\u0000""#).unwrap(), "a\n\u{e9}\u{1f600}\0");
        assert_eq!(of(r#""a\ud83db""#).unwrap(), "a\u{fffd}\u{fffd}\u{fffd}b");
        assert!(of("1").is_none() && of("[\"a\"]").is_none());
    }
}
