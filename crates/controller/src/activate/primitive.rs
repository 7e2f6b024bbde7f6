//! Activations of actions that a container or isolate runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use chasen_entity::{ActivationId, Invocation, Parameters, Role};
use chasen_spi::{Rejection, Ticket};

use super::{Request, store_level};
use crate::controller::Controller;

/// Hands the activation to the scheduler.
pub(super) fn begin(
    controller: &Arc<Controller>,
    request: Request,
) -> Result<(ActivationId, Ticket), Rejection> {
    let invocation = invocation(controller, request, Role::Action);
    let id = invocation.activation_id;
    Ok((id, controller.invoke.invoke(invocation)?))
}

/// The invocation of a request: the payload over the parameters, what is locked still so.
pub(super) fn invocation(controller: &Controller, request: Request, role: Role) -> Invocation {
    let Request { identity, action, payload, blocking, .. } = request;
    let store = store_level(&controller.config, &identity, blocking, request.extra_logging);
    Invocation {
        activation_id: ActivationId::generate(),
        transaction_id: request.transaction_id,
        role,
        action: action.executable.clone(),
        binding: action.binding.clone(),
        locked: if action.has_locked { action.parameters.locked(&payload) } else { BTreeMap::new() },
        init_parameters: if action.has_init {
            action.parameters.environment(&payload)
        } else {
            Parameters::new()
        },
        arguments: action.parameters.arguments(payload),
        blocking,
        cause: request.cause,
        accepted_at: request.arrived,
        store,
        delivery: action.delivery,
        attempt: 1,
        epoch: 0,
        trace_context: request.trace_context,
        identity,
    }
}
