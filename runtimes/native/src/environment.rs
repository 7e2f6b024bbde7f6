//! Environment variables out of JSON.

use serde_json::{Map, Value};

/// Variables of an `env` object: texts as they are, nothing for null, JSON for everything else.
pub(crate) fn variables(env: Map<String, Value>) -> Vec<(String, String)> {
    env.into_iter()
        .map(|(name, value)| match value {
            Value::String(text) => (name, text),
            Value::Null => (name, String::new()),
            other => (name, other.to_string()),
        })
        .filter(|(name, value)| is_variable(name, value))
        .collect()
}

/// False for what no environment can hold.
fn is_variable(name: &str, value: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_texts_and_impossible_names_are_left_out() {
        let Value::Object(env) = serde_json::json!({
            "a": "x", "b": null, "c": 1.5, "d": {"e": [true]}, "": "x", "f=": "x", "g": "nul\0"
        }) else {
            panic!("an object")
        };
        let mut variables = variables(env);
        variables.sort();
        let expected = [("a", "x"), ("b", ""), ("c", "1.5"), ("d", r#"{"e":[true]}"#)];
        assert_eq!(variables, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
