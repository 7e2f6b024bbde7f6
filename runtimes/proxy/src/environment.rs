//! Environment variables out of JSON, and JSON errors in the words that clients know.

use serde_json::{Map, Value};

/// Variables of an `env` object: texts as they are, nothing for null, JSON for everything else. What no environment can
/// hold is left out.
pub(crate) fn from_object(env: &Map<String, Value>) -> impl Iterator<Item = (String, String)> {
    env.iter().filter_map(|(name, value)| {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        let possible = !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0');
        possible.then(|| (name.clone(), value))
    })
}

/// What is wrong with a text that should be one JSON value.
pub(crate) fn json_error(text: &[u8], error: &serde_json::Error) -> String {
    match text.trim_ascii_start().first() {
        None => "unexpected end of JSON input".to_owned(),
        Some(byte) if !matches!(byte, b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
            format!(
                "invalid character '{}' looking for beginning of value",
                char::from(*byte).escape_default()
            )
        }
        Some(_) if error.is_eof() => "unexpected end of JSON input".to_owned(),
        // It names types of ours.
        Some(_) if error.is_data() => "not an object".to_owned(),
        Some(_) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_texts() {
        let env = serde_json::json!({
            "LIST": [1, 2, 3], "MAP": {"a": 1, "b": 2}, "TEXT": "string", "NUMBER": 123, "NOTHING": null, "": "", "a=": "b"
        });
        let variables: Vec<(String, String)> = from_object(env.as_object().unwrap()).collect();
        let expected = [
            ("LIST", "[1,2,3]"),
            ("MAP", r#"{"a":1,"b":2}"#),
            ("NOTHING", ""),
            ("NUMBER", "123"),
            ("TEXT", "string"),
        ];
        let mut sorted = variables;
        sorted.sort();
        assert_eq!(sorted, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn errors_say_what_clients_expect() {
        for (text, expected) in [
            ("XXX", "invalid character 'X' looking for beginning of value"),
            ("  bad ack", "invalid character 'b' looking for beginning of value"),
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
        ] {
            let error = serde_json::from_str::<Value>(text).unwrap_err();
            assert_eq!(json_error(text.as_bytes(), &error), expected);
        }
    }
}
