//! Headers of a request as a JSON object, the way functions get them.

use chasen_entity::RawJson;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, TRANSFER_ENCODING};

/// What is about the body, which functions get on its own.
const OF_THE_BODY: [HeaderName; 3] = [CONTENT_TYPE, CONTENT_LENGTH, TRANSFER_ENCODING];

/// Every header but those of the body and the withheld ones: lower-case names, values of equal names joined by commas.
pub(crate) fn object(headers: &HeaderMap, withheld: &[HeaderName]) -> RawJson {
    let mut object = serde_json::Map::new();
    for name in headers.keys().filter(|name| !OF_THE_BODY.contains(name) && !withheld.contains(name)) {
        let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let value = values.collect::<Vec<_>>().join(", ");
        object.insert(name.to_string(), value.into());
    }
    RawJson::from_value(&object)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::{ACCEPT, AUTHORIZATION, HOST};

    use super::*;

    #[test]
    fn functions_get_names_and_values() {
        let headers: HeaderMap = [
            (HOST, HeaderValue::from_static("here")),
            (ACCEPT, HeaderValue::from_static("a/b")),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (CONTENT_LENGTH, HeaderValue::from_static("2")),
            (AUTHORIZATION, HeaderValue::from_static("Basic x")),
        ]
        .into_iter()
        .collect();
        let mut headers = headers;
        headers.append(ACCEPT, HeaderValue::from_static("c/d"));
        headers.insert("foo", HeaderValue::from_bytes(b"\"\xff\"").unwrap());
        let value: serde_json::Value = object(&headers, &[AUTHORIZATION]).read().unwrap();
        assert_eq!(value, serde_json::json!({"accept": "a/b, c/d", "foo": "\"\u{fffd}\"", "host": "here"}));
    }
}
