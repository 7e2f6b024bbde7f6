//! Compositions: a conductor says which action runs next, and hears what came of it, until it asks for none.

mod answer;
mod state;

use std::sync::Arc;

use chasen_entity::{Activation, ActivationId, FullyQualifiedName, RawJson, Role};
use chasen_spi::{BoxFuture, Privilege, Rejection, Ticket};
use futures_util::FutureExt;

pub(super) use self::state::Counts;
use self::state::{Effect, Event, Frame, State, step};
use super::session::{Begun, NextStep, Standing, Step, Work, unless_cancelled};
use super::sort::Sort;
use super::{Request, resume, sequence};
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
    let (id, position) = (work.id(), work.position());
    let run = run(work, Some(conductor), Counts::default());
    Ok((id, Ticket::new(position, Box::pin(async move { run.await.0 }))))
}

/// Runs a composition to its record, from where it stands; without a conductor with the one that there is now. `counts`
/// is what the compositions around it have run; the result's count on from there.
pub(super) fn run(
    work: Work,
    conductor: Option<Arc<ResolvedAction>>,
    counts: Counts,
) -> BoxFuture<(Arc<Activation>, Counts)> {
    Box::pin(async move {
        let conductor = match conductor {
            Some(conductor) => conductor,
            None => match resume::action(&work).await {
                Ok(conductor) => conductor,
                Err((outcome, text)) => return (resume::end(work, outcome, text).await, counts),
            },
        };
        let (mut state, mut effect, mut noted) = match work.standing::<State>() {
            Standing::New => {
                let frame = Frame {
                    namespace: work.invocation.identity.namespace.name.clone(),
                    limit: work.controller.config.sequence_length,
                };
                let begin = Event::Begin(work.invocation.arguments.clone());
                let (state, effect) = step(State::New(frame, counts), begin, clock::now());
                (state, effect, None)
            }
            Standing::Noted(note) => {
                let effect = note.state.go_on(note.payload);
                (note.state, effect, Some(NextStep::of_earlier_life(note.step)))
            }
            Standing::Unknown => return (resume::interrupted(work).await, counts),
        };
        let mut cancelled = work.cancelled();
        let mut is_first = noted.is_none();
        let mut component = None;
        loop {
            let event = match effect {
                Some(Effect::Conduct(payload, counts)) => {
                    let next = noted.take().unwrap_or_else(|| work.note(&state, &payload, is_first));
                    is_first = false;
                    let found = Some((&conductor, Sort::Action));
                    let taken = take(&work, next, found, payload, counts);
                    taken_event(unless_cancelled(&work, &mut cancelled, next.id, taken).await)
                }
                Some(Effect::Find(name)) => match find(&work, &name).await {
                    Ok((action, sort)) => {
                        component = Some((action, sort));
                        Event::Found(sort)
                    }
                    Err(event) => event,
                },
                Some(Effect::Run(payload, counts)) => {
                    let next = match noted.take() {
                        Some(next) => {
                            component = match state.component() {
                                Some(name) => find(&work, name).await.ok(),
                                None => None,
                            };
                            next
                        }
                        None => work.note(&state, &payload, is_first),
                    };
                    let action = component.take();
                    let found = action.as_ref().map(|(action, sort)| (action, *sort));
                    let taken = take(&work, next, found, payload, counts);
                    let taken = unless_cancelled(&work, &mut cancelled, next.id, taken);
                    hold(&work, state.held(), taken.map(taken_event)).await
                }
                Some(Effect::Finish(ending, counts)) => return (work.finish(ending), counts),
                None => Event::Failed,
            };
            (state, effect) = step(state, event, clock::now());
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

/// Takes a step of a composition.
async fn take(
    work: &Work,
    next: NextStep,
    found: Option<(&Arc<ResolvedAction>, Sort)>,
    payload: RawJson,
    counts: Counts,
) -> Step<Counts> {
    match work.begin(next, found, payload).await {
        Ok(Begun::Action(ticket, most)) => Work::wait(next.id, ticket, most, counts).await,
        Ok(Begun::Ended(record)) => {
            let inside = found.is_some_and(|(_, sort)| sort == Sort::Composition);
            Step::Ended(record.clone(), if inside { counts.with_steps(record.logs.len()) } else { counts })
        }
        Ok(Begun::Session(nested)) if nested.invocation.role == Role::Sequence => {
            work.run_inside(sequence::run(nested, 0)).await.counted(counts)
        }
        Ok(Begun::Session(nested)) => {
            let conductor = found.map(|(action, _)| action.clone());
            work.run_inside(run(nested, conductor, counts)).await
        }
        Err(step) => step,
    }
}

fn taken_event(step: Step<Counts>) -> Event {
    match step {
        Step::Ended(record, counts) => Event::Ended(record, counts),
        Step::Late(id) => Event::Late(id),
        Step::Lost(id) => Event::Lost(id),
        Step::Cancelled(id) => Event::Cancelled(id),
        Step::TooFar => Event::TooFar,
        Step::Failed => Event::Failed,
    }
}
