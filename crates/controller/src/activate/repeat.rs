//! Activations that repeat an earlier one: with what it was given, as whoever asks now.

use std::collections::HashMap;
use std::sync::Arc;

use chasen_entity::{
    Activation, ActivationId, EntityName, FullyQualifiedName, Given, Invocation, RawJson, Version, error_text,
};
use chasen_spi::Privilege;
use http::StatusCode;

use super::{Sort, admission, resume};
use crate::activate;
use crate::api::wishes;
use crate::call::Call;
use crate::entities::versions::Asked;
use crate::entities::{ActionAddress, LoadError, ResolvedAction};
use crate::keys::{self, FreeKey};
use crate::throttle::Permit;
use crate::wire::error::ApiError;

/// What is repeated.
pub(crate) struct Original {
    id: ActivationId,
    /// `ns/[package/]name` of the action that ran.
    name: FullyQualifiedName,
    /// Where it was invoked.
    address: Option<ActionAddress>,
    given: Given,
    from: From,
}

/// Where that is known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// A dead letter: its arguments lie over the parameters that its action has now.
    Letter,
    /// The record of a run, maybe as a step of this one: it is given what it was given.
    Run(Option<ActivationId>),
    /// The record of a sequence or composition: its payload is one as any.
    Session,
}

impl Original {
    /// What was accepted and given up.
    pub(crate) fn of(invocation: &Invocation) -> Self {
        Self {
            id: invocation.activation_id,
            name: invocation.action.name.clone(),
            address: resume::address(invocation),
            given: Given::of(invocation),
            from: From::Letter,
        }
    }

    /// What ended in this record.
    pub(crate) fn recorded(record: &Activation) -> Result<Self, ApiError> {
        if record.duration().is_none() {
            return Err(ApiError::conflict(error_text::FIRE_NOT_REPLAYED));
        }
        let given =
            record.given.as_deref().ok_or_else(|| ApiError::conflict(error_text::PARAMETERS_NOT_KEPT))?;
        let text = |key| record.annotations.get(key).and_then(|value| value.read::<String>().ok());
        let path = text("path").and_then(|path| FullyQualifiedName::parse(&path).ok());
        let name = path.ok_or_else(|| ApiError::corrupt(&record.activation_id, &"its path is no name"))?;
        Ok(Self {
            id: record.activation_id,
            address: resume::address_of(&name, text("binding").as_deref()),
            name,
            given: given.clone(),
            from: if record.is_session() { From::Session } else { From::Run(record.cause) },
        })
    }

    fn gone(&self) -> ApiError {
        ApiError::refusal(StatusCode::NOT_FOUND, error_text::nothing_to_replay(&self.name))
    }

    fn or_gone(&self, error: LoadError) -> ApiError {
        if matches!(error, LoadError::Missing | LoadError::WrongType) { self.gone() } else { error.into() }
    }
}

/// Charges an invocation, before anything is looked at.
pub(crate) fn charge(call: &Call<'_>) -> Result<Permit, ApiError> {
    let caller = &call.caller;
    call.controller.throttles.charge(&caller.usage, &caller.identity.limits, call.arrived)
}

/// Begins it again as any non-blocking invocation, under the key of the request if it has one, with this version of its
/// action or the one that there is now.
pub(crate) async fn begin(
    call: &Call<'_>,
    key: Option<FreeKey>,
    permit: Permit,
    original: Original,
    version: Option<Version>,
) -> Result<ActivationId, ApiError> {
    let (controller, caller) = (call.controller.clone(), &call.caller);
    let asked = wishes::durability(call.headers)?;
    let due = wishes::due(call, false)?;
    let durability = call.durability(false, due, asked);
    let action = action(call, &original, version).await?;
    admission::require_components(&controller, &caller.identity, &action).await?;
    admission::require_runnable(&action)?;
    let Original { id, given, from, .. } = original;
    let action = match (from, Sort::of(&action)) {
        // What is final was set by the action itself.
        (From::Letter, _) => action,
        (From::Run(Some(whole)), Sort::Composition) => {
            return Err(ApiError::refusal(StatusCode::CONFLICT, error_text::conducted(whole)));
        }
        (From::Run(_), Sort::Action) => {
            require_same_finals(&action, &given, call.own())?;
            Arc::new(action.given(given.environment, given.init_parameters))
        }
        (From::Run(_) | From::Session, _) => {
            admission::require_finals(&action, &given.arguments)?;
            action
        }
    };
    let usual = call.activation(action, given.arguments, false);
    let request = activate::Request {
        sets_environment: false,
        durability,
        due,
        replay_of: Some(id),
        locked: given.locked,
        ..usual
    };
    let accept = move |id| {
        let request = activate::Request { id, ..request };
        let (position, _) = activate::begin_or_schedule(&controller, request, permit)?;
        Ok((position, ()))
    };
    let (id, ()) = keys::accept(call, key, durability, accept).await?;
    Ok(id)
}

/// The action that ran, in this version.
async fn action(
    call: &Call<'_>,
    original: &Original,
    version: Option<Version>,
) -> Result<Arc<ResolvedAction>, ApiError> {
    let entities = &call.controller.entities;
    let address = original.address.as_ref().ok_or_else(|| original.gone())?;
    let verdict = call.rights().action(Privilege::Activate, address).await;
    verdict.map_err(|error| original.or_gone(error))?.required()?;
    let present = entities.resolve_action(address).await.map_err(|error| original.or_gone(error))?;
    // A binding may lead elsewhere by now: nobody else's code may get the parameters of the package that it led to.
    if present.executable.name != original.name {
        return Err(original.gone());
    }
    let Some(version) = version else { return Ok(present) };
    // What was mended is not to be had by others any more.
    if original.name.path.namespace() != call.own().as_str() {
        return Err(ApiError::refusal(StatusCode::FORBIDDEN, error_text::VERSIONS_OF_OTHERS));
    }
    match entities.resolve_version(address, version).await? {
        Asked::Found(action) => Ok(action),
        Asked::NotKept(kept) => {
            Err(ApiError::refusal(StatusCode::NOT_FOUND, error_text::version_not_kept(version, &kept)))
        }
    }
}

/// Refuses to give an action of others anything else than it has now where it has become final since.
fn require_same_finals(action: &ResolvedAction, given: &Given, own: &EntityName) -> Result<(), ApiError> {
    if action.finals.is_empty() || action.executable.name.path.namespace() == own.as_str() {
        return Ok(());
    }
    let present: HashMap<&str, &RawJson> =
        action.parameters.iter().map(|parameter| (parameter.key.as_str(), &parameter.value)).collect();
    let is_other = |key: &str, value: &str| {
        action.finals.contains(key) && present.get(key).is_none_or(|present| present.as_str() != value)
    };
    let entries = given.arguments.entries().unwrap_or_default();
    let arguments = entries.iter().any(|(key, value)| is_other(key, value.get()));
    let environment = given.init_parameters.iter().any(|one| is_other(&one.key, one.value.as_str()));
    if arguments || environment {
        return Err(ApiError::bad_request(error_text::FINAL_PARAMETERS));
    }
    Ok(())
}
