//! What a caller may do: everything with what lies in its own namespace.

use chasen_entity::{EntityName, error_text};
use chasen_spi::DocumentId;

use crate::call::{ActionAddress, Call};
use crate::error::ApiError;

/// Lets the owner of a namespace pass; anybody else is told which resource is refused.
pub(crate) fn owner(
    call: &Call<'_>,
    namespace: &EntityName,
    resource: impl FnOnce() -> String,
) -> Result<(), ApiError> {
    if namespace == call.own() { Ok(()) } else { Err(ApiError::forbidden(&resource())) }
}

/// Reading and invoking an action. In a package the package decides.
pub(crate) fn read_action(call: &Call<'_>, address: &ActionAddress) -> Result<(), ApiError> {
    owner(call, &address.namespace, || match &address.package {
        Some(package) => format!("{}/{package}", address.namespace),
        None => address.qualified().to_string(),
    })
}

/// Writing and deleting an action.
pub(crate) fn write_action(call: &Call<'_>, address: &ActionAddress) -> Result<(), ApiError> {
    owner(call, &address.namespace, || address.qualified().to_string())
}

/// Why a package of the caller's own namespace cannot be used: its name is taken by another entity, or there is none,
/// which is said as `missing`.
pub(crate) async fn no_package(
    call: &Call<'_>,
    namespace: &EntityName,
    package: &EntityName,
    missing: ApiError,
) -> ApiError {
    let id = DocumentId { path: namespace.to_string(), name: package.to_string() };
    match call.controller.artifacts.get(&id).await {
        Ok(Some(_)) => ApiError::conflict(error_text::CONFORMANCE),
        Ok(None) => missing,
        Err(error) => error.into(),
    }
}
