//! Rules: which action reacts to which trigger. Whether it does is written in the trigger.

use serde::{Deserialize, Serialize};

use crate::{FullyQualifiedName, Location, Millis, Parameters, Version};

/// A stored rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Namespace and name.
    #[serde(flatten)]
    pub location: Location,
    /// What it waits for.
    pub trigger: FullyQualifiedName,
    /// What it starts; the name as given, through a binding too.
    pub action: FullyQualifiedName,
    /// Version that clients see.
    pub version: Version,
    /// Without meaning for rules.
    #[serde(default)]
    pub publish: bool,
    /// Annotations.
    #[serde(default)]
    pub annotations: Parameters,
    /// Last write, epoch milliseconds. A change of status does not count.
    pub updated: Millis,
}
