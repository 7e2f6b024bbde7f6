//! Texts of triggers and rules.

/// 404: activating a rule whose trigger is gone.
pub const RULE_WITHOUT_TRIGGER: &str = "Only rules with existing triggers can be activated";
