//! Texts of triggers and rules.

/// 400: a new trigger whose annotation `feed` is no name.
pub const FEED_NAME_ILLEGAL: &str = "Feed name is not valid";
/// 400: a new rule that leaves out its trigger or its action.
pub const RULE_INCOMPLETE: &str = "rule requires a valid trigger and a valid action";
/// 404: activating a rule whose trigger is gone.
pub const RULE_WITHOUT_TRIGGER: &str = "Only rules with existing triggers can be activated";
/// 400: a change of status that does not say to which.
pub const RULE_STATUS_MISSING: &str = "key not found: status";
/// 400: an empty status.
pub const RULE_STATUS_EMPTY: &str = "requirement failed: argument undefined";

/// 400: a status that rules do not have.
#[must_use]
pub fn no_rule_status(text: &str) -> String {
    format!("requirement failed: {text} is not a recognized rule state")
}

/// 400: a status that is not even a string.
#[must_use]
pub fn rule_status_malformed(json: &str) -> String {
    format!("{json} is not a string")
}

/// 400: a rule for a trigger (`ns/name`) that is not there.
#[must_use]
pub fn referenced_trigger_missing(trigger: &str) -> String {
    format!("trigger /{trigger} does not exist")
}

/// 400: a rule for an action (`ns/[package/]name`) that is not there.
#[must_use]
pub fn referenced_action_missing(action: &str) -> String {
    format!("action /{action} does not exist")
}

/// In the log of a fire: what became of a rule that does not react. `rule` and `action` are `ns/[package/]name`.
#[must_use]
pub fn rule_inactive(rule: &str, action: &str) -> String {
    format!("Rule '{rule}' is inactive, action '{action}' was not activated.")
}
