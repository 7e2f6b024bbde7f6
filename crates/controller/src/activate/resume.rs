//! Sequences and compositions that the scheduler hands back: due now, or left by an earlier life of the node.

use std::sync::Arc;

use chasen_entity::{Activation, FullyQualifiedName, Invocation, Outcome, Response, Role, error_text};
use chasen_spi::event_log::Unfinished;
use chasen_spi::{ActivationQuery, Session};

use super::conductor::{self, Counts};
use super::ledger::Ledger;
use super::sequence;
use super::session::Work;
use crate::clock;
use crate::controller::Controller;
use crate::entities::versions::Asked;
use crate::entities::{ActionAddress, LoadError, ResolvedAction};

/// Runs one from where it stands.
pub(super) async fn resume(controller: &Arc<Controller>, session: Session, unfinished: Unfinished) {
    let work = Work::handed_back(controller, session, unfinished);
    if work.invocation.role == Role::Sequence {
        sequence::run(work, 0).await;
    } else {
        conductor::run(work, None, Counts::default()).await;
    }
}

/// The conductor of a composition as it is now, or in the earlier version that was asked for; the end of a composition
/// that has none.
pub(super) async fn action(work: &Work) -> Result<Arc<ResolvedAction>, (Outcome, &'static str)> {
    let (entities, action) = (&work.controller.entities, &work.invocation.action);
    let found = match address(&work.invocation) {
        Some(address) if action.superseded => {
            match entities.resolve_version(&address, action.version).await {
                Ok(Asked::Found(action)) => Ok(action),
                Ok(Asked::NotKept(_)) => Err(LoadError::Missing),
                Err(error) => Err(error),
            }
        }
        Some(address) => entities.resolve_action(&address).await,
        None => Err(LoadError::Missing),
    };
    found.map_err(|error| match error {
        LoadError::Missing => (Outcome::ApplicationError, error_text::ACTION_GONE),
        _ => (Outcome::WhiskError, error_text::ACTION_NOT_FETCHED),
    })
}

/// Ends one of which nobody knows how far it came.
pub(super) async fn interrupted(work: Work) -> Arc<Activation> {
    end(work, Outcome::WhiskError, error_text::INTERRUPTED).await
}

/// Ends one with the steps that have their records.
pub(super) async fn end(work: Work, outcome: Outcome, text: &str) -> Arc<Activation> {
    let steps = steps(&work.controller, &work.invocation).await;
    let begun = steps.first().map_or(work.invocation.accepted_at, |first| first.start);
    let mut ledger = Ledger::begin(begun);
    for step in &steps {
        ledger.ended(step);
    }
    work.finish(ledger.close(Response::error(outcome, text), clock::now()))
}

/// Where the action was invoked: through its binding, if it was reached through one.
pub(crate) fn address(invocation: &Invocation) -> Option<ActionAddress> {
    address_of(&invocation.action.name, invocation.binding.as_deref())
}

/// The same for an action of this name that was reached through this binding.
pub(super) fn address_of(name: &FullyQualifiedName, binding: Option<&str>) -> Option<ActionAddress> {
    match binding {
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
