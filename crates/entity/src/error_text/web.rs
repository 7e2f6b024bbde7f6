//! Texts of web actions.

/// 202: a web action that runs longer than its client waits.
pub const RESPONSE_NOT_READY: &str = "Response not yet ready.";
