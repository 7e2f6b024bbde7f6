//! Triggers: named events, with the links to the rules that react to them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{FullyQualifiedName, Location, Millis, Parameters, Version};

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

    /// True if firing it starts anything.
    #[must_use]
    pub fn has_active_rule(&self) -> bool {
        self.rules.iter().flat_map(BTreeMap::values).any(|link| link.status == Status::Active)
    }
}
