//! Texts of web actions.

/// 202: a web action that runs longer than its client waits.
pub const RESPONSE_NOT_READY: &str = "Response not yet ready.";
/// 401: a web action that wants a key or a secret.
pub const NOT_AUTHENTICATED: &str = "Authentication is possible but has failed or not yet been provided.";
/// 400: a web action that crashed, could not be started, or met a platform that failed.
pub const ACTION_FAILED: &str = "There was an error processing your request.";
/// 404: a result without the part that was asked for.
pub const PROPERTY_MISSING: &str = "Response does not include requested property.";
/// 400: a result whose content type is none.
pub const UNKNOWN_CONTENT_TYPE: &str = "Response did not specify a known content-type.";
/// 400: a result whose body does not go with its content type.
pub const CONTENT_TYPE_MISMATCH: &str = "Response type in header did not match generated content type.";

/// 400: a result that is not what the extension stands for.
#[must_use]
pub fn response_not_valid(media_type: &str) -> String {
    format!("Response is not valid '{media_type}'.")
}

/// 406: the types that there are.
#[must_use]
pub fn not_acceptable(types: &str) -> String {
    format!("Resource representation is only available with these types:\n{types}")
}
