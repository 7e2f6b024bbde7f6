//! Sequences: their components run one after the other, each with what the one before gave.

mod state;

use std::sync::Arc;

use chasen_entity::{Activation, ActivationId, FullyQualifiedName, RawJson, Role};
use chasen_spi::{BoxFuture, Rejection, Ticket};
use futures_util::future::join_all;

use self::state::{Component, Effect, Event, Running, State, step};
use super::conductor::{self, Counts};
use super::session::{Begun, NextStep, Standing, Step, Work, unless_cancelled};
use super::sort::Sort;
use super::{Request, resume};
use crate::clock;
use crate::controller::Controller;
use crate::entities::{ActionAddress, LoadError, ResolvedAction};

/// Begins a sequence that somebody asked for.
pub(super) fn begin(
    controller: &Arc<Controller>,
    request: Request,
) -> Result<(ActivationId, Ticket), Rejection> {
    let work = Work::open(controller, request, Role::Sequence)?;
    let (id, position) = (work.id(), work.position());
    let run = run(work, 0);
    Ok((id, Ticket::new(position, Box::pin(async move { run.await.0 }))))
}

/// Runs a sequence to its record, from where it stands. `count` is how many actions the sequences around it have run;
/// the result's counts on from there.
pub(super) fn run(work: Work, count: u32) -> BoxFuture<(Arc<Activation>, u32)> {
    Box::pin(async move {
        let actions = look_up(&work.controller, &work.invocation.action.exec.components).await;
        let components = actions.iter().map(component).collect();
        let (mut state, mut effect, mut noted) = match work.standing::<Running>() {
            Standing::New => {
                let state = State::New { limit: work.controller.config.sequence_length, count };
                let begin = Event::Begin(components, work.invocation.arguments.clone());
                let (state, effect) = step(state, begin, clock::now());
                (state, effect, None)
            }
            Standing::Noted(note) => {
                let (state, effect) = note.state.go_on(components, note.payload);
                (state, Some(effect), Some(NextStep::of_earlier_life(note.step)))
            }
            Standing::Unknown => return (resume::interrupted(work).await, count),
        };
        let mut cancelled = work.cancelled();
        let mut is_first = noted.is_none();
        loop {
            let event = match (&state, effect) {
                (State::Running(running), Some(Effect::Run { component, payload, count })) => {
                    let next = noted.take().unwrap_or_else(|| work.note(running, &payload, is_first));
                    is_first = false;
                    let action = actions.get(component).and_then(|found| found.as_ref().ok());
                    let taken = run_component(&work, next, action, payload, count);
                    taken_event(unless_cancelled(&work, &mut cancelled, next.id, taken).await)
                }
                (_, Some(Effect::Finish(ending, count))) => return (work.finish(ending), count),
                _ => Event::Failed,
            };
            (state, effect) = step(state, event, clock::now());
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

async fn run_component(
    work: &Work,
    next: NextStep,
    action: Option<&Arc<ResolvedAction>>,
    payload: RawJson,
    count: u32,
) -> Step<u32> {
    let found = action.map(|action| (action, Sort::of(action)));
    match work.begin(next, found, payload).await {
        Ok(Begun::Action(ticket, most)) => Work::wait(next.id, ticket, most, count).await,
        Ok(Begun::Ended(record)) => {
            let inside =
                if found.is_some_and(|(_, sort)| sort == Sort::Sequence) { record.logs.len() } else { 0 };
            Step::Ended(record, count.saturating_add(u32::try_from(inside).unwrap_or(u32::MAX)))
        }
        Ok(Begun::Session(nested)) if nested.invocation.role == Role::Sequence => {
            work.run_inside(run(nested, count)).await
        }
        Ok(Begun::Session(nested)) => {
            let conductor = action.cloned();
            work.run_inside(conductor::run(nested, conductor, Counts::default())).await.counted(count)
        }
        Err(step) => step,
    }
}

fn taken_event(step: Step<u32>) -> Event {
    match step {
        Step::Ended(record, count) => Event::Ended(record, count),
        Step::Late(id) => Event::Late(id),
        Step::Lost(id) => Event::Lost(id),
        Step::Cancelled(id) => Event::Cancelled(id),
        Step::TooFar => Event::TooFar,
        Step::Failed => Event::Failed,
    }
}
