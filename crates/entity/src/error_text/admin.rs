//! Texts of the operator's door.

/// 401: no credentials that can be read.
pub const NO_ADMIN: &str = "Authentication is possible but has failed or not yet been provided.";
/// 401: others than the operator's.
pub const WRONG_ADMIN: &str = "username or password are wrong.";
