//! What conductors say and hear: the next action, its arguments, and the state that comes back. Pure.

use chasen_entity::json::{JsonType, ObjectSplice};
use chasen_entity::{EntityName, EntityPath, FullyQualifiedName, RawJson};
use serde_json::value::RawValue;

/// Longest part of something that is no name which an error repeats, in characters.
const ECHO: usize = 1024;

/// What a conductor's result asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing more: the result of the composition.
    Done(Option<RawJson>),
    /// An action to be run with this payload; the state comes back with its result.
    Next { name: FullyQualifiedName, payload: RawJson, state: Option<RawJson> },
    /// An action whose name is none: its JSON text.
    Nameless { json: String, state: Option<RawJson> },
}

impl Answer {
    /// Reads the result of a conductor that was invoked in this namespace.
    pub(super) fn read(result: Option<&RawJson>, namespace: &EntityName) -> Self {
        let entries = result.and_then(RawJson::entries).unwrap_or_default();
        let field =
            |key: &str| entries.iter().rfind(|(name, _)| name == key).map(|(_, value)| RawJson::from(*value));
        let params = field("params").map(|params| boxed("value", params));
        let Some(action) = field("action") else { return Self::Done(params.or_else(|| result.cloned())) };
        let state = field("state").map(|state| boxed("state", state));
        match action.read::<String>().ok().and_then(|name| resolve(&name, namespace)) {
            Some(name) => Self::Next { name, payload: params.unwrap_or_else(RawJson::empty_object), state },
            None => {
                let json = action.compact().as_str().chars().take(ECHO).collect();
                Self::Nameless { json, state }
            }
        }
    }
}

/// What a conductor gets next: what its component gave, the state over it.
pub(super) fn next_input(result: Option<&RawJson>, state: Option<&RawJson>) -> RawJson {
    let result = match result.map(|result| (result, result.json_type())) {
        Some((result, JsonType::Object)) => result.clone(),
        Some((result, JsonType::Array)) => boxed("value", result.clone()),
        _ => RawJson::empty_object(),
    };
    let Some(state) = state else { return result };
    let mut splice = ObjectSplice::default();
    for (key, value) in [&result, state].into_iter().flat_map(|one| one.entries().unwrap_or_default()) {
        splice.set(key, value);
    }
    splice.finish()
}

/// An object as it is; anything else as the only value of one.
fn boxed(key: &'static str, value: RawJson) -> RawJson {
    if value.json_type() == JsonType::Object {
        return value;
    }
    let mut splice = ObjectSplice::default();
    let raw: &RawValue = value.raw();
    splice.set(key.into(), raw);
    splice.finish()
}

/// The action that a conductor means: `name` and `package/name` lie in the caller's namespace, longer names and those
/// with a slash before them begin with their own.
fn resolve(name: &str, namespace: &EntityName) -> Option<FullyQualifiedName> {
    let (rooted, name) = match name.strip_prefix('/') {
        Some(name) => (true, name),
        None => (false, name),
    };
    let parts: Vec<EntityName> = name.split('/').take(4).map(EntityName::new).collect::<Option<_>>()?;
    let (path, name) = match (rooted, parts.as_slice()) {
        (false, [name]) => (EntityPath::root(namespace), name),
        (false, [package, name]) => (EntityPath::package(namespace, package), name),
        (true, [root, name]) => (EntityPath::root(root), name),
        (_, [root, package, name]) => (EntityPath::package(root, package), name),
        _ => return None,
    };
    Some(FullyQualifiedName::new(path, name.clone()).resolved(namespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> RawJson {
        RawJson::parse(text.as_bytes()).unwrap()
    }

    fn guest() -> EntityName {
        EntityName::new("guest").unwrap()
    }

    fn read(text: &str) -> Answer {
        Answer::read(Some(&json(text)), &guest())
    }

    #[test]
    fn names_resolve_in_the_namespace_of_the_caller() {
        for (name, resolved) in [
            ("a", "guest/a"),
            ("p/a", "guest/p/a"),
            ("n/p/a", "n/p/a"),
            ("/n/p/a", "n/p/a"),
            ("/n/a", "n/a"),
            ("/_/a", "guest/a"),
            ("/_/p/a", "guest/p/a"),
            ("_/p/a", "guest/p/a"),
        ] {
            assert_eq!(resolve(name, &guest()).unwrap().to_string(), resolved, "{name}");
        }
        for name in ["", "/", "/a", "a/", "//a", "a//b", "n/p/a/x", "/n/p/a/x", "a#b", " a", "é"] {
            assert_eq!(resolve(name, &guest()), None, "{name}");
        }
    }

    #[test]
    fn a_result_without_an_action_is_the_end() {
        for (result, end) in [
            (r#"{"x":1.0}"#, r#"{"x":1.0}"#),
            (r#"{"params":{"y":2},"x":1}"#, r#"{"y":2}"#),
            (r#"{"params":[1]}"#, r#"{"value":[1]}"#),
            (r#"{"params":null,"state":1}"#, r#"{"value":null}"#),
            (r#"{"error":"e"}"#, r#"{"error":"e"}"#),
            (r#"[{"action":"a"}]"#, r#"[{"action":"a"}]"#),
        ] {
            assert_eq!(read(result), Answer::Done(Some(json(end))), "{result}");
        }
        assert_eq!(Answer::read(None, &guest()), Answer::Done(None));
    }

    #[test]
    fn a_result_with_an_action_asks_for_it() {
        for (result, payload, state) in [
            (r#"{"action":"a"}"#, "{}", None),
            (r#"{"action":"a","params":{"n":1e2},"state":{"s":1}}"#, r#"{"n":1e2}"#, Some(r#"{"s":1}"#)),
            (r#"{"action":"a","params":"p","state":[1]}"#, r#"{"value":"p"}"#, Some(r#"{"state":[1]}"#)),
            (r#"{"action":1,"action":"a","state":null}"#, "{}", Some(r#"{"state":null}"#)),
        ] {
            let name = FullyQualifiedName::parse("/guest/a").unwrap();
            let expected = Answer::Next { name, payload: json(payload), state: state.map(json) };
            assert_eq!(read(result), expected, "{result}");
        }
    }

    #[test]
    fn what_is_no_name_is_repeated_as_it_was_sent_but_not_without_end() {
        for (action, shown) in [
            (r#""a#b""#, r#""a#b""#),
            ("null", "null"),
            (r#"{ "a" : [ 1.0 ] }"#, r#"{"a":[1.0]}"#),
            ("7", "7"),
        ] {
            let expected = Answer::Nameless { json: shown.to_owned(), state: None };
            assert_eq!(read(&format!(r#"{{"action":{action}}}"#)), expected);
        }
        let Answer::Nameless { json, .. } = read(&format!(r#"{{"action":"{}#"}}"#, "a".repeat(5000))) else {
            panic!("no name");
        };
        assert_eq!(json.len(), ECHO);
    }

    #[test]
    fn the_state_lies_over_the_result() {
        for (result, state, input) in [
            (Some(r#"{"a":1.50,"b":2}"#), None, r#"{"a":1.50,"b":2}"#),
            (Some(r#"{"a":1,"b":2}"#), Some(r#"{"b":3.0}"#), r#"{"a":1,"b":3.0}"#),
            (Some("[1,2]"), Some(r#"{"s":1}"#), r#"{"value":[1,2],"s":1}"#),
            (None, Some(r#"{"s":1}"#), r#"{"s":1}"#),
            (None, None, "{}"),
        ] {
            let (result, state) = (result.map(json), state.map(json));
            assert_eq!(next_input(result.as_ref(), state.as_ref()), json(input));
        }
    }
}
