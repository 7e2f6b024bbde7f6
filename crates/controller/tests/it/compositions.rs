//! Compositions: what conductors ask for, what they are told, and what records tell.

use chasen_entity::{ActivationId, ByteSize, Event, Invocation, Role};
use chasen_spi::EventLog;
use chasen_spi::event_log::Unfinished;
use serde_json::{Value, json};

use crate::client::Request;
use crate::sequences::{annotation, call, put, steps};
use crate::world::{World, alice, eventually, guest};

const ACTIONS: &str = "/api/v1/namespaces/_/actions";
const TOO_MANY: &str = "Too many actions in the composition.";

async fn world_with(length: u32) -> World {
    let world = World::with(|config| config.sequence_length = length).await;
    world.create("conductor", r#","annotations":[{"key":"conductor","value":"true"}]"#).await;
    world.create("echo", r#","parameters":[{"key":"own","value":1}],"limits":{"memory":512}"#).await;
    world
}

fn names(steps: &[Value]) -> Vec<&str> {
    steps.iter().map(|step| step["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_conductor_that_asks_for_nothing_is_a_composition_of_one() {
    let world = world_with(50).await;
    let response = call(&world, "conductor", &json!({"x": 1.0})).await;
    let session = response.json();
    assert_eq!(session["response"], json!({"result": {"x": 1.0}, "success": true, "status": "success"}));
    for (key, value) in [
        ("topmost", json!(true)),
        ("conductor", json!(true)),
        ("kind", json!("sequence")),
        ("path", json!("guest/conductor")),
        ("causedBy", Value::Null),
    ] {
        assert_eq!(annotation(&session, key), &value, "{key}");
    }
    assert_eq!(annotation(&session, "limits")["memory"], 256);
    assert_eq!((session["logs"].as_array().unwrap().len(), &session["duration"]), (1, &json!(2)));
    let line = format!("POST {ACTIONS}/conductor?blocking=true&result=true");
    let result = world.guest_json(&line, r#"{"plan":[{"params":5}]}"#).await;
    assert_eq!(result.text(), r#"{"value":5}"#);
}

#[tokio::test]
async fn components_run_in_turns_with_the_conductor() {
    let world = world_with(50).await;
    world.create("array", "").await;
    let plan = json!({"plan": [
        {"action": "echo", "params": {"p": 1}},
        {"action": "/_/array"},
        {"action": "guest/nopackage/x"},
    ]});
    let session = call(&world, "conductor", &plan).await.json();
    let steps = steps(&world, &session).await;
    assert_eq!(names(&steps), ["conductor", "echo", "conductor", "array", "conductor", "conductor"]);
    assert!(steps.iter().all(|step| step["cause"] == session["activationId"]));
    let taken: Vec<Value> =
        world.invoker.taken.lock().iter().map(|one| one.arguments.read().unwrap()).collect();
    assert_eq!(taken[1], json!({"p": 1, "own": 1}));
    assert_eq!((&taken[2]["p"], &taken[2]["own"]), (&json!(1), &json!(1)));
    assert_eq!(taken[4]["value"], json!([1, 2]), "an array is boxed");
    let text = "Failed entitlement check for action with name 'guest/nopackage/x' during composition.";
    assert_eq!(session["response"]["result"], json!({"error": text}));
    let ids: Vec<&Value> = steps.iter().map(|step| &step["activationId"]).collect();
    assert_eq!(session["logs"].as_array().unwrap().iter().collect::<Vec<_>>(), ids);
    assert_eq!((&session["duration"], &annotation(&session, "limits")["memory"]), (&json!(12), &json!(512)));
}

#[tokio::test]
async fn problems_are_the_conductors() {
    let world = world_with(50).await;
    let missing = |name: &str| format!("Failed to resolve action with name '{name}' during composition.");
    let refused =
        |name: &str| format!("Failed entitlement check for action with name '{name}' during composition.");
    let nameless =
        |json: &str| format!("Failed to parse action name from json value {json} during composition.");
    for (action, text) in [
        (json!("missing"), missing("guest/missing")),
        (json!("/guest/missing"), missing("guest/missing")),
        (json!("/alice/x"), refused("alice/x")),
        (json!("/alice/p/x"), refused("alice/p/x")),
        (json!("p/x"), refused("guest/p/x")),
        (json!("invalid#Action"), nameless("\"invalid#Action\"")),
        (json!({"a": 1}), nameless("{\"a\":1}")),
        (json!(null), nameless("null")),
        (json!("/a"), nameless("\"/a\"")),
        (json!(""), nameless("\"\"")),
    ] {
        let response = call(&world, "conductor", &json!({"plan": [{"action": action}]})).await;
        let session = response.json();
        assert_eq!((response.status, &session["response"]["result"]), (502, &json!({"error": text})));
        assert_eq!(session["logs"].as_array().unwrap().len(), 2);
    }
    for name in ["overloaded", "draining"] {
        world.create(name, "").await;
        let response = call(&world, "conductor", &json!({"plan": [{"action": name}]})).await;
        let session = response.json();
        let text = "Activation failure during composition.";
        assert_eq!((response.status, &session["response"]["result"]["error"]), (500, &json!(text)));
        assert_eq!(session["logs"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn rights_are_the_callers_not_the_owners() {
    let world = world_with(50).await;
    let as_alice =
        async |line: &str, body: Value| world.send(Request::new(line).auth(&alice()).json(body)).await;
    assert_eq!(
        as_alice("PUT /api/v1/namespaces/_/packages/open", json!({"publish": true})).await.status,
        200
    );
    let conductor =
        json!({"exec": {"kind": "nodejs:20", "code": ""}, "annotations": [{"key": "conductor", "value": 1}]});
    assert_eq!(as_alice(&format!("PUT {ACTIONS}/open/conductor"), conductor).await.status, 200);
    let echo = json!({"exec": {"kind": "nodejs:20", "code": ""}});
    assert_eq!(as_alice(&format!("PUT {ACTIONS}/hers"), echo).await.status, 200);
    let line = "POST /api/v1/namespaces/alice/actions/open/conductor?blocking=true";
    let session = world.guest_json(line, json!({"plan": [{"action": "echo"}]})).await.json();
    assert_eq!(session["response"]["result"], json!({"own": 1}), "short names lie in the caller's namespace");
    assert_eq!(session["namespace"], "guest");
    let session = world.guest_json(line, json!({"plan": [{"action": "/alice/hers"}]})).await.json();
    let text = "Failed entitlement check for action with name 'alice/hers' during composition.";
    assert_eq!(session["response"]["result"]["error"], text);
}

#[tokio::test]
async fn compositions_and_sequences_lie_in_each_other() {
    let world = world_with(2).await;
    put(&world, "s", &["/_/echo", "/_/echo"]).await;
    // Two components of its own, one of them a sequence, and one of a composition inside.
    let inner =
        json!({"action": "conductor", "params": {"plan": [{"action": "echo", "params": {"deep": 1}}]}});
    let plan = json!({"plan": [{"action": "s", "params": {"x": 1}}, inner]});
    let session = call(&world, "conductor", &plan).await.json();
    assert_eq!(session["response"]["result"], json!({"deep": 1, "own": 1}), "{session}");
    let outside = steps(&world, &session).await;
    assert_eq!(names(&outside), ["conductor", "s", "conductor", "conductor", "conductor"]);
    let nested = &outside[3];
    for (key, value) in
        [("topmost", json!(false)), ("conductor", json!(true)), ("causedBy", json!("sequence"))]
    {
        assert_eq!(annotation(nested, key), &value);
    }
    assert_eq!(names(&steps(&world, nested).await), ["conductor", "echo", "conductor"]);
    assert_eq!(
        (names(&steps(&world, &outside[1]).await), &session["duration"]),
        (vec!["echo", "echo"], &json!(16))
    );
    // A composition in a sequence counts one there, and has counts of its own.
    put(&world, "around", &["/_/conductor", "/_/echo"]).await;
    let plan = json!({"plan": [{"action": "s", "params": {"x": 1}}, {"action": "echo"}]});
    let session = call(&world, "around", &plan).await.json();
    assert_eq!(session["response"]["result"], json!({"own": 1}), "{session}");
    assert_eq!(names(&steps(&world, &session).await), ["conductor", "echo"]);
}

#[tokio::test]
async fn components_and_turns_are_bounded() {
    let world = world_with(3).await;
    let plan = |count: usize| json!({"plan": vec![json!({"action": "echo"}); count]});
    let session = call(&world, "conductor", &plan(3)).await.json();
    assert_eq!((&session["response"]["success"], &session["duration"]), (&json!(true), &json!(14)));
    let response = call(&world, "conductor", &plan(4)).await;
    let session = response.json();
    assert_eq!((response.status, &session["response"]["result"]), (502, &json!({"error": TOO_MANY})));
    assert_eq!(session["logs"].as_array().unwrap().len(), 8, "the conductor heard of it");
    let nested = |depth: usize| {
        (0..depth)
            .fold(json!({"end": 1}), |inside, _| json!({"plan": [{"action": "conductor", "params": inside}]}))
    };
    let response = call(&world, "conductor", &nested(3)).await;
    assert_eq!((response.status, &response.json()["response"]["result"]), (200, &json!({"end": 1})));
    let response = call(&world, "conductor", &nested(4)).await;
    assert_eq!((response.status, &response.json()["response"]["result"]), (502, &json!({"error": TOO_MANY})));
    let response = call(&world, "conductor", &nested(40)).await;
    assert_eq!((response.status, &response.json()["response"]["result"]), (502, &json!({"error": TOO_MANY})));
    assert!(world.is_idle());
}

#[tokio::test]
async fn sequences_and_compositions_in_turns_do_not_lie_without_end() {
    let world = world_with(2).await;
    put(&world, "around", &["/_/conductor"]).await;
    let nested = |depth: usize| {
        (0..depth)
            .fold(json!({"end": 1}), |inside, _| json!({"plan": [{"action": "around", "params": inside}]}))
    };
    let response = call(&world, "conductor", &nested(2)).await;
    assert_eq!((response.status, &response.json()["response"]["result"]), (200, &json!({"end": 1})));
    let response = call(&world, "conductor", &nested(3)).await;
    assert_eq!((response.status, &response.json()["response"]["result"]), (502, &json!({"error": TOO_MANY})));
    assert!(world.is_idle());
}

#[tokio::test]
async fn one_invocation_takes_so_many_steps_however_they_lie_in_each_other() {
    let world = world_with(4).await;
    put(&world, "around", &["/_/conductor"]).await;
    let plan = (0..4)
        .fold(json!({}), |inside, _| json!({"plan": vec![json!({"action": "around", "params": inside}); 4]}));
    let response = call(&world, "conductor", &plan).await;
    assert_eq!((response.status, &response.json()["response"]["result"]), (502, &json!({"error": TOO_MANY})));
    let taken = world.invoker.taken.lock().len();
    assert!((400..1000).contains(&taken), "{taken}");
    assert!(world.is_idle());
}

#[tokio::test]
async fn what_conductors_want_back_has_its_bound() {
    let world = World::with(|config| config.max_conductor_memory = ByteSize::bytes(64 << 10)).await;
    world.create("conductor", r#","annotations":[{"key":"conductor","value":true}]"#).await;
    world.create("echo", "").await;
    for (length, status) in [(1_000, 200), (100_000, 500)] {
        let step = json!({"action": "echo", "state": {"kept": "x".repeat(length)}});
        let response = call(&world, "conductor", &json!({"plan": [step]})).await;
        assert_eq!(response.status, status, "{length}");
        if status == 500 {
            let text = "Activation failure during composition.";
            assert_eq!(response.json()["response"]["result"]["error"], text);
        }
    }
}

#[tokio::test]
async fn compositions_go_on_without_their_client_and_after_a_crash() {
    let world = world_with(50).await;
    world.create("slow", "").await;
    let plan = json!({"plan": [{"action": "slow", "params": {"x": 1}}]});
    let response =
        world.guest_json(&format!("POST {ACTIONS}/conductor?blocking=true&timeout=20"), &plan).await;
    assert_eq!(response.status, 202);
    eventually("the slow one runs", || world.invoker.taken.lock().len() == 2).await;
    world.invoker.release.notify_one();
    eventually("it goes on to its end", || world.is_idle()).await;
    let accepted = world.log.events().into_iter().find_map(|event| match event {
        Event::Accepted(invocation) if invocation.role == Role::Composition => Some(invocation),
        _ => None,
    });
    let again = |arguments: &str| {
        let arguments = chasen_entity::RawJson::parse(arguments.as_bytes()).unwrap();
        let invocation = Invocation::clone(accepted.as_ref().unwrap());
        let invocation = Invocation { activation_id: ActivationId::generate(), arguments, ..invocation };
        let invocation = std::sync::Arc::new(invocation);
        world.log.append(&Event::Accepted(invocation.clone())).unwrap();
        Unfinished { invocation, started: None, progress: None, is_whole: true }
    };
    let result = async |id: ActivationId| {
        eventually("it ends", || world.is_idle()).await;
        world.guest(&format!("GET /api/v1/namespaces/_/activations/{id}/result")).await.json()["result"]
            .clone()
    };
    let work = again(r#"{"plan":[{"action":"echo"}]}"#);
    let id = work.invocation.activation_id;
    world.take_up(work);
    assert_eq!(result(id).await, json!({"own": 1}));
    world.send(Request::new(&format!("DELETE {ACTIONS}/conductor")).auth(&guest())).await;
    let work = again("{}");
    let id = work.invocation.activation_id;
    world.take_up(work);
    assert_eq!(result(id).await, json!({"error": "Action could not be found or may have been deleted."}));
}
