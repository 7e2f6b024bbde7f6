//! Sequences and compositions that an earlier life of the node accepted and did not finish.

use std::sync::Arc;

use chasen_entity::{Activation, FullyQualifiedName, Invocation, Outcome, Response, Role, error_text};
use chasen_spi::event_log::Unfinished;
use chasen_spi::{ActivationQuery, Session};

use super::ledger::Ledger;
use super::session::Work;
use super::{conductor, sequence};
use crate::clock;
use crate::controller::Controller;
use crate::entities::{ActionAddress, LoadError};

/// True for one that cannot go on: what was between its steps is gone.
pub(super) fn is_interrupted(work: &Unfinished) -> bool {
    let is_session = matches!(work.invocation.role, Role::Sequence | Role::Composition);
    is_session && (work.started.is_some() || work.invocation.cause.is_some())
}

/// Runs one that never began. Any other ends with the steps that it took; those that are sessions themselves must have
/// their records by now.
pub(super) async fn resume(controller: &Arc<Controller>, session: Session, unfinished: Unfinished) {
    let interrupted = is_interrupted(&unfinished);
    let invocation = unfinished.invocation;
    let work = Work::reopened(controller, invocation.clone(), session);
    if interrupted {
        let steps = steps(controller, &invocation).await;
        end(work, &steps, Outcome::WhiskError, error_text::INTERRUPTED);
        return;
    }
    if invocation.role == Role::Sequence {
        sequence::ticket(work).await;
        return;
    }
    let found = match address(&invocation) {
        Some(address) => controller.entities.resolve_action(&address).await,
        None => Err(LoadError::Missing),
    };
    match found {
        Ok(action) => {
            conductor::ticket(work, action).await;
        }
        Err(LoadError::Missing) => end(work, &[], Outcome::ApplicationError, error_text::ACTION_GONE),
        Err(_) => end(work, &[], Outcome::WhiskError, error_text::ACTION_NOT_FETCHED),
    }
}

/// Where the action was invoked: through its binding, if it was reached through one.
fn address(invocation: &Invocation) -> Option<ActionAddress> {
    let name = &invocation.action.name;
    match &invocation.binding {
        None => ActionAddress::of(name),
        Some(binding) => {
            let package = FullyQualifiedName::parse(binding).ok()?;
            ActionAddress::of(&FullyQualifiedName::new(package.into_path(), name.name.clone()))
        }
    }
}

/// The records of its steps, in their order.
async fn steps(controller: &Controller, invocation: &Invocation) -> Vec<Arc<Activation>> {
    // A composition has at most so many components, and twice as many runs of conductors, its own and such of
    // compositions in it.
    let most = u64::from(controller.config.sequence_length).saturating_add(1).saturating_mul(5);
    let query = ActivationQuery {
        namespace: invocation.identity.namespace.name.to_string(),
        cause: Some(invocation.activation_id),
        limit: most,
        ..ActivationQuery::default()
    };
    let mut steps = controller.activations.list(&query).await.unwrap_or_else(|error| {
        let activation = invocation.activation_id;
        tracing::warn!(%activation, %error, "the steps of an interrupted activation cannot be read");
        Vec::new()
    });
    steps.sort_unstable_by_key(|step| step.activation_id);
    steps
}

fn end(work: Work, steps: &[Arc<Activation>], outcome: Outcome, text: &str) {
    let begun = steps.first().map_or(work.invocation.accepted_at, |first| first.start);
    let mut ledger = Ledger::begin(begun);
    for step in steps {
        ledger.ended(step);
    }
    work.finish(ledger.close(Response::error(outcome, text), clock::now()));
}
