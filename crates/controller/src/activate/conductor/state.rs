//! How a composition goes: the conductor and the components that it asks for, in turns. Pure.

use std::sync::Arc;

use chasen_entity::{
    Activation, ActivationId, EntityName, FullyQualifiedName, Millis, Outcome, RawJson, Response, error_text,
};
use serde::{Deserialize, Serialize};

use super::answer::{Answer, next_input};
use crate::activate::ledger::{Ending, Ledger};
use crate::activate::sort::Sort;

/// What a composition and the compositions in it have run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::activate) struct Counts {
    pub(super) components: u32,
    pub(super) conductors: u32,
}

impl Counts {
    /// With those of a composition that took so many steps: its conductor and its components in turns.
    pub(super) fn with_steps(self, steps: usize) -> Self {
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        Self {
            components: self.components.saturating_add(steps / 2),
            conductors: self.conductors.saturating_add(steps.div_ceil(2)),
        }
    }
}

/// What holds for all of a composition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Frame {
    /// Namespace of the caller, which short names lie in.
    pub(super) namespace: EntityName,
    /// Most components. Its conductors may run once more than twice as often.
    pub(super) limit: u32,
}

/// Where a composition stands. Noted before its conductor or a component runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    New(Frame, Counts),
    /// The conductor runs.
    Conducting(Running),
    /// The next component is looked for.
    Finding {
        running: Running,
        next: Next,
    },
    /// A component runs; what the conductor wants back with its result.
    Component {
        running: Running,
        name: FullyQualifiedName,
        state: Option<RawJson>,
    },
    Ended,
}

/// See [`State`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Running {
    frame: Frame,
    counts: Counts,
    ledger: Ledger,
}

/// What the conductor asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Next {
    name: FullyQualifiedName,
    payload: RawJson,
    state: Option<RawJson>,
}

/// What happens to a composition.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// It begins with this payload.
    Begin(RawJson),
    /// The component was found.
    Found(Sort),
    /// There is no such component.
    Missing,
    /// The caller may not invoke the component.
    NotEntitled,
    /// What ran has ended, with these counts.
    Ended(Arc<Activation>, Counts),
    /// What ran took longer than is waited for.
    Late(ActivationId),
    /// What ran ended in an earlier life of the node, and nobody knows how.
    Lost(ActivationId),
    /// Somebody wants it to end; what ran ends, too.
    Cancelled(Option<ActivationId>),
    /// What was to run would lie too deep, or be one too many.
    TooFar,
    /// What was to run could not be run.
    Failed,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Run the conductor.
    Conduct(RawJson, Counts),
    /// Look for a component that the caller may invoke.
    Find(FullyQualifiedName),
    /// Run the component that was found.
    Run(RawJson, Counts),
    /// Write the record.
    Finish(Ending, Counts),
}

/// The next state and what is to be done.
pub(super) fn step(state: State, event: Event, now: Millis) -> (State, Option<Effect>) {
    match (state, event) {
        (State::New(frame, counts), Event::Begin(payload)) => {
            Running { frame, counts, ledger: Ledger::begin(now) }.conduct(payload, now)
        }
        (State::Conducting(running), Event::Ended(record, counts)) => running.conducted(&record, counts, now),
        (State::Component { running, state, .. }, Event::Ended(record, counts)) => {
            let mut running = Running { counts, ..running };
            running.ledger.ended(&record);
            running.conduct(next_input(record.response.result.as_ref(), state.as_ref()), now)
        }
        (State::Finding { running, next }, Event::Found(sort)) => running.run(next, sort),
        (State::Finding { running, next }, Event::Missing) => {
            running.tell(&error_text::action_not_resolved(&next.name), next.state.as_ref(), now)
        }
        (State::Finding { running, next }, Event::NotEntitled) => {
            running.tell(&error_text::action_not_entitled(&next.name), next.state.as_ref(), now)
        }
        (State::Component { running, state, .. }, Event::TooFar) => {
            running.tell(error_text::COMPOSITION_TOO_LONG, state.as_ref(), now)
        }
        (State::Conducting(running), Event::TooFar) => {
            running.fail(Outcome::ApplicationError, error_text::COMPOSITION_TOO_LONG, now)
        }
        (State::Conducting(mut running) | State::Component { mut running, .. }, Event::Late(id)) => {
            running.ledger.begun_only(id);
            running.fail(Outcome::WhiskError, &error_text::composition_late(id), now)
        }
        (State::Conducting(mut running) | State::Component { mut running, .. }, Event::Lost(id)) => {
            running.ledger.begun_only(id);
            running.fail(Outcome::WhiskError, error_text::INTERRUPTED, now)
        }
        (
            State::Conducting(mut running)
            | State::Component { mut running, .. }
            | State::Finding { mut running, .. },
            Event::Cancelled(id),
        ) => {
            if let Some(id) = id {
                running.ledger.begun_only(id);
            }
            running.fail(Outcome::ApplicationError, error_text::CANCELLED, now)
        }
        (
            State::Conducting(running) | State::Component { running, .. } | State::Finding { running, .. },
            Event::Failed,
        ) => running.fail(Outcome::WhiskError, error_text::COMPOSITION_FAILED, now),
        (state, _) => (state, None),
    }
}

impl State {
    /// What is to be done with this payload where it stands; nothing where nothing runs.
    pub(super) fn go_on(&self, payload: RawJson) -> Option<Effect> {
        match self {
            Self::Conducting(running) => Some(Effect::Conduct(payload, running.counts)),
            Self::Component { running, .. } => Some(Effect::Run(payload, running.counts)),
            Self::New(..) | Self::Finding { .. } | Self::Ended => None,
        }
    }

    /// The component that runs.
    pub(super) fn component(&self) -> Option<&FullyQualifiedName> {
        match self {
            Self::Component { name, .. } => Some(name),
            _ => None,
        }
    }

    /// Bytes that wait for the end of a component.
    pub(super) fn held(&self) -> usize {
        match self {
            Self::Component { state: Some(state), .. } => state.as_str().len(),
            _ => 0,
        }
    }
}

impl Running {
    fn conduct(mut self, payload: RawJson, now: Millis) -> (State, Option<Effect>) {
        if self.counts.conductors > self.frame.limit.saturating_mul(2) {
            return self.fail(Outcome::ApplicationError, error_text::COMPOSITION_TOO_LONG, now);
        }
        self.counts.conductors += 1;
        let effect = Effect::Conduct(payload, self.counts);
        (State::Conducting(self), Some(effect))
    }

    fn conducted(mut self, record: &Activation, counts: Counts, now: Millis) -> (State, Option<Effect>) {
        self.counts = counts;
        self.ledger.ended(record);
        match Answer::read(record.response.result.as_ref(), &self.frame.namespace) {
            Answer::Done(result) => {
                self.finish(Response { outcome: record.response.outcome, result, size: None }, now)
            }
            Answer::Nameless { json, state } => {
                self.tell(&error_text::no_action_name(&json), state.as_ref(), now)
            }
            Answer::Next { state, .. } if self.counts.components >= self.frame.limit => {
                self.tell(error_text::COMPOSITION_TOO_LONG, state.as_ref(), now)
            }
            Answer::Next { name, payload, state } => {
                let effect = Effect::Find(name.clone());
                (State::Finding { running: self, next: Next { name, payload, state } }, Some(effect))
            }
        }
    }

    fn run(mut self, next: Next, sort: Sort) -> (State, Option<Effect>) {
        // A composition in this one counts by its own steps.
        self.counts.components += u32::from(sort != Sort::Composition);
        let effect = Effect::Run(next.payload, self.counts);
        (State::Component { running: self, name: next.name, state: next.state }, Some(effect))
    }

    /// Lets the conductor decide what becomes of a problem.
    fn tell(self, problem: &str, state: Option<&RawJson>, now: Millis) -> (State, Option<Effect>) {
        self.conduct(next_input(Some(&RawJson::error(problem)), state), now)
    }

    fn fail(self, outcome: Outcome, text: &str, now: Millis) -> (State, Option<Effect>) {
        self.finish(Response::error(outcome, text), now)
    }

    fn finish(self, response: Response, now: Millis) -> (State, Option<Effect>) {
        (State::Ended, Some(Effect::Finish(self.ledger.close(response, now), self.counts)))
    }
}

#[cfg(test)]
mod tests;
