//! Parameters as they are sent: objects of `key` and `value`, whatever else they hold.

use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Parameter, Parameters};
use crate::RawJson;

/// Longest name of an algorithm, in bytes: the size of parameters does not count it.
const MAX_ALGORITHM: usize = 64;

impl<'de> Deserialize<'de> for Parameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let sent = Vec::<Parameter>::deserialize(deserializer);
        let sent = sent.map_err(|_| D::Error::custom("parameters malformed!"))?;
        let compact = |one: Parameter| Parameter { value: one.value.compact(), ..one };
        Ok(sent.into_iter().map(compact).collect())
    }
}

impl<'de> Deserialize<'de> for Parameter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not derived: that would take an array of the fields too.
        deserializer.deserialize_map(Sent)
    }
}

/// Reads one parameter; of equal fields the last counts.
struct Sent;

impl<'de> Visitor<'de> for Sent {
    type Value = Parameter;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with key and value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut sent: A) -> Result<Parameter, A::Error> {
        let (mut key, mut value, mut init, mut encryption) = (None, None, None, None);
        while let Some(name) = sent.next_key::<String>()? {
            match name.as_str() {
                "key" => key = Some(sent.next_value()?),
                "value" => value = Some(sent.next_value()?),
                "init" => init = Some(sent.next_value()?),
                "encryption" => encryption = Some(sent.next_value::<Option<String>>()?),
                _ => drop(sent.next_value::<IgnoredAny>()?),
            }
        }
        // Clients that write every field write `init` too; a lock that is null on its own is a mistake.
        let encryption = match (encryption, init) {
            (Some(None), None) => return Err(A::Error::custom("encryption is null")),
            (encryption, _) => encryption.flatten(),
        };
        if encryption.as_ref().is_some_and(|algorithm| algorithm.len() > MAX_ALGORITHM) {
            return Err(A::Error::custom("the name of the algorithm is too long"));
        }
        let value: RawJson = value.ok_or_else(|| A::Error::missing_field("value"))?;
        let key = key.ok_or_else(|| A::Error::missing_field("key"))?;
        Ok(Parameter { key, value, init: init.unwrap_or_default(), encryption })
    }
}

/// See [`Parameters::size_of`].
pub(super) fn size_of(text: &str) -> Option<u64> {
    serde_json::from_str::<SentSize>(text).ok().map(|sent| sent.0)
}

/// Σ bytes of keys and values of an array of parameters.
struct SentSize(u64);

impl<'de> Deserialize<'de> for SentSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Sum)
    }
}

struct Sum;

impl<'de> Visitor<'de> for Sum {
    type Value = SentSize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of parameters")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sent: A) -> Result<SentSize, A::Error> {
        let mut sum = 0;
        while let Some(Parameter { key, value, .. }) = sent.next_element()? {
            sum += (key.len() + value.compact().as_str().len()) as u64;
        }
        Ok(SentSize(sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_objects_with_key_and_value() {
        let algorithm = format!(r#"[{{"key":"a","value":1,"encryption":"{}"}}]"#, "x".repeat(65));
        for bad in [
            &algorithm,
            "{}",
            "[[]]",
            r#"[["a",1]]"#,
            r#"[["a",1,true,null]]"#,
            r#"[{"key":"a"}]"#,
            r#"[{"value":1}]"#,
            r#"[{"key":1,"value":1}]"#,
            r#"[{"key":"a","value":1,"init":"x"}]"#,
            r#"[{"key":"a","value":1,"init":null}]"#,
            r#"[{"key":"a","value":1,"encryption":1}]"#,
            r#"[{"key":"a","value":1,"encryption":null}]"#,
        ] {
            let error = serde_json::from_str::<Parameters>(bad).unwrap_err().to_string();
            assert!(error.starts_with("parameters malformed!"), "{bad}: {error}");
            assert_eq!(Parameters::size_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn fields_are_taken_as_clients_write_them() {
        for (sent, kept) in [
            (r#"[{"key":"","value":null,"type":1}]"#, r#"[{"key":"","value":null}]"#),
            (r#"[{"value":[ 1 ],"key":"a"}]"#, r#"[{"key":"a","value":[1]}]"#),
            (r#"[{"key":"a","key":"b","value":1,"value":2}]"#, r#"[{"key":"b","value":2}]"#),
            (r#"[{"key":"a","value":1,"init":false,"encryption":null}]"#, r#"[{"key":"a","value":1}]"#),
            (
                r#"[{"key":"a","value":"x","init":true,"encryption":"aes-128"}]"#,
                r#"[{"key":"a","value":"x","init":true,"encryption":"aes-128"}]"#,
            ),
        ] {
            let read: Parameters = serde_json::from_str(sent).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), kept, "{sent}");
        }
    }
}
