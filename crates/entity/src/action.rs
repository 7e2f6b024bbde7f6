//! Actions: the stored entity and what of it travels with an invocation.

use std::fmt;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::{
    ActionLimits, Exec, FullyQualifiedName, Location, Millis, NetworkPolicy, Parameters, RawJson, Revision,
    SchedulingPolicy, Version,
};

/// A stored action. On the wire its code stands in place of the reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// Where it lies and its name.
    #[serde(flatten)]
    pub location: Location,
    /// What it executes.
    pub exec: Exec,
    /// Default arguments.
    #[serde(default)]
    pub parameters: Parameters,
    /// Limits of each activation.
    pub limits: ActionLimits,
    /// Version that clients see.
    pub version: Version,
    /// Visible to others; of meaning for packages only.
    #[serde(default)]
    pub publish: bool,
    /// Annotations.
    #[serde(default)]
    pub annotations: Parameters,
    /// Last write, epoch milliseconds.
    pub updated: Millis,
}

/// What an invocation needs of an action: everything but default arguments and the code's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutableAction {
    /// `ns/[package/]name`.
    pub name: FullyQualifiedName,
    /// Version that clients see.
    pub version: Version,
    /// Stored state; later states have larger numbers.
    pub revision: Revision,
    /// What it executes.
    pub exec: Exec,
    /// Limits of each activation.
    pub limits: ActionLimits,
    /// Annotations.
    pub annotations: Parameters,
    /// True for a state that was replaced before it was asked for: it runs beside the present one, which otherwise takes
    /// the place of older states.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub superseded: bool,
    /// What is written of it for every activation, once it was asked for; to be changed only by cloning.
    #[serde(skip)]
    pub texts: Texts,
}

/// JSON that every activation of an action writes again, made when it is first asked for. No part of the action's
/// value: all are equal, and a clone of an action, which may be changed, begins without.
#[derive(Default)]
pub struct Texts(OnceLock<Box<ActionTexts>>);

/// See [`Texts`].
#[derive(Debug)]
pub struct ActionTexts {
    /// The action as events store it.
    pub stored: RawJson,
    /// `ns/[package/]name`, a JSON string.
    pub path: RawJson,
    /// Its kind, a JSON string.
    pub kind: RawJson,
    /// Its limits, an object.
    pub limits: RawJson,
    /// What runs are told of it: `,"action_name":"/ns/[package/]name","action_version":"1.2.3"`.
    pub run: String,
    /// True if functions of it get the caller's key.
    pub provides_api_key: bool,
    /// What it narrows its namespace's network policy to; nowhere, if what it asks for is no policy.
    pub network: Option<NetworkPolicy>,
}

impl Clone for Texts {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Texts {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Texts {}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Texts")
    }
}

impl ExecutableAction {
    /// What every activation writes of it.
    pub fn texts(&self) -> &ActionTexts {
        self.texts.0.get_or_init(|| {
            let path = self.name.to_string();
            let name = RawJson::from_value(&format!("/{path}"));
            Box::new(ActionTexts {
                stored: RawJson::from_value(self),
                run: format!(",\"action_name\":{},\"action_version\":\"{}\"", name.as_str(), self.version),
                path: RawJson::from_value(&path),
                kind: RawJson::from_value(&self.exec.kind),
                limits: RawJson::from_value(&self.limits),
                provides_api_key: self.provides_api_key(),
                network: NetworkPolicy::asked_by(&self.annotations).unwrap_or(Some(NetworkPolicy::None)),
            })
        })
    }

    /// The executable part of a stored action.
    #[must_use]
    pub fn of(action: &Action, revision: Revision) -> Self {
        Self {
            name: action.location.qualified(),
            version: action.version,
            revision,
            exec: action.exec.clone(),
            limits: action.limits,
            annotations: action.annotations.clone(),
            superseded: false,
            texts: Texts::default(),
        }
    }

    /// True if functions of this action get the caller's key: annotation `provide-api-key` truthy or absent.
    #[must_use]
    pub fn provides_api_key(&self) -> bool {
        self.annotations.get("provide-api-key").is_none() || self.annotations.is_truthy("provide-api-key")
    }

    /// Labels that a node must have to run it: annotation `invoker-resources`, a list of strings. Anything else asks
    /// for none.
    #[must_use]
    pub fn needed_labels(&self) -> Vec<String> {
        let labels = self.annotations.get("invoker-resources");
        labels.and_then(|labels| serde_json::from_str(labels.as_str()).ok()).unwrap_or_default()
    }

    /// False if it may run elsewhere where no node has its labels: annotation `invoker-resources-strict-policy` false.
    #[must_use]
    pub fn needs_labels_strictly(&self) -> bool {
        self.annotations.get("invoker-resources-strict-policy").is_none_or(|is| is.as_str() != "false")
    }

    /// The policy that it asks to be scheduled by; one that there is no more is not asked for.
    #[must_use]
    pub fn scheduling_policy(&self) -> Option<SchedulingPolicy> {
        SchedulingPolicy::asked_by(&self.annotations).ok().flatten()
    }
}
