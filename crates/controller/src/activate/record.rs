//! Records of what the controller brings to its end itself. Pure.

use chasen_entity::exec::SEQUENCE;
use chasen_entity::invocation::REPLAY_OF;
use chasen_entity::{ActionLimits, Activation, ActivationId, Invocation, Millis, Parameters, Response, Role};

use super::ledger::Ending;

/// The record of a sequence or composition.
pub(super) fn of_session(invocation: &Invocation, ending: Ending) -> Activation {
    let action = &invocation.action;
    let is_composition = invocation.role == Role::Composition;
    let mut annotations = common(invocation, SEQUENCE, ending.start);
    annotations.set("topmost", &invocation.cause.is_none());
    if is_composition {
        annotations.set("conductor", &true);
    }
    // Of a sequence they tell what its steps had, and there is nothing to tell before the first.
    let own = is_composition.then_some(action.limits.memory);
    if let Some(memory) = ending.memory.or(own) {
        annotations.set("limits", &ActionLimits { memory, ..action.limits });
    }
    ending.used.annotate(&mut annotations);
    Activation {
        start: ending.start,
        end: ending.end,
        duration: Some(ending.duration),
        logs: ending.steps.iter().map(ActivationId::to_string).collect(),
        annotations,
        ..Activation::of(invocation, ending.response)
    }
}

/// The record of an action that did not come to run.
pub(super) fn without_run(invocation: &Invocation, response: Response, now: Millis) -> Activation {
    let mut annotations = common(invocation, &invocation.action.exec.kind, now);
    annotations.set("timeout", &false);
    annotations.set("limits", &invocation.action.limits);
    Activation { start: now, end: now, annotations, ..Activation::of(invocation, response) }
}

fn common(invocation: &Invocation, kind: &str, start: Millis) -> Parameters {
    let mut annotations = Parameters::new();
    annotations.set("path", &invocation.action.name.to_string());
    annotations.set("kind", kind);
    annotations.set("waitTime", &start.saturating_sub(invocation.accepted_at));
    if invocation.cause.is_some() {
        annotations.set("causedBy", SEQUENCE);
    }
    if let Some(binding) = &invocation.binding {
        annotations.set("binding", binding);
    }
    if let Some(earlier) = &invocation.replay_of {
        annotations.set(REPLAY_OF, earlier);
    }
    annotations
}

#[cfg(test)]
mod tests {
    use chasen_entity::{Outcome, ResourceUse};
    use chasen_spi::memory::invocation;
    use serde_json::{Value, json};

    use super::*;

    fn ending(memory: Option<u32>) -> Ending {
        let response = Response::error(Outcome::ApplicationError, "no");
        let steps = vec![ActivationId::from_bytes([7; 16])];
        Ending { start: 120, end: 150, duration: 9, steps, memory, used: ResourceUse::default(), response }
    }

    fn annotations(record: &Activation) -> Value {
        let one = |parameter: &chasen_entity::Parameter| {
            (parameter.key.clone(), parameter.value.read::<Value>().unwrap())
        };
        Value::Object(record.annotations.iter().map(one).collect())
    }

    fn session(role: Role, cause: Option<ActivationId>, binding: Option<&str>) -> Invocation {
        let binding = binding.map(str::to_owned);
        Invocation { role, cause, binding, accepted_at: 100, ..invocation("guest", "all", "sequence", "{}") }
    }

    #[test]
    fn sessions_tell_of_their_steps() {
        let topmost = of_session(&session(Role::Sequence, None, None), ending(Some(512)));
        assert_eq!((topmost.start, topmost.end, topmost.duration()), (120, 150, Some(9)));
        assert_eq!(topmost.logs, ["07".repeat(16)]);
        let limits = json!({"timeout": 60000, "memory": 512, "logs": 10, "concurrency": 1});
        assert_eq!(
            annotations(&topmost),
            json!({"path": "guest/all", "kind": "sequence", "waitTime": 20, "topmost": true, "limits": limits})
        );
        let cause = Some(ActivationId::from_bytes([1; 16]));
        let nested = of_session(&session(Role::Sequence, cause, Some("guest/bound")), ending(None));
        assert_eq!(nested.cause, cause);
        assert_eq!(
            annotations(&nested),
            json!({"path": "guest/all", "kind": "sequence", "waitTime": 20, "causedBy": "sequence",
                "binding": "guest/bound", "topmost": false})
        );
        let composition = annotations(&of_session(&session(Role::Composition, None, None), ending(None)));
        assert_eq!(composition["conductor"], json!(true));
        assert_eq!(composition["limits"]["memory"], json!(256), "always there");
    }

    #[test]
    fn actions_that_did_not_run_say_what_they_are() {
        let one = Invocation { accepted_at: 100, ..invocation("guest", "hello", "nodejs:20", "{}") };
        let record = without_run(&one, Response::error(Outcome::ApplicationError, "no"), 110);
        assert_eq!((record.start, record.duration()), (110, Some(0)));
        let found = annotations(&record);
        assert_eq!((&found["kind"], &found["timeout"]), (&json!("nodejs:20"), &json!(false)));
        assert_eq!((&found["waitTime"], &found["limits"]["memory"]), (&json!(10), &json!(256)));
    }
}
