//! Triggers: named events, with the links to the rules that react to them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ByteSize, FullyQualifiedName, Location, Millis, Parameters, Version};

/// Most bytes that the links of one trigger may take: it is written as a whole whenever one of them changes.
pub const MAX_LINKS: ByteSize = ByteSize::mb(2);

/// What a link takes beside the names in it.
const LINK_OVERHEAD: u64 = 64;

/// A stored trigger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// Namespace and name.
    #[serde(flatten)]
    pub location: Location,
    /// Default arguments of the actions it starts.
    #[serde(default)]
    pub parameters: Parameters,
    /// Always empty; kept because documents have it.
    #[serde(default)]
    pub limits: TriggerLimits,
    /// Version that clients see.
    pub version: Version,
    /// Without meaning for triggers.
    #[serde(default)]
    pub publish: bool,
    /// Annotations.
    #[serde(default)]
    pub annotations: Parameters,
    /// Its rules by `ns/rule`; absent if it never had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<BTreeMap<String, RuleLink>>,
    /// Last write, epoch milliseconds. Links and their status do not count.
    pub updated: Millis,
}

/// Limits of a trigger: there are none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriggerLimits {}

/// What a trigger knows of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleLink {
    /// What the rule starts.
    pub action: FullyQualifiedName,
    /// Whether it does.
    pub status: Status,
}

/// Whether a rule reacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It does.
    Active,
    /// It does not.
    Inactive,
}

impl Trigger {
    /// The link of this rule (`ns/rule`).
    #[must_use]
    pub fn link(&self, rule: &str) -> Option<&RuleLink> {
        self.rules.as_ref().and_then(|rules| rules.get(rule))
    }

    /// The status of this rule: one without a link is inactive.
    #[must_use]
    pub fn status_of(&self, rule: &str) -> Status {
        self.link(rule).map_or(Status::Inactive, |link| link.status)
    }

    /// Sets the link of this rule, which may be a new one.
    pub fn set_link(&mut self, rule: &str, link: RuleLink) {
        self.rules.get_or_insert_default().insert(rule.to_owned(), link);
    }

    /// Bytes that the links take, of [`MAX_LINKS`].
    #[must_use]
    pub fn links_size(&self) -> u64 {
        let size = |(rule, link): (&String, &RuleLink)| {
            let action = link.action.path.as_str().len() + link.action.name.as_str().len();
            (rule.len() + action) as u64 + LINK_OVERHEAD
        };
        self.rules.iter().flatten().map(size).sum()
    }

    /// Takes the link of this rule out; false if there was none.
    pub fn remove_link(&mut self, rule: &str) -> bool {
        self.rules.as_mut().is_some_and(|rules| rules.remove(rule).is_some())
    }

    /// True if firing it starts anything.
    #[must_use]
    pub fn has_active_rule(&self) -> bool {
        self.rules.iter().flat_map(BTreeMap::values).any(|link| link.status == Status::Active)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger() -> Trigger {
        serde_json::from_str(r#"{"namespace":"guest","name":"t","version":"0.0.1","updated":1}"#).unwrap()
    }

    fn link(status: Status) -> RuleLink {
        RuleLink { action: FullyQualifiedName::parse("guest/a").unwrap(), status }
    }

    #[test]
    fn links_come_and_go_and_leave_an_empty_map() {
        let mut trigger = trigger();
        assert!(!serde_json::to_string(&trigger).unwrap().contains("rules"));
        assert_eq!(trigger.status_of("guest/r"), Status::Inactive);
        assert!(!trigger.has_active_rule() && !trigger.remove_link("guest/r"));
        trigger.set_link("guest/r", link(Status::Inactive));
        assert!(!trigger.has_active_rule());
        trigger.set_link("guest/r", link(Status::Active));
        assert!(trigger.has_active_rule());
        let text = serde_json::to_string(&trigger).unwrap();
        assert!(
            text.contains(r#""rules":{"guest/r":{"action":{"path":"guest","name":"a"},"status":"active"}}"#)
        );
        assert_eq!(serde_json::from_str::<Trigger>(&text).unwrap(), trigger);
        assert!(trigger.remove_link("guest/r") && !trigger.remove_link("guest/r"));
        assert!(serde_json::to_string(&trigger).unwrap().contains(r#""rules":{}"#));
    }

    #[test]
    fn links_take_at_least_as_much_as_their_text() {
        let mut trigger = trigger();
        let bare = serde_json::to_string(&trigger).unwrap().len();
        for number in 0..100 {
            trigger.set_link(&format!("guest/{number}"), link(Status::Inactive));
        }
        let text = serde_json::to_string(&trigger).unwrap().len() - bare;
        assert!((text as u64) < trigger.links_size() && trigger.links_size() < 2 * text as u64);
    }
}
