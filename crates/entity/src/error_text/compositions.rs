//! Texts of sequences and compositions.

use crate::{ActivationId, FullyQualifiedName};

/// 400: a sequence without components.
pub const NO_COMPONENT: &str = "No component specified for the sequence.";
/// 400 and result: more actions than a sequence may have.
pub const SEQUENCE_TOO_LONG: &str = "Too many actions in the sequence.";
/// 400: a sequence that has itself among its components, or theirs.
pub const SEQUENCE_CYCLIC: &str = "Sequence may not refer to itself.";
/// 400 and result: a component that is not there.
pub const COMPONENT_MISSING: &str = "Sequence component does not exist.";
/// Result of a sequence whose component could not be run.
pub const SEQUENCE_FAILED: &str = "Sequence failed.";
/// Result, or what a conductor is told: more steps than a composition may have.
pub const COMPOSITION_TOO_LONG: &str = "Too many actions in the composition.";
/// Result of a composition whose step could not be run.
pub const COMPOSITION_FAILED: &str = "Activation failure during composition.";

/// Reason of a 400: `exec` of a sequence without components.
pub const COMPONENTS_UNDEFINED: &str = "'components' must be defined for sequence kind";
/// Reason of a 400: components that are none.
pub const COMPONENTS_NO_ARRAY: &str = "'components' must be an array";

/// Result of a sequence whose component took longer than is waited for.
#[must_use]
pub fn component_late(id: ActivationId) -> String {
    format!("Timeout reached when retrieving activation {id} for sequence component.")
}

/// Result of a composition whose step took longer than is waited for.
#[must_use]
pub fn composition_late(id: ActivationId) -> String {
    format!("Timeout reached when retrieving activation {id} during composition.")
}

/// What a conductor is told that names its next action with something that is no name: the JSON text of it.
#[must_use]
pub fn no_action_name(json: &str) -> String {
    format!("Failed to parse action name from json value {json} during composition.")
}

/// What a conductor is told whose next action is not there.
#[must_use]
pub fn action_not_resolved(name: &FullyQualifiedName) -> String {
    format!("Failed to resolve action with name '{name}' during composition.")
}

/// What a conductor is told whose next action may not be invoked.
#[must_use]
pub fn action_not_entitled(name: &FullyQualifiedName) -> String {
    format!("Failed entitlement check for action with name '{name}' during composition.")
}
