//! Headers of a request as a JSON object, the way functions get them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use chasen_entity::RawJson;
use http::header::{HeaderMap, HeaderName, HeaderValue};

/// The headers by lower-case name, without the hidden ones; of several lines the last counts.
pub(crate) fn object(headers: &HeaderMap, hidden: &[HeaderName]) -> RawJson {
    let shown = headers.iter().filter(|(name, _)| !hidden.contains(name));
    let shown: BTreeMap<&str, Cow<'_, str>> = shown
        .map(|(name, value): (_, &HeaderValue)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())))
        .collect();
    RawJson::from_value(&shown)
}

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT, AUTHORIZATION, HOST};

    use super::*;

    #[test]
    fn functions_get_names_and_values_as_text() {
        let mut headers: HeaderMap = [
            (HOST, HeaderValue::from_static("here")),
            (ACCEPT, HeaderValue::from_static("a/b")),
            (AUTHORIZATION, HeaderValue::from_static("Basic x")),
        ]
        .into_iter()
        .collect();
        headers.append(ACCEPT, HeaderValue::from_static("c/d"));
        headers.insert("foo", HeaderValue::from_bytes(b"\"\xff\"").unwrap());
        let value: serde_json::Value = object(&headers, &[AUTHORIZATION]).read().unwrap();
        assert_eq!(value, serde_json::json!({"accept": "c/d", "foo": "\"\u{fffd}\"", "host": "here"}));
    }
}
