//! Compositions: a conductor says which action runs next, and hears what came of it, until it asks for none.

mod answer;
mod state;

use std::sync::Arc;

use chasen_entity::{Activation, ActivationId, FullyQualifiedName, RawJson, Role};
use chasen_spi::{BoxFuture, Privilege, Rejection, Ticket};

pub(super) use self::state::Counts;
use self::state::{Effect, Event, Frame, State, step};
use super::Request;
use super::sequence;
use super::session::{Step, Work};
use super::sort::Sort;
use crate::clock;
use crate::controller::Controller;
use crate::entities::{ActionAddress, LoadError, ResolvedAction};
use crate::entitle::Verdict;

/// Begins a composition that somebody asked for.
pub(super) fn begin(
    controller: &Arc<Controller>,
    request: Request,
) -> Result<(ActivationId, Ticket), Rejection> {
    let conductor = request.action.clone();
    let work = Work::open(controller, request, Role::Composition)?;
    Ok((work.id(), ticket(work, conductor)))
}

/// The work of a composition that nothing lies around.
pub(super) fn ticket(work: Work, conductor: Arc<ResolvedAction>) -> Ticket {
    let payload = work.invocation.arguments.clone();
    let position = work.position();
    let run = run(work, conductor, payload, Counts::default());
    Ticket::new(position, Box::pin(async move { run.await.0 }))
}

/// Runs a composition to its record. `counts` is what the compositions around it have run; the result's count on from
/// there.
pub(super) fn run(
    work: Work,
    conductor: Arc<ResolvedAction>,
    payload: RawJson,
    counts: Counts,
) -> BoxFuture<(Arc<Activation>, Counts)> {
    Box::pin(async move {
        work.started();
        let frame = Frame {
            namespace: work.invocation.identity.namespace.name.clone(),
            limit: work.controller.config.sequence_length,
        };
        let mut state = State::New(frame, counts);
        let mut event = Event::Begin(payload);
        let mut component = None;
        loop {
            let (next, effect) = step(state, event, clock::now());
            state = next;
            event = match effect {
                Some(Effect::Conduct(payload, counts)) => {
                    taken(work.run_action(conductor.clone(), payload, counts).await)
                }
                Some(Effect::Find(name)) => match find(&work, &name).await {
                    Ok((action, sort)) => {
                        component = Some(action);
                        Event::Found(sort)
                    }
                    Err(event) => event,
                },
                Some(Effect::Run(payload, counts)) => match component.take() {
                    Some(action) => {
                        hold(&work, state.held(), run_component(&work, action, payload, counts)).await
                    }
                    None => Event::Failed,
                },
                Some(Effect::Finish(ending, counts)) => return (work.finish(ending), counts),
                None => Event::Failed,
            };
        }
    })
}

/// The action of this name, if the session's identity may invoke it.
async fn find(work: &Work, name: &FullyQualifiedName) -> Result<(Arc<ResolvedAction>, Sort), Event> {
    let controller = &work.controller;
    let address = ActionAddress::of(name).ok_or(Event::Missing)?;
    let rights = controller.rights(&work.invocation.identity);
    match rights.action(Privilege::Activate, &address).await {
        Ok(Verdict::Allowed) => {}
        Err(LoadError::Store(error)) => return Err(failed(work, &error)),
        Ok(Verdict::Refused(_)) | Err(_) => return Err(Event::NotEntitled),
    }
    match controller.entities.resolve_action(&address).await {
        Ok(action) => match Sort::of_step(&action) {
            Some(sort) => Ok((action, sort)),
            None => Err(Event::Failed),
        },
        Err(LoadError::Store(error)) => Err(failed(work, &error)),
        Err(_) => Err(Event::Missing),
    }
}

fn failed(work: &Work, why: &dyn std::fmt::Display) -> Event {
    tracing::warn!(activation = %work.id(), %why, "the next action of a composition cannot be read");
    Event::Failed
}

/// Does something while this many bytes are kept in memory, if there is room for them.
async fn hold(work: &Work, bytes: usize, meanwhile: impl Future<Output = Event>) -> Event {
    let mut held = work.controller.conductors.held_by(&work.invocation.identity.namespace);
    if work.controller.conductors.cover_all(&mut held, bytes as u64).is_err() {
        return failed(work, &"no memory is left for what conductors keep");
    }
    meanwhile.await
}

async fn run_component(work: &Work, action: Arc<ResolvedAction>, payload: RawJson, counts: Counts) -> Event {
    taken(match Sort::of(&action) {
        Sort::Action => work.run_action(action, payload, counts).await,
        Sort::Sequence => {
            let run = |nested| sequence::run(nested, payload, 0);
            work.run_session(action, Role::Sequence, run).await.counted(counts)
        }
        Sort::Composition => {
            let conductor = action.clone();
            let run = |nested| run(nested, conductor, payload, counts);
            work.run_session(action, Role::Composition, run).await
        }
    })
}

fn taken(step: Step<Counts>) -> Event {
    match step {
        Step::Ended(record, counts) => Event::Ended(record, counts),
        Step::Late(id) => Event::Late(id),
        Step::TooFar => Event::TooFar,
        Step::Failed => Event::Failed,
    }
}
