//! What a rule refers to: who may, and whether it is there.

use chasen_entity::{FullyQualifiedName, Trigger, error_text};
use chasen_spi::{Collection, Privilege};

use crate::api::triggers::TRIGGERS;
use crate::call::Call;
use crate::entities::{ActionAddress, LoadError, Stored, Tries};
use crate::entitle;
use crate::wire::error::ApiError;

/// Refuses references to what the caller may not read.
pub(super) async fn require_rights(
    call: &Call<'_>,
    trigger: Option<&FullyQualifiedName>,
    action: Option<&FullyQualifiedName>,
) -> Result<(), ApiError> {
    let rights = call.rights();
    let mut verdicts = Vec::new();
    if let Some(trigger) = trigger {
        verdicts.push(rights.entity(Privilege::Read, TRIGGERS, trigger).await?);
    }
    if let Some(action) = action {
        verdicts.push(match ActionAddress::of(action) {
            Some(address) => rights.action(Privilege::Read, &address).await?,
            None => rights.entity(Privilege::Read, Collection::Actions.as_str(), action).await?,
        });
    }
    entitle::all(verdicts).required()
}

/// The trigger that a rule refers to.
pub(super) async fn trigger(
    call: &Call<'_>,
    name: &FullyQualifiedName,
    tries: &Tries,
) -> Result<Stored<Trigger>, ApiError> {
    let missing = || error_text::referenced_trigger_missing(&name.to_string());
    let found = call.controller.entities.trigger_to_change(name, tries).await;
    found.map_err(|error| unusable(error, missing))
}

/// Refuses an action that is not there, through packages and bindings.
pub(super) async fn require_action(call: &Call<'_>, name: &FullyQualifiedName) -> Result<(), ApiError> {
    let missing = || error_text::referenced_action_missing(&name.to_string());
    let Some(address) = ActionAddress::of(name) else { return Err(ApiError::bad_request(missing())) };
    let resolved = call.controller.entities.resolve_action(&address).await;
    resolved.map(drop).map_err(|error| unusable(error, missing))
}

/// Whatever is wrong with a reference is wrong with the request.
fn unusable(error: LoadError, missing: impl FnOnce() -> String) -> ApiError {
    match error {
        LoadError::Missing => ApiError::bad_request(missing()),
        LoadError::WrongType => ApiError::bad_request(error_text::CONFORMANCE),
        LoadError::Corrupt(..) => ApiError::bad_request(error_text::CORRUPT),
        error => error.into(),
    }
}
