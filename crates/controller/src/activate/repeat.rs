//! Activations that repeat an earlier one: with its arguments, as whoever asks now.

use std::collections::BTreeMap;
use std::sync::Arc;

use chasen_entity::{ActivationId, Invocation, RawJson};
use chasen_spi::Privilege;

use super::{admission, resume};
use crate::activate;
use crate::call::Call;
use crate::entities::{ActionAddress, ResolvedAction};
use crate::wire::error::ApiError;

/// What is repeated.
pub(crate) struct Original {
    pub(crate) id: ActivationId,
    /// Where its action was invoked.
    pub(crate) address: Option<ActionAddress>,
    /// What it was called with, the parameters of its action included.
    pub(crate) arguments: RawJson,
    /// Algorithms that arguments are still locked with, by key.
    pub(crate) locked: BTreeMap<String, String>,
}

impl Original {
    /// What was accepted.
    pub(crate) fn of(invocation: &Invocation) -> Self {
        Self {
            id: invocation.activation_id,
            address: resume::address(invocation),
            arguments: invocation.arguments.clone(),
            locked: invocation.locked.clone(),
        }
    }
}

/// Begins it again, as safe as any non-blocking invocation, with this version of its action or the one that there is now.
pub(crate) async fn begin(
    call: &Call<'_>,
    original: Original,
    version: Option<Arc<ResolvedAction>>,
) -> Result<ActivationId, ApiError> {
    let (controller, caller) = (call.controller, &call.caller);
    let permit = controller.throttles.charge(&caller.usage, &caller.identity.limits, call.arrived)?;
    let address = original.address.ok_or_else(ApiError::not_found)?;
    call.rights().action(Privilege::Activate, &address).await?.required()?;
    // What is final was set by the action itself.
    let action = match version {
        Some(action) => action,
        None => controller.entities.resolve_action(&address).await?,
    };
    admission::require_components(controller, &caller.identity, &action).await?;
    admission::require_runnable(&action)?;
    let usual = call.activation(action, original.arguments, false);
    let request = activate::Request {
        sets_environment: false,
        replay_of: Some(original.id),
        locked: original.locked,
        ..usual
    };
    let (id, durability) = (request.id, request.durability);
    let (_, running) = admission::start(controller, request, permit)?;
    let position = running.position();
    drop(running);
    admission::committed(controller, id, durability, position).await?;
    Ok(id)
}
