//! The policies that decide when containers are started, and where.

use serde::{Deserialize, Serialize};

use crate::{Parameters, RawJson, error_text};

/// Annotation by which an action asks for a policy.
const ANNOTATION: &str = "scheduling-policy";

/// Most characters of a value that an error shows.
const ECHO: usize = 256;

/// A policy by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", try_from = "String")]
pub enum SchedulingPolicy {
    /// Waits for a slot while that is sooner than a new container; places by two choices at random.
    #[default]
    EventDriven,
    /// OpenWhisk's sharding balancer, for comparison.
    Sharding,
}

impl SchedulingPolicy {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::EventDriven, Self::Sharding];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EventDriven => "event-driven",
            Self::Sharding => "sharding",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == name)
    }

    /// What the annotations of an action ask for; the error is the reason why that is nothing that there is.
    pub fn asked_by(annotations: &Parameters) -> Result<Option<Self>, String> {
        let Some(value) = annotations.get(ANNOTATION) else { return Ok(None) };
        let policy = serde_json::from_str(value.as_str()).map(Some);
        policy.map_err(|_| unknown(value.as_str()))
    }
}

impl TryFrom<String> for SchedulingPolicy {
    type Error = String;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::parse(&name).ok_or_else(|| unknown(RawJson::from_value(&name).as_str()))
    }
}

/// Why this JSON is no policy.
fn unknown(value: &str) -> String {
    let shown: String = value.chars().take(ECHO).collect();
    error_text::unknown_policy(&shown, &SchedulingPolicy::ALL.map(SchedulingPolicy::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_alike() {
        for policy in SchedulingPolicy::ALL {
            assert_eq!(SchedulingPolicy::parse(policy.as_str()), Some(policy));
            let text = serde_json::to_string(&policy).unwrap();
            assert_eq!(text, format!("{:?}", policy.as_str()));
            assert_eq!(serde_json::from_str::<SchedulingPolicy>(&text).unwrap(), policy);
        }
        assert_eq!(SchedulingPolicy::parse("lean"), None);
    }

    #[test]
    fn an_action_asks_for_what_there_is() {
        let asking = |value: &serde_json::Value| {
            let mut annotations = Parameters::new();
            annotations.set(ANNOTATION, value);
            SchedulingPolicy::asked_by(&annotations)
        };
        assert_eq!(SchedulingPolicy::asked_by(&Parameters::new()), Ok(None));
        assert_eq!(asking(&"sharding".into()), Ok(Some(SchedulingPolicy::Sharding)));
        for wrong in ["lean".into(), 7.into(), serde_json::Value::Null, serde_json::json!({"sharding": null})]
        {
            let text = asking(&wrong).unwrap_err();
            assert_eq!(
                text,
                format!("{wrong} is not a scheduling policy; there are event-driven, sharding.")
            );
        }
        let long = asking(&"x".repeat(1_000_000).into()).unwrap_err();
        assert!(long.len() < 400, "{}", long.len());
    }
}
