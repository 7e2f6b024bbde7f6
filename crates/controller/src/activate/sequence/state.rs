//! How a sequence goes: which component runs next, with what, and how it all ends. Pure.

use std::sync::Arc;

use chasen_entity::json::JsonType;
use chasen_entity::{Activation, ActivationId, Millis, Outcome, RawJson, Response, error_text};
use serde::{Deserialize, Serialize};

use crate::activate::ledger::{Ending, Ledger};
use crate::activate::sort::Sort;

/// What was found under the name of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::activate) enum Component {
    Found(Sort),
    Missing,
    /// It cannot be read, or may not be invoked any more.
    Unusable,
}

/// Where a sequence stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    New {
        /// Most actions, those of sequences around and inside included.
        limit: u32,
        /// Actions that the sequences around it have run.
        count: u32,
    },
    Running(Running),
    Ended,
}

/// See [`State`]. Noted before each of its components runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Running {
    limit: u32,
    count: u32,
    /// As they were found when it began, or went on after a crash.
    #[serde(skip)]
    components: Vec<Component>,
    /// The component that runs.
    at: usize,
    ledger: Ledger,
}

/// What happens to a sequence.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// It begins with these components and this payload.
    Begin(Vec<Component>, RawJson),
    /// Its component has ended; so many actions have been run by now.
    Ended(Arc<Activation>, u32),
    /// Its component took longer than is waited for.
    Late(ActivationId),
    /// Its component ended in an earlier life of the node, and nobody knows how.
    Lost(ActivationId),
    /// Somebody wants it to end; the component that ran ends, too.
    Cancelled(Option<ActivationId>),
    /// Its component would lie too deep, or be one too many.
    TooFar,
    /// Its component could not be run.
    Failed,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Run this component; so many actions have been run by then, itself included if it is one.
    Run { component: usize, payload: RawJson, count: u32 },
    /// Write the record. So many actions were run.
    Finish(Ending, u32),
}

/// The next state and what is to be done.
pub(super) fn step(state: State, event: Event, now: Millis) -> (State, Option<Effect>) {
    match (state, event) {
        (State::New { limit, count }, Event::Begin(components, payload)) => {
            Running { limit, count, components, at: 0, ledger: Ledger::begin(now) }.next(payload, now)
        }
        (State::Running(mut running), event) => match event {
            Event::Ended(record, count) => {
                running.ledger.ended(&record);
                running.count = count;
                running.at += 1;
                if stops(&record.response) || running.at == running.components.len() {
                    return running.finish(record.response.clone(), now);
                }
                running.next(passed_on(&record.response), now)
            }
            Event::Late(id) => {
                running.ledger.begun_only(id);
                running.fail(Outcome::WhiskError, &error_text::component_late(id), now)
            }
            Event::Lost(id) => {
                running.ledger.begun_only(id);
                running.fail(Outcome::WhiskError, error_text::INTERRUPTED, now)
            }
            Event::Cancelled(id) => {
                if let Some(id) = id {
                    running.ledger.begun_only(id);
                }
                running.fail(Outcome::ApplicationError, error_text::CANCELLED, now)
            }
            Event::TooFar => running.fail(Outcome::ApplicationError, error_text::SEQUENCE_TOO_LONG, now),
            Event::Failed => running.fail(Outcome::WhiskError, error_text::SEQUENCE_FAILED, now),
            Event::Begin(..) => (State::Running(running), None),
        },
        (state, _) => (state, None),
    }
}

impl Running {
    /// Goes on where it stood, and what is to be done there with this payload.
    pub(super) fn go_on(self, components: Vec<Component>, payload: RawJson) -> (State, Effect) {
        let effect = Effect::Run { component: self.at, payload, count: self.count };
        (State::Running(Self { components, ..self }), effect)
    }

    fn next(mut self, payload: RawJson, now: Millis) -> (State, Option<Effect>) {
        let Some(component) = self.components.get(self.at) else {
            return self.fail(Outcome::WhiskError, error_text::SEQUENCE_FAILED, now);
        };
        match component {
            _ if self.count >= self.limit => {
                self.fail(Outcome::ApplicationError, error_text::SEQUENCE_TOO_LONG, now)
            }
            Component::Missing => self.fail(Outcome::ApplicationError, error_text::COMPONENT_MISSING, now),
            Component::Unusable => self.fail(Outcome::WhiskError, error_text::SEQUENCE_FAILED, now),
            Component::Found(sort) => {
                self.count += u32::from(*sort != Sort::Sequence);
                let effect = Effect::Run { component: self.at, payload, count: self.count };
                (State::Running(self), Some(effect))
            }
        }
    }

    fn fail(self, outcome: Outcome, text: &str, now: Millis) -> (State, Option<Effect>) {
        self.finish(Response::error(outcome, text), now)
    }

    fn finish(self, response: Response, now: Millis) -> (State, Option<Effect>) {
        (State::Ended, Some(Effect::Finish(self.ledger.close(response, now), self.count)))
    }
}

/// True if nothing comes after this response.
fn stops(response: &Response) -> bool {
    response.outcome != Outcome::Success
        || response.result.as_ref().is_some_and(|result| result.get("error").is_some())
}

/// What the next component gets: an object or an array as it is, of anything else nothing.
fn passed_on(response: &Response) -> RawJson {
    match &response.result {
        Some(result) if matches!(result.json_type(), JsonType::Object | JsonType::Array) => result.clone(),
        _ => RawJson::empty_object(),
    }
}

#[cfg(test)]
mod tests;
