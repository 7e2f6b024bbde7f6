//! Raw JSON: values that pass through the platform untouched.
//!
//! Arguments and results are never re-printed: numbers, key order and Unicode stay as the sender wrote them.
//! Merging looks at top-level keys only and splices texts.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// One JSON value as text, already checked to be valid.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawJson(Box<RawValue>);

/// What a value is, told by its first character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonType {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// A number, `true`, `false` or `null`.
    Other,
}

impl RawJson {
    /// Checks that the bytes are exactly one JSON value.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice::<Box<RawValue>>(bytes).map(Self)
    }

    /// The text of a serialisable value; `null` if it cannot be written as JSON.
    #[must_use]
    pub fn from_value<T: Serialize + ?Sized>(value: &T) -> Self {
        serde_json::value::to_raw_value(value).map_or_else(|_| Self::null(), Self)
    }

    /// `null`.
    #[must_use]
    pub fn null() -> Self {
        Self(RawValue::NULL.to_owned())
    }

    /// `{}`.
    #[must_use]
    pub fn empty_object() -> Self {
        Self::from_value(&serde_json::Map::new())
    }

    /// `{"error": <value>}`.
    #[must_use]
    pub fn error<T: Serialize + ?Sized>(value: &T) -> Self {
        #[derive(Serialize)]
        struct Error<'a, T: ?Sized> {
            error: &'a T,
        }
        Self::from_value(&Error { error: value })
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The value as serde's borrowed form.
    #[must_use]
    pub fn raw(&self) -> &RawValue {
        &self.0
    }

    /// What the value is.
    #[must_use]
    pub fn json_type(&self) -> JsonType {
        match self.as_str().bytes().next() {
            Some(b'{') => JsonType::Object,
            Some(b'[') => JsonType::Array,
            Some(b'"') => JsonType::String,
            _ => JsonType::Other,
        }
    }

    /// The text of a string; `None` if the value is none. Halves of surrogate pairs, which JSON can hold but no text
    /// can, become `U+FFFD`.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        text_of(self.as_str())
    }

    /// Top-level entries of an object in order, duplicates included; `None` if it is no object. Keys are read as
    /// [`text`](Self::text) reads.
    #[must_use]
    pub fn entries(&self) -> Option<Vec<(Cow<'_, str>, &RawValue)>> {
        entries(self.as_str()).ok()
    }

    /// Top-level value of an object by key; of duplicates the last.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<RawJson> {
        let entries = self.entries()?;
        entries.into_iter().rfind(|(name, _)| name == key).map(|(_, value)| value.into())
    }

    /// The same value without white space between its tokens.
    #[must_use]
    pub fn compact(self) -> Self {
        const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];
        if !self.as_str().contains(SPACE) {
            return self;
        }
        let (mut quoted, mut escaped) = (false, false);
        let keep = |letter: &char| {
            let kept = quoted || !SPACE.contains(letter);
            if !escaped && *letter == '"' {
                quoted = !quoted;
            }
            escaped = quoted && !escaped && *letter == '\\';
            kept
        };
        let text: String = self.as_str().chars().filter(keep).collect();
        RawValue::from_string(text).map_or(self, Self)
    }

    /// The value as a `T`.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.as_str())
    }
}

/// Top-level entries of the object that `text` is, in order, duplicates included.
pub fn entries(text: &str) -> Result<Vec<(Cow<'_, str>, &RawValue)>, serde_json::Error> {
    serde_json::from_str::<Entries<'_>>(text).map(|entries| entries.0)
}

impl From<&RawValue> for RawJson {
    fn from(value: &RawValue) -> Self {
        Self(value.to_owned())
    }
}

impl PartialEq for RawJson {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for RawJson {}

struct Entries<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;
        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON object expected")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::with_capacity(map.size_hint().unwrap_or(8).min(64));
                while let Some(Key(key)) = map.next_key()? {
                    entries.push((key, map.next_value::<&RawValue>()?));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(EntriesVisitor)
    }
}

/// A key borrowed where it has no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let literal = <&RawValue>::deserialize(deserializer)?.get();
        let bare = literal.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        match bare.filter(|bare| !bare.contains('\\')) {
            Some(bare) => Ok(Self(Cow::Borrowed(bare))),
            None => text_of(literal)
                .map(|text| Self(Cow::Owned(text)))
                .ok_or_else(|| serde::de::Error::custom("key must be a string")),
        }
    }
}

/// See [`RawJson::text`].
fn text_of(literal: &str) -> Option<String> {
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
    if !literal.starts_with('"') {
        return None;
    }
    serde_json::Deserializer::from_str(literal).deserialize_bytes(Bytes).ok()
}

/// An object under construction; later values of a key replace earlier ones, the first place stays.
#[derive(Debug, Default)]
pub struct ObjectSplice<'a> {
    entries: Vec<(Cow<'a, str>, &'a str)>,
    /// Where a key is among the entries: senders choose how many there are.
    places: HashMap<Cow<'a, str>, usize>,
}

impl<'a> ObjectSplice<'a> {
    /// Sets a key to a JSON text, which must be valid.
    pub fn set(&mut self, key: Cow<'a, str>, value: &'a RawValue) {
        match self.places.get(&key).and_then(|place| self.entries.get_mut(*place)) {
            Some((_, old)) => *old = value.get(),
            None => {
                self.places.insert(key.clone(), self.entries.len());
                self.entries.push((key, value.get()));
            }
        }
    }

    /// The object as text.
    #[must_use]
    pub fn finish(self) -> RawJson {
        let length = self.entries.iter().map(|(key, value)| key.len() + value.len() + 6).sum::<usize>() + 2;
        let mut text = String::with_capacity(length);
        text.push('{');
        for (key, value) in &self.entries {
            if text.len() > 1 {
                text.push(',');
            }
            push_string(&mut text, key);
            text.push(':');
            text.push_str(value);
        }
        text.push('}');
        RawValue::from_string(text).map_or_else(|_| RawJson::null(), RawJson)
    }
}

/// Appends a JSON string literal.
pub fn push_string(out: &mut String, text: &str) {
    if !text.bytes().any(|byte| byte < b' ' || matches!(byte, b'"' | b'\\')) {
        out.push('"');
        out.push_str(text);
        out.push('"');
        return;
    }
    match serde_json::to_string(text) {
        Ok(literal) => out.push_str(&literal),
        Err(_) => out.push_str("\"\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_pass_untouched() {
        let text = r#"{"z":1.10000000000000000001,"a":"\u2603 ☃","n":{"b":[1e400]}}"#;
        let raw = RawJson::parse(text.as_bytes()).unwrap();
        assert_eq!(raw.as_str(), text);
        assert_eq!(serde_json::to_string(&raw).unwrap(), text);
        assert_eq!(raw.get("n").unwrap().as_str(), r#"{"b":[1e400]}"#);
        assert_eq!(raw.get("a").unwrap().json_type(), JsonType::String);
        assert!(RawJson::parse(b"[1]").unwrap().entries().is_none());
        assert!(RawJson::parse(b"{} {}").is_err());
    }

    #[test]
    fn compact_texts_keep_what_is_quoted() {
        for (text, compact) in [
            ("{ \"a b\" :\t[ 1.50 ,\r\n\"\u{20} ☃ \" ] }", "{\"a b\":[1.50,\"\u{20} ☃ \"]}"),
            (r#"[ "\" \\" , "\\\\" , " " ]"#, r#"["\" \\","\\\\"," "]"#),
            ("null", "null"),
        ] {
            assert_eq!(RawJson::parse(text.as_bytes()).unwrap().compact().as_str(), compact);
        }
    }

    #[test]
    fn every_string_is_a_text() {
        let text = |text: &str| RawJson::parse(text.as_bytes()).unwrap().text();
        assert_eq!(text(r#""a\n\u00e9\ud83d\ude00\u0000""#).unwrap(), "a\n\u{e9}\u{1f600}\0");
        assert_eq!(text(r#""a\ud83db""#).unwrap(), "a\u{fffd}\u{fffd}\u{fffd}b");
        assert!(text("1").is_none() && text("[\"a\"]").is_none());
    }

    #[test]
    fn a_key_that_is_no_text_hides_nothing() {
        let raw = RawJson::parse(br#"{"\ud800":1,"error":2,"\u0065":3}"#).unwrap();
        let keys: Vec<_> = raw.entries().unwrap().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["\u{fffd}\u{fffd}\u{fffd}", "error", "e"]);
        assert_eq!(raw.get("error").unwrap().as_str(), "2");
        for text in ["{1:2}", "{\"a\u{1}\":1}", "{null:1}", "{\"a\":1,}", "{\"a\" 1}", "{\"\\x\":1}"] {
            assert!(entries(text).is_err(), "{text}");
        }
    }

    #[test]
    fn splice_keeps_the_first_place_and_the_last_value() {
        let first = RawJson::parse(br#"{"a":1,"q\"":2}"#).unwrap();
        let second = RawJson::parse(br#"{"c":3,"a":4}"#).unwrap();
        let mut splice = ObjectSplice::default();
        for (key, value) in first.entries().unwrap().into_iter().chain(second.entries().unwrap()) {
            splice.set(key, value);
        }
        assert_eq!(splice.finish().as_str(), r#"{"a":4,"q\"":2,"c":3}"#);
        assert_eq!(ObjectSplice::default().finish().as_str(), "{}");
    }
}
