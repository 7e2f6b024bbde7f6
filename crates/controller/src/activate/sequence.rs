//! Sequences: their components run one after the other, each with what the one before gave.

mod state;

use std::sync::Arc;

use chasen_entity::{Activation, ActivationId, FullyQualifiedName, RawJson, Role};
use chasen_spi::{BoxFuture, Rejection, Ticket};
use futures_util::future::join_all;

use self::state::{Component, Effect, Event, State, step};
use super::Request;
use super::conductor::{self, Counts};
use super::session::{Step, Work};
use super::sort::Sort;
use crate::clock;
use crate::controller::Controller;
use crate::entities::{ActionAddress, LoadError, ResolvedAction};

/// Begins a sequence that somebody asked for.
pub(super) fn begin(
    controller: &Arc<Controller>,
    request: Request,
) -> Result<(ActivationId, Ticket), Rejection> {
    let work = Work::open(controller, request, Role::Sequence)?;
    Ok((work.id(), ticket(work)))
}

/// The work of a sequence that nothing lies around.
pub(super) fn ticket(work: Work) -> Ticket {
    let payload = work.invocation.arguments.clone();
    let position = work.position();
    let run = run(work, payload, 0);
    Ticket::new(position, Box::pin(async move { run.await.0 }))
}

/// Runs a sequence to its record. `count` is how many actions the sequences around it have run; the result's counts
/// on from there.
pub(super) fn run(work: Work, payload: RawJson, count: u32) -> BoxFuture<(Arc<Activation>, u32)> {
    Box::pin(async move {
        work.started();
        let actions = look_up(&work.controller, &work.invocation.action.exec.components).await;
        let components = actions.iter().map(component).collect();
        let mut state = State::New { limit: work.controller.config.sequence_length, count };
        let mut event = Event::Begin(components, payload);
        loop {
            let (next, effect) = step(state, event, clock::now());
            state = next;
            event = match effect {
                Some(Effect::Run { component, payload, count }) => match actions.get(component) {
                    Some(Ok(action)) => run_component(&work, action.clone(), payload, count).await,
                    _ => Event::Failed,
                },
                Some(Effect::Finish(ending, count)) => return (work.finish(ending), count),
                None => Event::Failed,
            };
        }
    })
}

/// All components as they are now, whatever becomes of them while the sequence runs.
async fn look_up(
    controller: &Controller,
    components: &[FullyQualifiedName],
) -> Vec<Result<Arc<ResolvedAction>, LoadError>> {
    let one = async |name| match ActionAddress::of(name) {
        Some(address) => controller.entities.resolve_action(&address).await,
        None => Err(LoadError::Missing),
    };
    join_all(components.iter().map(one)).await
}

fn component(found: &Result<Arc<ResolvedAction>, LoadError>) -> Component {
    match found {
        Ok(action) => Sort::of_step(action).map_or(Component::Unusable, Component::Found),
        Err(LoadError::Missing) => Component::Missing,
        Err(_) => Component::Unusable,
    }
}

async fn run_component(work: &Work, action: Arc<ResolvedAction>, payload: RawJson, count: u32) -> Event {
    let taken = match Sort::of(&action) {
        Sort::Action => work.run_action(action, payload, count).await,
        Sort::Sequence => {
            work.run_session(action, Role::Sequence, |nested| run(nested, payload, count)).await
        }
        Sort::Composition => {
            let conductor = action.clone();
            let counts = Counts::default();
            let run = |nested| conductor::run(nested, conductor, payload, counts);
            work.run_session(action, Role::Composition, run).await.counted(count)
        }
    };
    match taken {
        Step::Ended(record, count) => Event::Ended(record, count),
        Step::Late(id) => Event::Late(id),
        Step::TooFar => Event::TooFar,
        Step::Failed => Event::Failed,
    }
}
