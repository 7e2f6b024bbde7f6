//! What lies between a request and its activation, whoever asks: the API, a web action, a rule. The order of the steps
//! and what else is checked between them is the asker's: charge, rights, [`prepare`], [`start`].

use std::sync::Arc;
use std::time::Duration;

use chasen_entity::{Activation, ActivationId, Durability, Identity, RawJson, error_text};
use chasen_spi::{Position, Privilege, Rejection, StoreError};

use super::{Request, Running, begin};
use crate::controller::Controller;
use crate::entities::{ActionAddress, KindState, ResolvedAction};
use crate::entitle;
use crate::throttle::Permit;
use crate::wire::error::ApiError;

/// Longest wait for the disk before a caller is told that what was accepted may not be safe.
const LONGEST_COMMIT: Duration = Duration::from_secs(30);

/// The action at an address that the identity may invoke, if it may be invoked with this payload. A sequence asks for
/// the right to invoke each of its components, too.
pub(crate) async fn prepare(
    controller: &Controller,
    identity: &Identity,
    address: &ActionAddress,
    payload: &RawJson,
) -> Result<Arc<ResolvedAction>, ApiError> {
    let action = controller.entities.resolve_action(address).await?;
    require_components(controller, identity, &action).await?;
    require_runnable(&action)?;
    require_finals(&action, payload)?;
    Ok(action)
}

/// Refuses a sequence with components that the identity may not invoke.
pub(crate) async fn require_components(
    controller: &Controller,
    identity: &Identity,
    action: &ResolvedAction,
) -> Result<(), ApiError> {
    let mut verdicts = Vec::new();
    for component in action.executable.exec.components.iter().filter_map(ActionAddress::of) {
        verdicts.push(controller.rights(identity).action(Privilege::Activate, &component).await?);
    }
    entitle::all(verdicts).required()
}

/// Refuses an action of a kind that the platform runs no more.
pub(crate) fn require_runnable(action: &ResolvedAction) -> Result<(), ApiError> {
    let kind = &action.executable.exec.kind;
    match action.kind {
        KindState::Runs => Ok(()),
        KindState::Deprecated => Err(ApiError::bad_request(error_text::deprecated_kind(kind))),
        KindState::Removed => Err(ApiError::bad_request(error_text::unsupported_kind(kind))),
    }
}

/// Refuses a payload that sets what the action declares final.
pub(crate) fn require_finals(action: &ResolvedAction, payload: &RawJson) -> Result<(), ApiError> {
    if action.finals.is_empty() {
        return Ok(());
    }
    let entries = payload.entries().unwrap_or_default();
    if entries.iter().any(|(key, _)| action.finals.contains(&**key)) {
        return Err(ApiError::bad_request(error_text::FINAL_PARAMETERS));
    }
    Ok(())
}

/// Begins an activation that holds this place among those in flight until it ends.
pub(crate) fn start(
    controller: &Arc<Controller>,
    request: Request,
    permit: Permit,
) -> Result<(ActivationId, Running), ApiError> {
    let (id, ticket) = begin(controller, request)?;
    Ok((id, Running::new(ticket, permit)))
}

/// The record of a blocking activation, once it is as safe as it is to be before its caller is answered.
pub(crate) async fn kept(
    controller: &Controller,
    id: ActivationId,
    durability: Durability,
    end: impl Future<Output = Arc<Activation>>,
) -> Result<Arc<Activation>, ApiError> {
    let record = end.await;
    if durability.is_memory() {
        return Ok(record);
    }
    let kept = on_the_disk(controller, durability, Position::END).await;
    kept.map_err(|why| ApiError::record_not_known_safe(id, &why))?;
    Ok(record)
}

/// Waits until an accepted activation is as safe as it is to be before anybody is told of it.
pub(crate) async fn committed(
    controller: &Controller,
    id: ActivationId,
    durability: Durability,
    position: Position,
) -> Result<(), ApiError> {
    on_the_disk(controller, durability, position).await.map_err(|why| ApiError::not_known_safe(id, &why))
}

/// Waits for the log to be on the disk, as long as somebody can be expected to wait for a disk that does not answer.
async fn on_the_disk(
    controller: &Controller,
    durability: Durability,
    position: Position,
) -> Result<(), Rejection> {
    let committed = controller.invoke.under_way().committed(durability, position);
    tokio::time::timeout(LONGEST_COMMIT, committed).await.unwrap_or_else(|_| {
        let why = format!("the log was not on the disk within {} s", LONGEST_COMMIT.as_secs());
        Err(Rejection::NotRecorded(StoreError::Unavailable(why)))
    })
}
