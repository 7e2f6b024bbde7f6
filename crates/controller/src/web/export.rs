//! What the annotations of an action say about its life on the web.

use chasen_entity::{Parameters, RawJson};
use http::HeaderMap;
use subtle::ConstantTimeEq;

use chasen_entity::json::JsonType;

/// Header that carries the secret of a web action.
const SECRET: &str = "x-require-whisk-auth";

/// How an action is exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Export {
    /// The request is passed as it came.
    pub(crate) raw: bool,
    /// The action answers `OPTIONS` itself and sends its own CORS headers.
    pub(crate) custom_options: bool,
    access: Access,
}

/// Who may call.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Access {
    Everybody,
    /// Whoever has a key of this platform.
    Users,
    /// Whoever knows this text.
    Secret(String),
    Nobody,
}

impl Export {
    /// How an action with these annotations is exported; `None` if it is not.
    pub(crate) fn of(annotations: &Parameters) -> Option<Self> {
        let is_true = |key: &str| annotations.get(key).is_some_and(|value| value.as_str() == "true");
        is_true("web-export").then(|| Self {
            raw: is_true("raw-http"),
            custom_options: is_true("web-custom-options"),
            access: annotations.get("require-whisk-auth").map_or(Access::Everybody, Access::of),
        })
    }

    /// True if a request with these headers, `known` if its sender has a key, may call.
    pub(crate) fn admits(&self, headers: &HeaderMap, known: bool) -> bool {
        match &self.access {
            Access::Everybody => true,
            Access::Users => known,
            Access::Secret(secret) => {
                headers.get(SECRET).is_some_and(|given| bool::from(given.as_bytes().ct_eq(secret.as_bytes())))
            }
            Access::Nobody => false,
        }
    }
}

impl Access {
    fn of(annotation: &RawJson) -> Self {
        match (annotation.json_type(), annotation.as_str()) {
            (JsonType::String, _) => annotation.read().map_or(Self::Nobody, Self::Secret),
            (JsonType::Object | JsonType::Array, _) | (JsonType::Other, "null") => Self::Nobody,
            (JsonType::Other, "true") => Self::Users,
            (JsonType::Other, "false") => Self::Everybody,
            (JsonType::Other, number) => Self::Secret(number.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn export(annotations: &[(&str, &str)]) -> Option<Export> {
        let annotations: Vec<_> =
            annotations.iter().map(|(key, value)| format!(r#"{{"key":"{key}","value":{value}}}"#)).collect();
        Export::of(&serde_json::from_str(&format!("[{}]", annotations.join(","))).unwrap())
    }

    #[test]
    fn only_true_exports() {
        for value in ["false", "\"true\"", "1", "null", "{}"] {
            assert_eq!(export(&[("web-export", value)]), None, "{value}");
        }
        assert_eq!(export(&[]), None);
        let plain = export(&[("web-export", "true"), ("raw-http", "\"true\"")]).unwrap();
        assert!(!plain.raw && !plain.custom_options);
        let both =
            export(&[("web-export", "true"), ("raw-http", "true"), ("web-custom-options", "true")]).unwrap();
        assert!(both.raw && both.custom_options);
    }

    #[test]
    fn access_follows_the_annotation() {
        for (annotation, known, sent, admitted) in [
            ("false", false, None, true),
            ("true", false, None, false),
            ("true", true, None, true),
            ("true", false, Some("true"), false),
            ("\"s\u{e9}cret\"", false, Some("s\u{e9}cret"), true),
            ("\"secret\"", true, None, false),
            ("\"secret\"", true, Some("Secret"), false),
            ("9223372036854775807", false, Some("9223372036854775807"), true),
            ("9223372036854775807", false, Some("9223372036854775806"), false),
            ("\"\"", false, None, false),
            ("\"\"", false, Some(""), true),
            ("null", true, Some("null"), false),
            ("{}", true, Some("{}"), false),
            ("[]", true, Some("[]"), false),
        ] {
            let export = export(&[("web-export", "true"), ("require-whisk-auth", annotation)]).unwrap();
            let mut headers = HeaderMap::new();
            if let Some(sent) = sent {
                headers.insert(SECRET, HeaderValue::from_bytes(sent.as_bytes()).unwrap());
            }
            assert_eq!(export.admits(&headers, known), admitted, "{annotation} {known} {sent:?}");
        }
    }
}
