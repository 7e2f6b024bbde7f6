//! The machine of compositions: a table of what it does, and what holds whatever happens.

use chasen_entity::{ActivationId, Outcome, RawJson, Response};
use proptest::prelude::*;

use super::*;
use crate::activate::ledger::tests::{json, record};

const NEXT: &str = r#"{"action":"a","params":{"p":1},"state":{"s":2}}"#;

fn begun(limit: u32) -> (State, Counts) {
    let frame = Frame { namespace: EntityName::new("guest").unwrap(), limit };
    let (state, effect) = step(State::New(frame, Counts::default()), Event::Begin(json(r#"{"x":1}"#)), 100);
    match effect {
        Some(Effect::Conduct(payload, counts)) => {
            assert_eq!(payload, json(r#"{"x":1}"#));
            (state, counts)
        }
        other => panic!("{other:?}"),
    }
}

/// The composition after its conductor has asked for `a`.
fn finding() -> (State, Counts) {
    let (state, counts) = begun(50);
    let (state, effect) = step(state, Event::Ended(record(Outcome::Success, NEXT), counts), 110);
    assert_eq!(effect, Some(Effect::Find(FullyQualifiedName::parse("/guest/a").unwrap())));
    (state, counts)
}

/// The composition while `a` runs.
fn running() -> (State, Counts) {
    let (state, effect) = step(finding().0, Event::Found(Sort::Action), 120);
    match effect {
        Some(Effect::Run(payload, counts)) => {
            assert_eq!((payload, counts), (json(r#"{"p":1}"#), Counts { components: 1, conductors: 1 }));
            (state, counts)
        }
        other => panic!("{other:?}"),
    }
}

fn conducted_with((state, event): (State, Event)) -> RawJson {
    match step(state, event, 130) {
        (State::Conducting(_), Some(Effect::Conduct(payload, _))) => payload,
        other => panic!("{other:?}"),
    }
}

fn ended_with((state, event): (State, Event)) -> Ending {
    match step(state, event, 130) {
        (State::Ended, Some(Effect::Finish(ending, _))) => ending,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_conductor_that_asks_for_nothing_ends_it_in_its_own_way() {
    for (outcome, result, end) in [
        (Outcome::Success, r#"{"a":1}"#, r#"{"a":1}"#),
        (Outcome::Success, r#"{"params":{"b":2},"state":{}}"#, r#"{"b":2}"#),
        (Outcome::ApplicationError, r#"{"error":"e"}"#, r#"{"error":"e"}"#),
        (Outcome::DeveloperError, r#"{"error":"e"}"#, r#"{"error":"e"}"#),
    ] {
        let (state, counts) = begun(50);
        let record = record(outcome, result);
        let ending = ended_with((state, Event::Ended(record.clone(), counts)));
        assert_eq!(ending.response, Response { outcome, result: Some(json(end)), size: None });
        assert_eq!((ending.steps, ending.duration), (vec![record.activation_id], 3));
    }
}

#[test]
fn results_and_problems_go_back_to_the_conductor_with_its_state() {
    let ended = |result: &str| {
        let (state, counts) = running();
        (state, Event::Ended(record(Outcome::Success, result), counts))
    };
    for (case, input) in [
        (ended(r#"{"r":1,"s":0}"#), r#"{"r":1,"s":2}"#),
        (ended("[1,2]"), r#"{"value":[1,2],"s":2}"#),
        (ended(r#"{"error":"e"}"#), r#"{"error":"e","s":2}"#),
        (
            (finding().0, Event::Missing),
            r#"{"error":"Failed to resolve action with name 'guest/a' during composition.","s":2}"#,
        ),
        (
            (finding().0, Event::NotEntitled),
            r#"{"error":"Failed entitlement check for action with name 'guest/a' during composition.","s":2}"#,
        ),
        ((running().0, Event::TooFar), r#"{"error":"Too many actions in the composition.","s":2}"#),
    ] {
        assert_eq!(conducted_with(case), json(input));
    }
    let (state, counts) = begun(50);
    let nameless = record(Outcome::Success, r#"{"action":"a#","state":{"s":2}}"#);
    assert_eq!(
        conducted_with((state, Event::Ended(nameless, counts))),
        json(r#"{"error":"Failed to parse action name from json value \"a#\" during composition.","s":2}"#)
    );
}

#[test]
fn what_cannot_be_run_ends_it() {
    let id = ActivationId::from_bytes([0xab; 16]);
    let late = format!("Timeout reached when retrieving activation {} during composition.", "ab".repeat(16));
    for (case, text, last) in [
        ((begun(50).0, Event::Late(id)), late.as_str(), Some(id)),
        ((running().0, Event::Late(id)), &late, Some(id)),
        ((begun(50).0, Event::Failed), "Activation failure during composition.", None),
        ((finding().0, Event::Failed), "Activation failure during composition.", None),
        ((running().0, Event::Failed), "Activation failure during composition.", None),
    ] {
        let ending = ended_with(case);
        assert_eq!(ending.response, Response::error(Outcome::WhiskError, text));
        assert!(last.is_none() || ending.steps.last() == last.as_ref());
    }
}

/// Runs a composition whose conductor asks for `asked` actions, one after the other, and forwards what it is told.
fn composition_of(asked: u32, limit: u32) -> (Ending, Counts) {
    let (mut state, counts) = begun(limit);
    let mut event = Event::Ended(record(Outcome::Success, NEXT), counts);
    let mut left = asked;
    loop {
        let (next, effect) = step(state, event, 1);
        state = next;
        event = match effect {
            Some(Effect::Find(_)) => {
                left -= 1;
                Event::Found(Sort::Action)
            }
            Some(Effect::Run(_, counts)) => Event::Ended(record(Outcome::Success, "{}"), counts),
            Some(Effect::Conduct(payload, counts)) => {
                let answer = match payload.get("error") {
                    Some(_) => record(Outcome::ApplicationError, payload.as_str()),
                    None if left > 0 => record(Outcome::Success, NEXT),
                    None => record(Outcome::Success, "{}"),
                };
                Event::Ended(answer, counts)
            }
            Some(Effect::Finish(ending, counts)) => return (ending, counts),
            None => panic!("it stands still"),
        };
    }
}

#[test]
fn as_many_components_as_the_limit_and_no_more() {
    let (ending, counts) = composition_of(50, 50);
    assert_eq!((ending.response.outcome, ending.duration), (Outcome::Success, 3 * 101));
    assert_eq!(counts, Counts { components: 50, conductors: 51 });
    let (ending, counts) = composition_of(51, 50);
    assert_eq!(ending.response.outcome, Outcome::ApplicationError);
    let text = r#"{"error":"Too many actions in the composition.","s":2}"#;
    assert_eq!((ending.response.result, counts.components), (Some(json(text)), 50));
}

#[test]
fn a_conductor_that_never_stops_is_stopped() {
    let (mut state, counts) = begun(3);
    let mut event = Event::Ended(record(Outcome::Success, r#"{"action":7}"#), counts);
    loop {
        let (next, effect) = step(state, event, 1);
        state = next;
        event = match effect {
            Some(Effect::Conduct(_, counts)) => {
                Event::Ended(record(Outcome::Success, r#"{"action":7}"#), counts)
            }
            Some(Effect::Finish(ending, counts)) => {
                let text = "Too many actions in the composition.";
                assert_eq!(ending.response, Response::error(Outcome::ApplicationError, text));
                assert_eq!((counts.conductors, ending.steps.len()), (7, 7));
                return;
            }
            other => panic!("{other:?}"),
        };
    }
}

/// What happens next to whatever runs or is looked for.
#[derive(Debug, Clone)]
enum Fate {
    Gives(Outcome, &'static str),
    Nested(u32, u32),
    Found(Sort),
    Missing,
    NotEntitled,
    Late,
    TooFar,
    Failed,
}

fn fates() -> impl Strategy<Value = Fate> {
    prop_oneof![
        12 => Just(Fate::Gives(Outcome::Success, NEXT)),
        2 => Just(Fate::Gives(Outcome::Success, r#"{"action":"a#"}"#)),
        2 => Just(Fate::Gives(Outcome::Success, "[1]")),
        1 => Just(Fate::Gives(Outcome::Success, "{}")),
        1 => Just(Fate::Gives(Outcome::ApplicationError, r#"{"error":1}"#)),
        3 => (0u32..3, 1u32..4).prop_map(|(components, conductors)| Fate::Nested(components, conductors)),
        6 => Just(Fate::Found(Sort::Action)),
        2 => Just(Fate::Found(Sort::Sequence)),
        2 => Just(Fate::Found(Sort::Composition)),
        1 => Just(Fate::Missing),
        1 => Just(Fate::NotEntitled),
        1 => Just(Fate::Late),
        1 => Just(Fate::TooFar),
        1 => Just(Fate::Failed),
    ]
}

proptest! {
    #[test]
    fn every_composition_ends_once_and_tells_exactly_what_it_ran(
        fates in prop::collection::vec(fates(), 1..60),
        limit in 0u32..6,
    ) {
        let frame = Frame { namespace: EntityName::new("guest").unwrap(), limit };
        let mut state = State::New(frame, Counts::default());
        let mut event = Event::Begin(RawJson::empty_object());
        let mut fates = fates.into_iter();
        let (mut ran, mut counts_now, mut duration) = (Vec::new(), Counts::default(), 0);
        let (ending, total) = loop {
            let (next, effect) = step(state, event, 7);
            match effect {
                Some(Effect::Finish(ending, total)) => {
                    state = next;
                    break (ending, total);
                }
                Some(Effect::Conduct(_, counts) | Effect::Run(_, counts)) => {
                    prop_assert!(counts.conductors <= 2 * limit + 1 && counts.components <= limit);
                    counts_now = counts;
                }
                // What does not belong here changes nothing.
                Some(Effect::Find(_)) | None => {}
            }
            state = next;
            let runs = matches!(state, State::Conducting(_) | State::Component { .. });
            event = match fates.next().unwrap_or(Fate::Failed) {
                Fate::Gives(outcome, result) => {
                    let record = record(outcome, result);
                    if runs {
                        ran.push(record.activation_id);
                        duration += 3;
                    }
                    Event::Ended(record, counts_now)
                }
                Fate::Nested(components, conductors) => {
                    let record = record(Outcome::Success, "{}");
                    if runs {
                        ran.push(record.activation_id);
                        duration += 3;
                    }
                    // What is nested stops at the limits, too.
                    let components = (counts_now.components + components).min(limit);
                    let conductors = (counts_now.conductors + conductors).min(2 * limit + 1);
                    Event::Ended(record, Counts { components, conductors })
                }
                Fate::Late => {
                    let id = ActivationId::generate();
                    if runs {
                        ran.push(id);
                    }
                    Event::Late(id)
                }
                Fate::Found(sort) => Event::Found(sort),
                Fate::Missing => Event::Missing,
                Fate::NotEntitled => Event::NotEntitled,
                Fate::TooFar => Event::TooFar,
                Fate::Failed => Event::Failed,
            };
        };
        prop_assert_eq!(&state, &State::Ended);
        prop_assert_eq!(&ending.steps, &ran);
        prop_assert_eq!((ending.duration, ending.response.size), (duration, None));
        prop_assert!(total.conductors <= 2 * limit + 1 && total.components <= limit);
        for event in [Event::Failed, Event::Missing, Event::Begin(RawJson::empty_object())] {
            prop_assert_eq!(step(state.clone(), event, 9), (State::Ended, None));
        }
    }
}
