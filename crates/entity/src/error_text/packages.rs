//! Texts of packages and bindings.

/// 400: writing an action through a binding.
pub const NOT_ON_BINDING: &str = "Operation not permitted on package binding.";
/// 400: a binding to a package of the same namespace that is not there.
pub const BINDING_WITHOUT_PACKAGE: &str = "Binding references a package that does not exist.";
/// 400: a binding to a binding.
pub const BINDING_OF_BINDING: &str = "Cannot bind to another package binding.";
/// 409: a binding to something else than a package.
pub const BINDING_OF_OTHER: &str = "Cannot bind to a resource that is not a package.";
/// 409: a binding in place of a package.
pub const NOT_CONVERTIBLE: &str = "Resource is a package and cannot be converted into a binding.";

/// 422: a binding that refers to itself.
#[must_use]
pub fn circular_binding(binding: &str) -> String {
    format!("Package binding '{binding}' contains a circular reference.")
}

/// 400: a name that no package may have.
#[must_use]
pub fn reserved_package(name: &str) -> String {
    format!("Package name '{name}' is reserved.")
}

/// 409: deleting a package with something in it.
#[must_use]
pub fn package_not_empty(entities: u64) -> String {
    let noun = if entities == 1 { "entity" } else { "entities" };
    format!("Package not empty (contains {entities} {noun}). Set force param or delete package contents.")
}

/// 403: reading a package of others where shared packages may only be executed.
#[must_use]
pub fn shared_package(package: &str) -> String {
    format!("GET not permitted for '{package}' since it's a shared package")
}

/// 403: the same through a binding, by its simple name.
#[must_use]
pub fn binding_of_shared_package(binding: &str) -> String {
    format!("GET not permitted since {binding} is a binding of a shared package")
}

/// 403: reading an action in a package of others (`ns/package`).
#[must_use]
pub fn action_in_shared_package(package: &str) -> String {
    format!("GET not permitted for '{package}' since it's an action in a shared package")
}

/// 403: the same through a binding: `ns/binding/action`.
#[must_use]
pub fn action_in_binding_of_shared_package(action: &str) -> String {
    format!(
        "GET not permitted for '{action}'. Resource does not exist or is an action in a shared package binding."
    )
}
