//! The machine of sequences: a table of what it does, and what holds whatever happens.

use chasen_entity::{ActivationId, Outcome, RawJson, Response};
use proptest::prelude::*;

use super::*;
use crate::activate::ledger::tests::{json, record};

fn begun(limit: u32, components: &[Component], payload: &str) -> (State, Option<Effect>) {
    step(State::New { limit, count: 0 }, Event::Begin(components.to_vec(), json(payload)), 100)
}

const ACTION: Component = Component::Found(Sort::Action);

/// The response in which a sequence ends if its first component does this.
fn end_after(event: Event) -> (Response, Vec<ActivationId>) {
    let (state, _) = begun(50, &[ACTION, ACTION], "{}");
    match step(state, event, 200) {
        (State::Ended, Some(Effect::Finish(ending, _))) => (ending.response, ending.steps),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_component_gives_the_next_one_gets() {
    for (outcome, result, next) in [
        (Outcome::Success, r#"{"a":1.0}"#, Some(r#"{"a":1.0}"#)),
        (Outcome::Success, "[1,2]", Some("[1,2]")),
        (Outcome::Success, r#"[{"error":1}]"#, Some(r#"[{"error":1}]"#)),
        (Outcome::Success, "5", Some("{}")),
        (Outcome::Success, r#"{"error":null}"#, None),
        (Outcome::ApplicationError, r#"{"error":"e"}"#, None),
        (Outcome::DeveloperError, r#"{"error":"e"}"#, None),
    ] {
        let (state, first) = begun(50, &[ACTION, ACTION], r#"{"error":"not of a component"}"#);
        let payload = json(r#"{"error":"not of a component"}"#);
        assert_eq!(first, Some(Effect::Run { component: 0, payload, count: 1 }));
        let record = record(outcome, result);
        let (state, effect) = step(state, Event::Ended(record.clone(), 1), 200);
        match next {
            Some(next) => {
                let payload = json(next);
                assert_eq!(effect, Some(Effect::Run { component: 1, payload, count: 2 }), "{result}");
                let (_, end) = step(state, Event::Ended(record.clone(), 2), 300);
                let Some(Effect::Finish(ending, 2)) = end else { panic!("{end:?}") };
                assert_eq!((ending.start, ending.end, ending.duration), (100, 300, 6));
                assert_eq!((ending.response, ending.steps.len()), (record.response.clone(), 2));
            }
            None => {
                let Some(Effect::Finish(ending, 1)) = effect else { panic!("{effect:?}") };
                assert_eq!(ending.response, record.response);
                assert_eq!(ending.steps, [record.activation_id]);
            }
        }
    }
}

#[test]
fn what_goes_wrong_is_told() {
    let id = ActivationId::from_bytes([0xab; 16]);
    let late =
        format!("Timeout reached when retrieving activation {} for sequence component.", "ab".repeat(16));
    for (event, outcome, text, steps) in [
        (Event::Late(id), Outcome::WhiskError, late.as_str(), vec![id]),
        (Event::Failed, Outcome::WhiskError, "Sequence failed.", vec![]),
        (Event::TooFar, Outcome::ApplicationError, "Too many actions in the sequence.", vec![]),
    ] {
        assert_eq!(end_after(event), (Response::error(outcome, text), steps));
    }
    for (components, limit, outcome, text) in [
        (vec![Component::Missing], 50, Outcome::ApplicationError, "Sequence component does not exist."),
        (vec![Component::Unusable], 50, Outcome::WhiskError, "Sequence failed."),
        (vec![ACTION], 0, Outcome::ApplicationError, "Too many actions in the sequence."),
        (vec![Component::Missing], 0, Outcome::ApplicationError, "Too many actions in the sequence."),
        (vec![], 50, Outcome::WhiskError, "Sequence failed."),
    ] {
        let (state, effect) = begun(limit, &components, "{}");
        let Some(Effect::Finish(ending, 0)) = effect else { panic!("{effect:?}") };
        assert_eq!((state, ending.response), (State::Ended, Response::error(outcome, text)));
    }
}

#[test]
fn actions_of_sequences_inside_count_for_the_one_around() {
    let inner = Component::Found(Sort::Sequence);
    let (state, effect) = begun(3, &[inner, ACTION, ACTION], "{}");
    assert!(matches!(effect, Some(Effect::Run { count: 0, .. })), "{effect:?}");
    let (state, effect) = step(state, Event::Ended(record(Outcome::Success, "{}"), 2), 1);
    assert!(matches!(effect, Some(Effect::Run { count: 3, .. })), "{effect:?}");
    let (_, effect) = step(state, Event::Ended(record(Outcome::Success, "{}"), 3), 1);
    let Some(Effect::Finish(ending, 3)) = effect else { panic!("{effect:?}") };
    let text = "Too many actions in the sequence.";
    assert_eq!(ending.response, Response::error(Outcome::ApplicationError, text));
    assert_eq!(ending.steps.len(), 2);
}

/// What happens to a component that is run.
#[derive(Debug, Clone)]
enum Fate {
    Gives(Outcome, &'static str, u32),
    Late,
    TooFar,
    Failed,
}

fn fates() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => (0u32..4).prop_map(|more| Fate::Gives(Outcome::Success, r#"{"a":1}"#, more)),
        2 => (0u32..4).prop_map(|more| Fate::Gives(Outcome::Success, "[1]", more)),
        1 => Just(Fate::Gives(Outcome::ApplicationError, r#"{"error":1}"#, 0)),
        1 => Just(Fate::Late),
        1 => Just(Fate::TooFar),
        1 => Just(Fate::Failed),
    ]
}

fn components() -> impl Strategy<Value = Component> {
    prop_oneof![
        8 => Just(ACTION),
        3 => Just(Component::Found(Sort::Sequence)),
        2 => Just(Component::Found(Sort::Composition)),
        1 => Just(Component::Missing),
        1 => Just(Component::Unusable),
    ]
}

proptest! {
    #[test]
    fn every_sequence_ends_once_and_tells_exactly_what_it_ran(
        all in prop::collection::vec((components(), fates()), 0..12),
        limit in 0u32..12,
        before in 0u32..12,
    ) {
        let (components, fates): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        let mut state = State::New { limit, count: before };
        let mut event = Event::Begin(components.clone(), RawJson::empty_object());
        let (mut ran, mut duration, mut last) = (Vec::new(), 0, None);
        let (ending, total) = loop {
            let (next, effect) = step(state, event, 7);
            state = next;
            match effect {
                Some(Effect::Run { component, count, .. }) => {
                    prop_assert_eq!(component, ran.len(), "one after the other");
                    prop_assert!(count <= limit, "{} of {}", count, limit);
                    let nested = components[component] == Component::Found(Sort::Sequence);
                    event = match fates[component] {
                        Fate::Gives(outcome, result, more) => {
                            let record = record(outcome, result);
                            ran.push(record.activation_id);
                            duration += 3;
                            last = Some(record.response.clone());
                            // A sequence inside stops at the limit, too.
                            let more = if nested { more.min(limit.saturating_sub(count)) } else { 0 };
                            Event::Ended(record, count + more)
                        }
                        Fate::Late => {
                            let id = ActivationId::generate();
                            ran.push(id);
                            last = None;
                            Event::Late(id)
                        }
                        Fate::TooFar => { last = None; Event::TooFar }
                        Fate::Failed => { last = None; Event::Failed }
                    };
                }
                Some(Effect::Finish(ending, total)) => break (ending, total),
                None => panic!("it stands still"),
            }
        };
        prop_assert_eq!(&state, &State::Ended);
        prop_assert_eq!(&ending.steps, &ran);
        prop_assert_eq!(ending.duration, duration);
        prop_assert!(total <= limit.max(before));
        let platform_made = ending.response.size.is_none();
        prop_assert!(platform_made || Some(&ending.response) == last.as_ref());
        for event in [Event::Failed, Event::Ended(record(Outcome::Success, "{}"), 0), Event::TooFar] {
            prop_assert_eq!(step(state.clone(), event, 9), (State::Ended, None));
        }
    }
}
