//! Parameters and annotations: arrays of `{key, value}` on the wire, values kept as raw JSON.

mod read;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::RawJson;
use crate::json::{JsonType, ObjectSplice};

/// One parameter or annotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Parameter {
    /// Name.
    pub key: String,
    /// Value, untouched but for white space between its tokens.
    pub value: RawJson,
    /// Given to the function's environment at initialisation instead of its arguments.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub init: bool,
    /// Algorithm that the value is locked with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<String>,
}

/// An ordered set of parameters; of equal keys the last wins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Parameters(Vec<Parameter>);

impl Parameters {
    /// No parameters.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// No parameters, with room for this many.
    #[must_use]
    pub fn with_capacity(count: usize) -> Self {
        Self(Vec::with_capacity(count))
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&RawJson> {
        self.0.iter().find(|parameter| parameter.key == key).map(|parameter| &parameter.value)
    }

    /// Sets a key to a value, in its old place if it has one.
    pub fn set<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) {
        self.put(key, RawJson::from_value(value));
    }

    /// Sets a key to a value that is JSON already, in its old place if it has one.
    pub fn put(&mut self, key: &str, value: RawJson) {
        self.insert(Parameter { key: key.to_owned(), value, init: false, encryption: None });
    }

    /// Puts a parameter in, replacing one of the same key.
    pub fn insert(&mut self, parameter: Parameter) {
        match self.0.iter_mut().find(|old| old.key == parameter.key) {
            Some(old) => *old = parameter,
            None => self.0.push(parameter),
        }
    }

    /// Takes keys out.
    pub fn remove(&mut self, keys: &[String]) {
        let keys: HashSet<&str> = keys.iter().map(String::as_str).collect();
        self.0.retain(|parameter| !keys.contains(parameter.key.as_str()));
    }

    /// These parameters overlaid with others, which win. Linear in both: tenants choose how many there are.
    #[must_use]
    pub fn merged_with(mut self, over: impl IntoIterator<Item = Parameter>) -> Self {
        let mut places: HashMap<String, usize> =
            (0..).zip(&self.0).map(|(at, old)| (old.key.clone(), at)).collect();
        for parameter in over {
            match places.get(&parameter.key).and_then(|place| self.0.get_mut(*place)) {
                Some(old) => *old = parameter,
                None => {
                    places.insert(parameter.key.clone(), self.0.len());
                    self.0.push(parameter);
                }
            }
        }
        self
    }

    /// All parameters in order.
    pub fn iter(&self) -> impl Iterator<Item = &Parameter> {
        self.0.iter()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Σ bytes of keys and compact values: what size limits count.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.iter().map(|parameter| (parameter.key.len() + parameter.value.as_str().len()) as u64).sum()
    }

    /// The [`size`](Self::size) of parameters as sent, doubles included, told without holding them in memory; `None`
    /// if the text is not an array of parameters.
    #[must_use]
    pub fn size_of(text: &str) -> Option<u64> {
        read::size_of(text)
    }

    /// Truth of an annotation: `true`, a number other than 0, a text other than `""`, any object or array.
    #[must_use]
    pub fn is_truthy(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| match value.json_type() {
            JsonType::Object | JsonType::Array => true,
            JsonType::String => value.as_str() != "\"\"",
            JsonType::Other => match value.as_str() {
                "false" | "null" => false,
                "true" => true,
                number => number.parse::<f64>().is_ok_and(|number| number != 0.0),
            },
        })
    }

    /// Arguments of an activation: these parameters without init ones, overlaid with the request's object.
    /// The request's text passes untouched when there is nothing to lay under it, and when it is an array.
    #[must_use]
    pub fn arguments(&self, request: RawJson) -> RawJson {
        if self.0.is_empty() || request.json_type() == JsonType::Array {
            return request;
        }
        let mut splice = ObjectSplice::default();
        for parameter in self.0.iter().filter(|parameter| !parameter.init) {
            splice.set(Cow::Borrowed(&parameter.key), parameter.value.raw());
        }
        let init: HashSet<&str> = self.init().map(|parameter| parameter.key.as_str()).collect();
        for (key, value) in request.entries().unwrap_or_default() {
            if !init.contains(&*key) {
                splice.set(key, value);
            }
        }
        splice.finish()
    }

    /// Algorithms of the locked ones that the request leaves as they are; init ones are not among the arguments.
    #[must_use]
    pub fn locked(&self, request: &RawJson) -> BTreeMap<String, String> {
        if request.json_type() == JsonType::Array {
            return BTreeMap::new();
        }
        let mut locked: BTreeMap<String, String> = self
            .0
            .iter()
            .filter(|parameter| !parameter.init)
            .filter_map(|parameter| Some((parameter.key.clone(), parameter.encryption.clone()?)))
            .collect();
        if !locked.is_empty() {
            for (key, _) in request.entries().unwrap_or_default() {
                locked.remove(&*key);
            }
        }
        locked
    }

    /// True if some value is locked.
    #[must_use]
    pub fn has_locked(&self) -> bool {
        self.0.iter().any(|parameter| parameter.encryption.is_some())
    }

    /// Parameters for the environment; the request may override their values.
    #[must_use]
    pub fn environment(&self, request: &RawJson) -> Parameters {
        let given: HashMap<_, _> = request.entries().unwrap_or_default().into_iter().collect();
        let over = |parameter: &Parameter| match given.get(parameter.key.as_str()) {
            Some(value) => Parameter { value: RawJson::from(*value), encryption: None, ..parameter.clone() },
            None => parameter.clone(),
        };
        self.init().map(over).collect()
    }

    /// SHA-256 of the parameters for the environment, in hex; `None` without any.
    #[must_use]
    pub fn environment_digest(&self) -> Option<String> {
        let mut digest = Sha256::new();
        let mut any = false;
        for parameter in self.init() {
            any = true;
            // Lengths keep keys and values apart.
            for text in [&*parameter.key, parameter.value.as_str()] {
                digest.update((text.len() as u64).to_be_bytes());
                digest.update(text);
            }
        }
        any.then(|| format!("{:x}", digest.finalize()))
    }

    fn init(&self) -> impl Iterator<Item = &Parameter> {
        self.0.iter().filter(|parameter| parameter.init)
    }
}

impl FromIterator<Parameter> for Parameters {
    fn from_iter<I: IntoIterator<Item = Parameter>>(parameters: I) -> Self {
        Self::new().merged_with(parameters)
    }
}

impl IntoIterator for Parameters {
    type Item = Parameter;
    type IntoIter = std::vec::IntoIter<Parameter>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parameters(json: &str) -> Parameters {
        serde_json::from_str(json).unwrap()
    }

    /// Parameters of few keys, doubles included: value, whether for the environment, whether locked.
    fn layer() -> impl Strategy<Value = Vec<Parameter>> {
        let one =
            ("[a-e]", 0..100u32, any::<bool>(), any::<bool>()).prop_map(|(key, value, init, locked)| {
                Parameter {
                    key,
                    value: RawJson::from_value(&value),
                    init,
                    encryption: locked.then(|| "aes-128".to_owned()),
                }
            });
        prop::collection::vec(one, 0..8)
    }

    proptest! {
        /// Package, binding, action and call against the plainest way to say it: of each key the last one counts.
        #[test]
        fn of_each_key_the_last_layer_counts(
            layers in prop::collection::vec(layer(), 1..4),
            call in prop::collection::btree_map("[a-g]", 100..200u32, 0..7),
        ) {
            let mut model: BTreeMap<String, Parameter> = BTreeMap::new();
            let mut merged = Parameters::new();
            for layer in layers {
                model.extend(layer.iter().map(|one| (one.key.clone(), one.clone())));
                merged = merged.merged_with(layer.into_iter().collect::<Parameters>());
            }
            let found: BTreeMap<String, Parameter> = merged.iter().map(|one| (one.key.clone(), one.clone())).collect();
            prop_assert_eq!(&found, &model);
            prop_assert_eq!(merged.iter().count(), model.len(), "every key once");

            let request = RawJson::from_value(&call);
            let is_init = |key: &String| model.get(key).is_some_and(|one| one.init);
            let mut arguments: BTreeMap<String, String> = BTreeMap::new();
            let mut locked: BTreeMap<String, String> = BTreeMap::new();
            for (key, one) in model.iter().filter(|(_, one)| !one.init) {
                arguments.insert(key.clone(), one.value.as_str().to_owned());
                locked.extend(one.encryption.clone().map(|algorithm| (key.clone(), algorithm)));
            }
            for (key, value) in call.iter().filter(|(key, _)| !is_init(key)) {
                arguments.insert(key.clone(), value.to_string());
                locked.remove(key);
            }
            let given = merged.arguments(request.clone());
            let given: BTreeMap<String, String> = given
                .entries()
                .unwrap()
                .into_iter()
                .map(|(key, value)| (key.into_owned(), value.get().to_owned()))
                .collect();
            prop_assert_eq!(given, arguments);
            prop_assert_eq!(merged.locked(&request), locked);

            for one in merged.environment(&request).iter() {
                let before = &model[&one.key];
                prop_assert!(one.init && before.init);
                match call.get(&one.key) {
                    Some(value) => {
                        prop_assert_eq!(one.value.as_str(), value.to_string());
                        prop_assert!(one.encryption.is_none());
                    }
                    None => prop_assert_eq!(one, before),
                }
            }
            let init = model.values().filter(|one| one.init).count();
            prop_assert_eq!(merged.environment(&request).iter().count(), init);
        }
    }

    #[test]
    fn the_last_of_equal_keys_wins_and_defaults_stay_unwritten() {
        let both = parameters(r#"[{"key":"a","value":1},{"key":"a","value":null,"init":false}]"#);
        assert_eq!(serde_json::to_string(&both).unwrap(), r#"[{"key":"a","value":null}]"#);
    }

    #[test]
    fn sizes_count_compact_values() {
        let spaced = parameters(r#"[{"key":"é","value":{ "a" : [ 1, " " ] }}]"#);
        assert_eq!(serde_json::to_string(&spaced).unwrap(), r#"[{"key":"é","value":{"a":[1," "]}}]"#);
        assert_eq!(spaced.size(), 2 + 13);
    }

    #[test]
    fn requests_win_over_parameters_and_init_ones_stay_out() {
        let base =
            parameters(r#"[{"key":"a","value":1},{"key":"b","value":2},{"key":"i","value":3,"init":true}]"#);
        let request = RawJson::parse(br#"{"b":1.50,"i":9,"c":"x"}"#).unwrap();
        assert_eq!(base.arguments(request).as_str(), r#"{"a":1,"b":1.50,"c":"x"}"#);
        let untouched = RawJson::parse(br#"{ "b" : 1.50 }"#).unwrap();
        assert_eq!(Parameters::new().arguments(untouched.clone()), untouched);
    }

    #[test]
    fn sizes_are_told_from_the_text() {
        let text = r#"[{"key":"ab","value":[1, 2]},{"key":"c","value":"x","init":true}]"#;
        assert_eq!(Parameters::size_of(text), Some(parameters(text).size()));
        for bad in ["{}", "[1]", r#"[{"key":"a"}]"#] {
            assert_eq!(Parameters::size_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_environment_takes_init_parameters_as_the_request_has_them() {
        let base = parameters(
            r#"[{"key":"a","value":1,"init":true},{"key":"b","value":2,"init":true},{"key":"c","value":3}]"#,
        );
        let request = RawJson::parse(br#"{"b":8,"c":9,"b":1.50}"#).unwrap();
        let environment = base.environment(&request);
        let values: Vec<_> = environment.iter().map(|one| (one.key.as_str(), one.value.as_str())).collect();
        assert_eq!(values, [("a", "1"), ("b", "1.50")]);
        assert_eq!(base.environment(&RawJson::empty_object()).iter().count(), 2);
    }

    #[test]
    fn environments_have_a_digest_each() {
        let digest = |json: &str| parameters(json).environment_digest();
        let all = [
            r#"[{"key":"a","value":1,"init":true}]"#,
            r#"[{"key":"a","value":2,"init":true}]"#,
            r#"[{"key":"b","value":1,"init":true}]"#,
            r#"[{"key":"a1","value":"","init":true}]"#,
            r#"[{"key":"a","value":1,"init":true},{"key":"b","value":2,"init":true}]"#,
        ];
        assert_eq!(digest(r#"[{"key":"a","value":1}]"#), None);
        assert_eq!(digest(all[0]), digest(r#"[{"key":"x","value":3},{"key":"a","value": 1,"init":true}]"#));
        for (at, one) in all.iter().enumerate() {
            assert!(all.iter().skip(at + 1).all(|other| digest(one) != digest(other)), "{one}");
        }
    }

    #[test]
    fn crowds_of_keys_take_no_more_than_their_share_of_time() {
        const MANY: usize = 100_000;
        let one = |at: usize| Parameter {
            key: format!("k{at}"),
            value: RawJson::null(),
            init: at.is_multiple_of(2),
            encryption: None,
        };
        let begun = std::time::Instant::now();
        let all: Parameters = (0..MANY).map(one).collect();
        let mut all = all.clone().merged_with(all);
        assert_eq!(all.iter().count(), MANY);
        let object: serde_json::Map<_, _> = (0..MANY).map(|at| (format!("k{at}"), at.into())).collect();
        let request = RawJson::from_value(&object);
        assert_eq!(all.arguments(request.clone()).entries().unwrap().len(), MANY / 2);
        assert_eq!(all.environment(&request).iter().count(), MANY / 2);
        all.remove(&(0..MANY).map(|at| format!("k{at}")).collect::<Vec<_>>());
        assert!(all.is_empty());
        // Quadratic work would take minutes.
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    }

    #[test]
    fn arrays_pass_without_what_would_lie_beneath() {
        let base = parameters(r#"[{"key":"a","value":"x","encryption":"aes-128"}]"#);
        let request = RawJson::parse(b"[1, 2]").unwrap();
        assert!(base.locked(&request).is_empty());
        assert_eq!(base.arguments(request).as_str(), "[1, 2]");
    }

    #[test]
    fn truth_follows_the_wire_table() {
        for (value, truth) in [("true", true), ("1", true), ("\"x\"", true), ("{}", true), ("[]", true)]
            .into_iter()
            .chain([("false", false), ("0", false), ("0.0", false), ("\"\"", false), ("null", false)])
        {
            let one = parameters(&format!(r#"[{{"key":"k","value":{value}}}]"#));
            assert_eq!(one.is_truthy("k"), truth, "{value}");
        }
    }
}
