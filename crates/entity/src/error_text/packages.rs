//! Texts of packages and bindings.

/// 422: a binding that refers to itself.
#[must_use]
pub fn circular_binding(binding: &str) -> String {
    format!("Package binding '{binding}' contains a circular reference.")
}

/// 400: writing an action through a binding.
pub const NOT_ON_BINDING: &str = "Operation not permitted on package binding.";
