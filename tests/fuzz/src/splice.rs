//! JSON that is spliced as text: stored parameters beneath a request's arguments, against the same done on values.
//!
//! An input is two texts with an empty line between: stored parameters, and a request's arguments.

use std::collections::{BTreeMap, BTreeSet};

use chasen_entity::{Parameters, RawJson};
use serde_json::value::RawValue;

pub(crate) fn arguments(input: &[u8]) {
    let Some(end) = input.windows(2).position(|window| window == b"\n\n") else { return };
    let (stored, request) = (&input[..end], &input[end + 2..]);
    let Ok(request) = RawJson::parse(request) else { return };
    compaction(&request);
    let Ok(parameters) = serde_json::from_slice::<Parameters>(stored) else { return };
    if let Some(given) = read(&request) {
        objects(&parameters, &request, &given);
    } else if request.as_str().starts_with('[') {
        assert_eq!(parameters.arguments(request.clone()), request, "arrays pass as they are");
    }
}

/// What comes out is an object with each key once: the request's value, or else the stored one, as it was written.
fn objects(parameters: &Parameters, request: &RawJson, given: &BTreeMap<String, String>) {
    let merged = parameters.arguments(request.clone());
    let keys = merged.entries().expect("an object").len();
    let found = read(&merged).expect("an object");
    let of_init: BTreeSet<&str> = parameters.iter().filter(|one| one.init).map(|one| &*one.key).collect();
    let mut expected = BTreeMap::new();
    for parameter in parameters.iter().filter(|parameter| !parameter.init) {
        expected.insert(parameter.key.clone(), parameter.value.as_str().to_owned());
    }
    let is_merged = !parameters.is_empty();
    let over = given.iter().filter(|(key, _)| !is_merged || !of_init.contains(key.as_str()));
    expected.extend(over.map(|(key, value)| (key.clone(), value.clone())));
    assert_eq!(found, expected, "{parameters:?} beneath {request:?}");
    assert!(!is_merged || keys == found.len(), "a key is there twice: {merged:?}");
    for (key, value) in &found {
        assert_eq!(merged.get(key).map(|value| value.as_str().to_owned()).as_ref(), Some(value));
    }
    for parameter in parameters.environment(request).iter() {
        let value = given.get(&parameter.key).map_or(parameter.value.as_str(), String::as_str);
        assert!(parameter.init && parameter.value.as_str() == value, "{parameter:?}");
    }
    for key in parameters.locked(request).keys() {
        assert!(!given.contains_key(key), "what the request gives is not locked: {key}");
    }
}

/// Without white space it is the same value, and has none left to lose.
fn compaction(value: &RawJson) {
    let compact = value.clone().compact();
    assert!(compact.as_str().len() <= value.as_str().len());
    assert_eq!(compact.clone().compact(), compact);
    let parsed = |value: &RawJson| serde_json::from_str::<serde_json::Value>(value.as_str()).ok();
    assert_eq!(parsed(&compact), parsed(value), "{value:?}");
}

/// Keys and values of an object, of those that are there twice the last; read without the code under test.
fn read(value: &RawJson) -> Option<BTreeMap<String, String>> {
    let read: BTreeMap<String, Box<RawValue>> = match serde_json::from_str(value.as_str()) {
        Ok(read) => read,
        // Keys with halves of surrogate pairs are no texts: what becomes of them is not said here.
        Err(_) => return None,
    };
    Some(read.into_iter().map(|(key, value)| (key, value.get().to_owned())).collect())
}
