//! Activations of actions that a container or isolate runs.

use std::sync::Arc;

use chasen_entity::{ActivationId, Invocation, Outcome, Parameters, RawJson, Response, Role};
use chasen_spi::{Position, Rejection, Ticket};

use super::sort::Sort;
use super::{Request, record, store_level};
use crate::clock;
use crate::controller::Controller;

/// Hands the activation to the scheduler.
pub(super) fn begin(
    controller: &Arc<Controller>,
    request: Request,
) -> Result<(ActivationId, Ticket), Rejection> {
    // The bounds may have been lowered since the action was stored.
    let bounds = request.identity.limits.bounds(controller.config.limit_bounds);
    let violation = request.action.executable.limits.violation(&bounds);
    let invocation = invocation(controller, request);
    let id = invocation.activation_id;
    match violation {
        None => Ok((id, controller.invoke.invoke(invocation)?)),
        Some(text) => Ok((id, refuse(controller, invocation, &text)?)),
    }
}

/// Hands the activation, or the session, to the scheduler until it is due.
pub(super) fn schedule(controller: &Controller, request: Request) -> Result<Position, Rejection> {
    let invocation = match Sort::of(&request.action) {
        Sort::Action => invocation(controller, request),
        Sort::Sequence => bare_invocation(controller, request, Role::Sequence),
        Sort::Composition => bare_invocation(controller, request, Role::Composition),
    };
    controller.invoke.schedule(Arc::new(invocation))
}

/// The invocation of a request: the payload over the parameters, what is locked still so.
fn invocation(controller: &Controller, request: Request) -> Invocation {
    let action = request.action.clone();
    let sets_environment = request.sets_environment;
    let bare = bare_invocation(controller, request, Role::Action);
    let payload = &bare.arguments;
    Invocation {
        locked: if action.has_locked {
            action.parameters.locked(payload).into_iter().chain(bare.locked).collect()
        } else {
            bare.locked
        },
        init_parameters: if action.environment.is_some() {
            let nothing = RawJson::empty_object();
            action.parameters.environment(if sets_environment { payload } else { &nothing })
        } else {
            Parameters::new()
        },
        environment: action.environment.clone(),
        arguments: action.parameters.arguments(bare.arguments),
        ..bare
    }
}

/// The invocation of a request with its payload as it is.
pub(super) fn bare_invocation(controller: &Controller, request: Request, role: Role) -> Invocation {
    let Request { identity, action, payload, blocking, .. } = request;
    let store = store_level(&controller.config, &identity, blocking, request.extra_logging);
    Invocation {
        activation_id: request.id,
        transaction_id: request.transaction_id,
        role,
        action: action.executable.clone(),
        binding: action.binding.clone(),
        arguments: payload,
        locked: request.locked,
        init_parameters: Parameters::new(),
        environment: None,
        blocking,
        cause: request.cause,
        fire: request.fire,
        accepted_at: request.arrived,
        store,
        delivery: action.delivery,
        attempt: 1,
        durability: request.durability,
        due: request.due,
        replay_of: request.replay_of,
        epoch: 0,
        trace_context: request.trace_context,
        identity,
    }
}

/// Ends an activation with an error of the action before it begins.
fn refuse(controller: &Controller, invocation: Invocation, text: &str) -> Result<Ticket, Rejection> {
    let invocation = Arc::new(invocation);
    let session = controller.invoke.open(invocation.clone())?;
    let position = session.position();
    let response = Response::error(Outcome::ApplicationError, text);
    let record = session.finish(record::without_run(&invocation, response, clock::now()));
    Ok(Ticket::new(position, Box::pin(std::future::ready(record))))
}
