//! Sequences: what they may be made of, what their parts get, and what their records tell.

use std::time::Duration;

use chasen_entity::{ActivationId, Event, Invocation, Role, StoreLevel, UserLimits};
use chasen_spi::event_log::Unfinished;
use chasen_spi::{ActivationQuery, ActivationStore, Collection, EventLog, SubjectStore as _};
use serde_json::{Value, json};

use crate::client::{Request, Response};
use crate::world::{World, alice, eventually, guest};

const ACTIONS: &str = "/api/v1/namespaces/_/actions";
const TOO_MANY: &str = "Too many actions in the sequence.";
const CYCLE: &str = "Sequence may not refer to itself.";

fn body(components: &[&str]) -> Value {
    json!({"exec": {"kind": "sequence", "components": components}})
}

fn request(name: &str, body: &Value) -> Request {
    Request::new(&format!("PUT {ACTIONS}/{name}?overwrite=true")).auth(&guest()).json(body)
}

pub(crate) async fn put(world: &World, name: &str, components: &[&str]) -> Value {
    let response = world.send(request(name, &body(components))).await;
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

pub(crate) async fn call(world: &World, name: &str, arguments: &Value) -> Response {
    world.guest_json(&format!("POST {ACTIONS}/{name}?blocking=true"), arguments).await
}

pub(crate) fn annotation<'a>(record: &'a Value, key: &str) -> &'a Value {
    let annotations = record["annotations"].as_array().unwrap();
    annotations.iter().find(|one| one["key"] == key).map_or(&Value::Null, |one| &one["value"])
}

/// The records of the steps of a session, in their order.
pub(crate) async fn steps(world: &World, session: &Value) -> Vec<Value> {
    let id = session["activationId"].as_str().unwrap();
    let list =
        world.guest(&format!("GET /api/v1/namespaces/_/activations?docs=true&limit=200&cause={id}")).await;
    let mut steps: Vec<Value> = serde_json::from_value(list.json()).unwrap();
    steps.sort_by(|a, b| a["activationId"].as_str().cmp(&b["activationId"].as_str()));
    steps
}

async fn package(world: &World, name: &str, body: Value) {
    let response = world.guest_json(&format!("PUT /api/v1/namespaces/_/packages/{name}"), body).await;
    assert_eq!(response.status, 200, "{response:?}");
}

#[tokio::test]
async fn a_sequence_is_created_read_and_listed() {
    let world = World::new().await;
    world.create("a", "").await;
    let components = json!(["/_/a", {"path": "_", "name": "a"}, "guest/a"]);
    let sent = json!({"exec": {"kind": "sequence", "components": components},
        "parameters": [{"key": "x", "value": 1}], "annotations": [{"key": "n", "value": 2}]});
    let created = world.send(request("s", &sent)).await.json();
    let all = json!(["/guest/a", "/guest/a", "/guest/a"]);
    assert_eq!(created["exec"], json!({"kind": "sequence", "components": all}));
    assert_eq!(created["parameters"], json!([{"key": "_actions", "value": all}]));
    assert_eq!(annotation(&created, "exec"), "sequence");
    for query in ["", "?code=false"] {
        assert_eq!(world.guest(&format!("GET {ACTIONS}/s{query}")).await.json(), created, "{query}");
    }
    let list = world.guest(&format!("GET {ACTIONS}")).await.json();
    let listed = list.as_array().unwrap().iter().find(|one| one["name"] == "s").unwrap();
    assert_eq!(listed["exec"], json!({"binary": false}));
    assert_eq!(world.guest(&format!("DELETE {ACTIONS}/s")).await.json(), created);
}

#[tokio::test]
async fn kinds_change_and_parameters_do_not_come_along() {
    let world = World::new().await;
    world.create("a", r#","parameters":[{"key":"x","value":1}]"#).await;
    world.create("b", "").await;
    let parameters = async |sent: Value| {
        let response = world.send(request("a", &sent)).await;
        assert_eq!(response.status, 200, "{response:?}");
        response.json()["parameters"].clone()
    };
    let own = json!([{"key": "_actions", "value": ["/guest/b"]}]);
    assert_eq!(parameters(body(&["/_/b"])).await, own);
    let given = json!([{"key": "y", "value": 2}]);
    assert_eq!(parameters(json!({"parameters": given})).await, own, "nothing else belongs to a sequence");
    let code = json!({"kind": "nodejs:20", "code": ""});
    assert_eq!(parameters(json!({"exec": code})).await, json!([]));
    assert_eq!(parameters(body(&["/_/b"])).await, own);
    assert_eq!(parameters(json!({"exec": code, "parameters": given})).await, given);
    let keep = json!({"annotations": [{"key": "k", "value": 1}]});
    world.send(request("a", &keep)).await;
    let mut sent = body(&["/_/b"]);
    sent["delAnnotations"] = json!(["k"]);
    let kept = world.send(request("a", &sent)).await.json();
    assert_eq!(annotation(&kept, "k"), 1, "a body with components takes nothing away");
    let kept = world.send(request("a", &json!({"delAnnotations": ["k"]}))).await.json();
    assert_eq!(annotation(&kept, "k"), &Value::Null);
}

#[tokio::test]
async fn what_makes_no_sequence_is_refused_and_changes_nothing() {
    let world = World::with(|config| config.sequence_length = 3).await;
    for name in ["a", "b"] {
        world.create(name, "").await;
    }
    package(&world, "p", json!({})).await;
    package(&world, "bound", json!({"binding": {"namespace": "_", "name": "p"}})).await;
    put(&world, "two", &["/_/a", "/_/b"]).await;
    put(&world, "three", &["/_/two", "/_/a"]).await;
    put(&world, "p/inner", &["/_/a"]).await;
    put(&world, "outer", &["/_/bound/inner"]).await;
    let malformed = |reason: &str| format!("The request content was malformed:\n{reason}");
    for (name, components, text) in [
        ("s", json!([]), "No component specified for the sequence."),
        ("s", json!(["/_/a", "/_/a", "/_/a", "/_/missing"]), TOO_MANY),
        ("s", json!(["/_/two", "/_/two"]), TOO_MANY),
        ("s", json!(["/_/three", "/_/a"]), TOO_MANY),
        ("s", json!(["/_/a", "/_/missing"]), "Sequence component does not exist."),
        ("s", json!(["/_/p/missing"]), "Sequence component does not exist."),
        ("s", json!(["/_/s"]), CYCLE),
        ("two", json!(["/_/a", "/_/two"]), CYCLE),
        ("two", json!(["/_/three"]), CYCLE),
        ("p/inner", json!(["/_/bound/inner"]), CYCLE),
        ("p/inner", json!(["/_/outer"]), CYCLE),
        ("p/new", json!(["/_/bound/new"]), CYCLE),
    ] {
        let sent = json!({"exec": {"kind": "sequence", "components": components}});
        world.refused(request(name, &sent), 400, text).await;
    }
    for (exec, reason) in [
        (json!({"kind": "sequence"}), "'components' must be defined for sequence kind"),
        (json!({"kind": "sequence", "components": {}}), "'components' must be an array"),
        (
            json!({"kind": "sequence", "components": ["a"]}),
            "requirement failed: The fully qualified name of the entity must contain at least the namespace and the name of the entity.",
        ),
        (
            json!({"kind": "sequence", "components": ["/_/a b/c#"]}),
            "requirement failed: path contains invalid parts ArraySeq(_, a b, c#)",
        ),
    ] {
        world.refused(request("s", &json!({ "exec": exec })), 400, &malformed(reason)).await;
    }
    let create = Request::new(&format!("PUT {ACTIONS}/two")).auth(&guest()).json(body(&[]));
    world.refused(create, 409, "resource already exists").await;
}

#[tokio::test]
async fn components_must_be_readable_for_the_one_who_creates() {
    let world = World::new().await;
    world.create("a", "").await;
    let as_alice = async |line: &str, body: Value| {
        let response = world.send(Request::new(line).auth(&alice()).json(body)).await;
        assert_eq!(response.status, 200, "{response:?}");
    };
    let packages = "/api/v1/namespaces/_/packages";
    as_alice(&format!("PUT {packages}/open"), json!({"publish": true})).await;
    as_alice(&format!("PUT {packages}/closed"), json!({})).await;
    for path in ["open/x", "closed/x", "x"] {
        let code = json!({"exec": {"kind": "nodejs:20", "code": ""}});
        as_alice(&format!("PUT {ACTIONS}/{path}"), code).await;
    }
    put(&world, "s", &["/alice/open/x", "/_/a"]).await;
    let refused = |paths: &str| format!("The supplied authentication is not authorized to access '{paths}'.");
    let several = body(&["/alice/x", "/_/a", "/alice/closed/x", "/alice/closed/y"]);
    world.refused(request("s", &several), 403, &refused("alice/closed, alice/x")).await;
    let missing = body(&["/_/gone/x"]);
    world.refused(request("s", &missing), 404, "The requested resource does not exist.").await;
    let conformance = "Resource by this name exists but is not in this collection.";
    world.refused(request("s", &body(&["/_/a/x"])), 409, conformance).await;
    // What was shared when the sequence was made may not be shared any more.
    as_alice(&format!("PUT {packages}/open?overwrite=true"), json!({"publish": false})).await;
    let response = call(&world, "s", &json!({})).await;
    assert_eq!((response.status, response.error()), (403, refused("alice/open")));
}

#[tokio::test]
async fn steps_get_what_the_ones_before_gave_and_parameters_of_their_own() {
    let world = World::new().await;
    package(
        &world,
        "p",
        json!({"parameters": [{"key": "p", "value": 1}, {"key": "both", "value": "package"}]}),
    )
    .await;
    world.create("p/a", r#","parameters":[{"key":"both","value":"action"}]"#).await;
    world.create("b", r#","parameters":[{"key":"b","value":2}],"limits":{"memory":512}"#).await;
    let bound = json!({"binding": {"namespace": "_", "name": "p"}, "parameters": [{"key": "p", "value": 9}]});
    package(&world, "bound", bound).await;
    put(&world, "bound_s", &["/_/bound/a", "/_/b"]).await;
    put(&world, "p/s", &["/_/p/a", "/_/b"]).await;
    let response = call(&world, "p/s", &json!({"x": 1.5, "error": "not of a component"})).await;
    assert_eq!(response.status, 200);
    assert_eq!(
        response.json()["response"]["result"],
        json!({"p": 1, "both": "action", "x": 1.5, "error": "not of a component"}),
        "the echo of an error stops it, before the second component"
    );
    let session = call(&world, "p/s", &json!({"x": 1.5})).await.json();
    let result = json!({"p": 1, "both": "action", "x": 1.5, "b": 2});
    assert_eq!(
        session["response"],
        json!({"result": result, "size": 2, "success": true, "status": "success"})
    );
    let steps = steps(&world, &session).await;
    let ids: Vec<&Value> = steps.iter().map(|step| &step["activationId"]).collect();
    assert_eq!(ids, session["logs"].as_array().unwrap().iter().collect::<Vec<_>>());
    assert_eq!(steps.iter().map(|step| step["name"].as_str().unwrap()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(steps.iter().all(|step| step["cause"] == session["activationId"]));
    assert_eq!((session.get("cause"), &session["duration"]), (None, &json!(4)));
    assert_eq!(
        (annotation(&session, "topmost"), annotation(&session, "kind")),
        (&json!(true), &json!("sequence"))
    );
    assert_eq!(annotation(&session, "path"), "guest/p/s");
    assert_eq!(annotation(&session, "causedBy"), &Value::Null);
    assert_eq!(annotation(&session, "limits")["memory"], 512);
    assert!(annotation(&session, "waitTime").is_number());
    let id = session["activationId"].as_str().unwrap();
    assert_eq!(world.guest(&format!("GET /api/v1/namespaces/_/activations/{id}")).await.json(), session);
    let through = call(&world, "bound/s", &json!({})).await.json();
    assert_eq!(annotation(&through, "binding"), "guest/bound");
    assert_eq!(through["response"]["result"]["p"], 1, "its components were named without the binding");
    let through = call(&world, "bound_s", &json!({})).await.json();
    assert_eq!(through["response"]["result"]["p"], 9);
    let taken = world.invoker.taken.lock().clone();
    assert!(taken.iter().all(|step| step.role == Role::Action && step.blocking));
}

#[tokio::test]
async fn arrays_pass_and_errors_stop() {
    let world = World::new().await;
    for name in ["array", "failing", "broken", "silent", "echo"] {
        world.create(name, r#","parameters":[{"key":"own","value":1}]"#).await;
    }
    put(&world, "s", &["/_/array", "/_/echo"]).await;
    let response = call(&world, "s", &json!({})).await;
    assert_eq!((response.status, response.text().as_str()), (200, "[1,2]"));
    for (name, status, error) in
        [("failing", "application error", "no"), ("broken", "action developer error", "died")]
    {
        put(&world, "s", &["/_/echo", &format!("/_/{name}"), "/_/echo"]).await;
        let response = call(&world, "s", &json!({})).await;
        let session = response.json();
        assert_eq!((response.status, &session["response"]["status"]), (502, &json!(status)));
        assert_eq!(session["response"]["result"], json!({"error": error}));
        assert_eq!(session["logs"].as_array().unwrap().len(), 2, "the failed one is among them");
    }
    put(&world, "s", &["/_/silent", "/_/echo"]).await;
    assert_eq!(call(&world, "s", &json!({"x": 1})).await.json()["response"]["result"], json!({"own": 1}));
}

#[tokio::test]
async fn sequences_lie_in_sequences() {
    let world = World::with(|config| config.sequence_length = 4).await;
    world.create("a", "").await;
    world.create("big", r#","limits":{"memory":384}"#).await;
    put(&world, "inner", &["/_/a", "/_/big"]).await;
    put(&world, "outer", &["/_/a", "/_/inner", "/_/a"]).await;
    let session = call(&world, "outer", &json!({"x": 1})).await.json();
    assert_eq!((&session["response"]["result"], &session["duration"]), (&json!({"x": 1}), &json!(8)));
    assert_eq!(annotation(&session, "limits")["memory"], 384);
    let outside = steps(&world, &session).await;
    assert_eq!(outside.iter().map(|step| &step["name"]).collect::<Vec<_>>(), ["a", "inner", "a"]);
    let inner = &outside[1];
    assert_eq!(inner["cause"], session["activationId"]);
    assert_eq!(
        (annotation(inner, "topmost"), annotation(inner, "causedBy")),
        (&json!(false), &json!("sequence"))
    );
    assert_eq!(steps(&world, inner).await.len(), 2);
    // It grows behind the back of the one around.
    put(&world, "inner", &["/_/a", "/_/a", "/_/a"]).await;
    let response = call(&world, "outer", &json!({})).await;
    let session = response.json();
    assert_eq!((response.status, &session["response"]["result"]["error"]), (502, &json!(TOO_MANY)));
    assert_eq!(session["logs"].as_array().unwrap().len(), 2);
    assert_eq!(session["response"].get("size"), None);
}

#[tokio::test]
async fn what_is_gone_when_it_runs_is_told() {
    let world = World::new().await;
    for name in ["a", "b"] {
        world.create(name, "").await;
    }
    put(&world, "s", &["/_/a", "/_/b", "/_/a"]).await;
    world.guest(&format!("DELETE {ACTIONS}/b")).await;
    let response = call(&world, "s", &json!({})).await;
    let session = response.json();
    assert_eq!(response.status, 502);
    assert_eq!(session["response"]["result"]["error"], "Sequence component does not exist.");
    assert_eq!((session["logs"].as_array().unwrap().len(), session["response"].get("size")), (1, None));
    world.guest(&format!("DELETE {ACTIONS}/a")).await;
    let session = call(&world, "s", &json!({})).await.json();
    assert_eq!((&session["logs"], annotation(&session, "limits")), (&json!([]), &Value::Null));
    world.create("a", "").await;
    for name in ["overloaded", "draining"] {
        world.create(name, "").await;
        put(&world, "s", &["/_/a", &format!("/_/{name}"), "/_/a"]).await;
        let response = call(&world, "s", &json!({})).await;
        let session = response.json();
        assert_eq!((response.status, &session["response"]["status"]), (500, &json!("whisk internal error")));
        assert_eq!(session["response"]["result"]["error"], "Sequence failed.", "{name}");
        assert_eq!(session["logs"].as_array().unwrap().len(), 1);
    }
    let old = r#"{"namespace":"guest","name":"old","exec":{"kind":"nodejs:6","code":{"digest":"x","length":1}},"limits":{"timeout":60000,"memory":256,"logs":10,"concurrency":1},"version":"0.0.1","updated":1}"#;
    world.store(Collection::Actions, "guest", "old", old).await;
    put(&world, "s", &["/_/old"]).await;
    let session = call(&world, "s", &json!({})).await.json();
    assert_eq!(session["response"]["result"]["error"], "Sequence failed.", "its kind runs no more");
}

#[tokio::test]
async fn a_cycle_that_bindings_make_ends() {
    let world = World::with(|config| config.sequence_length = 5).await;
    world.create("a", "").await;
    for name in ["p", "q"] {
        package(&world, name, json!({})).await;
    }
    let binding = |name: &str| json!({"binding": {"namespace": "_", "name": name}});
    package(&world, "bound", binding("p")).await;
    world.create("p/x", "").await;
    put(&world, "outer", &["/_/bound/x"]).await;
    put(&world, "q/x", &["/_/outer"]).await;
    package(&world, "bound?overwrite=true", binding("q")).await;
    world.refused(request("s", &body(&["/_/outer"])), 400, CYCLE).await;
    let response = call(&world, "outer", &json!({})).await;
    assert_eq!((response.status, &response.json()["response"]["result"]["error"]), (502, &json!(TOO_MANY)));
    // One for each level, each with its record.
    let count = world.guest("GET /api/v1/namespaces/_/activations?count=true").await.json();
    assert_eq!(count, json!({"activations": 11}));
    assert!(world.is_idle());
}

#[tokio::test]
async fn a_session_counts_once_until_it_ends() {
    let world = World::with(|config| config.rates.concurrent_invocations = Some(1)).await;
    for name in ["slow", "echo"] {
        world.create(name, "").await;
    }
    put(&world, "s", &["/_/echo", "/_/slow", "/_/echo"]).await;
    let response = world.guest_json(&format!("POST {ACTIONS}/s?blocking=true&timeout=20"), "{}").await;
    assert_eq!((response.status, response.json().as_object().unwrap().len()), (202, 1));
    let id = response.json()["activationId"].as_str().unwrap().to_owned();
    assert_eq!(Some(id.as_str()), response.header("x-openwhisk-activation-id"));
    eventually("the slow one runs", || world.invoker.taken.lock().len() == 2).await;
    let busy = call(&world, "echo", &json!({})).await;
    assert_eq!((busy.status, busy.error().contains("concurrent")), (429, true));
    world.invoker.release.notify_one();
    eventually("it goes on to its end", || world.is_idle()).await;
    let session = world.guest(&format!("GET /api/v1/namespaces/_/activations/{id}")).await.json();
    assert_eq!(session["logs"].as_array().unwrap().len(), 3);
    let deadline = tokio::time::Instant::now() + crate::client::SOON;
    while call(&world, "echo", &json!({})).await.status == 429 {
        assert!(tokio::time::Instant::now() < deadline, "its place is free");
    }
}

#[tokio::test]
async fn a_step_is_waited_for_a_minute_longer_than_it_may_run() {
    let world = World::new().await;
    world.create("slow", r#","limits":{"timeout":1000}"#).await;
    put(&world, "s", &["/_/slow"]).await;
    let response = world.guest_json(&format!("POST {ACTIONS}/s"), "{}").await;
    let id = response.json()["activationId"].as_str().unwrap().to_owned();
    eventually("the slow one runs", || world.invoker.taken.lock().len() == 1).await;
    let slow = world.invoker.taken.lock()[0].activation_id;
    tokio::time::pause();
    // What has passed by itself is more on a busy machine.
    tokio::time::advance(Duration::from_secs(45)).await;
    assert_eq!(world.ended(), 0);
    tokio::time::advance(Duration::from_secs(17)).await;
    tokio::time::resume();
    eventually("it gives up", || world.ended() == 1).await;
    let session = world.guest(&format!("GET /api/v1/namespaces/_/activations/{id}")).await.json();
    let text = format!("Timeout reached when retrieving activation {slow} for sequence component.");
    assert_eq!(session["response"]["result"]["error"], text);
    assert_eq!(
        (&session["logs"], &session["response"]["status"]),
        (&json!([slow.to_string()]), &json!("whisk internal error"))
    );
    world.invoker.release.notify_one();
    eventually("the step goes on without it", || {
        world
            .log
            .events()
            .iter()
            .any(|event| matches!(event, Event::Finished(one) if one.activation_id == slow))
    })
    .await;
}

#[tokio::test]
async fn store_levels_hold_for_every_step() {
    let world = World::with(|config| config.store_blocking = StoreLevel::StoreFailures).await;
    for name in ["echo", "failing"] {
        world.create(name, "").await;
    }
    put(&world, "s", &["/_/echo"]).await;
    put(&world, "outer", &["/_/s"]).await;
    let request = |extra: &str| {
        let request = Request::new(&format!("POST {ACTIONS}/outer?blocking=true")).auth(&guest());
        request.header("x-ow-extra-logging", extra)
    };
    for (extra, level) in [("off", StoreLevel::StoreFailures), ("on", StoreLevel::StoreAlways)] {
        world.invoker.taken.lock().clear();
        assert_eq!(world.send(request(extra)).await.status, 200);
        assert_eq!(world.invoker.taken.lock().pop().unwrap().store, level);
    }
    let events = world.log.events();
    let kept = events.iter().filter(|event| matches!(event, Event::Ended(_))).count();
    assert_eq!(kept, 3, "neither sequence of the first call left a record, nor its step");
}

#[tokio::test]
async fn limits_are_looked_at_again_when_an_action_runs() {
    let world = World::new().await;
    world.create("big", r#","limits":{"memory":512}"#).await;
    put(&world, "s", &["/_/big"]).await;
    let lowered = UserLimits { max_action_memory: Some(256), ..UserLimits::default() };
    world.subjects.set_limits("guest", Some(&lowered)).await.unwrap();
    let text = "requirement failed: memory size 512 MB exceeds allowed threshold of 256 MB";
    let response = call(&world, "big", &json!({})).await;
    let record = response.json();
    assert_eq!((response.status, &record["response"]["status"]), (502, &json!("application error")));
    assert_eq!(record["response"]["result"]["error"], text);
    assert_eq!(
        (annotation(&record, "kind"), annotation(&record, "timeout")),
        (&json!("nodejs:20"), &json!(false))
    );
    let session = call(&world, "s", &json!({})).await.json();
    assert_eq!(session["response"]["result"]["error"], text);
    assert_eq!(session["logs"].as_array().unwrap().len(), 1);
    assert!(world.invoker.taken.lock().is_empty(), "nothing has run");
}

#[tokio::test]
async fn steps_are_listed_by_their_cause() {
    let world = World::new().await;
    world.create("a", "").await;
    put(&world, "s", &["/_/a", "/_/a"]).await;
    let session = call(&world, "s", &json!({})).await.json();
    let id = session["activationId"].as_str().unwrap();
    let list = "GET /api/v1/namespaces/_/activations";
    assert_eq!(world.guest(&format!("{list}?count=true&cause={id}")).await.json(), json!({"activations": 2}));
    let other = "0".repeat(32);
    assert_eq!(world.guest(&format!("{list}?cause={other}")).await.json(), json!([]));
    for (cause, text) in [
        ("abc", "Activation id length is 3 but must be 32."),
        ("", "Activation id length is 0 but must be 32."),
        (&"G".repeat(32), "The activation id is not valid."),
    ] {
        let response = world.guest(&format!("{list}?cause={cause}")).await;
        let text = format!("The query parameter 'cause' was malformed:\n{text}");
        assert_eq!((response.status, response.error()), (400, text));
    }
}

/// An invocation of the sequence `s` as an earlier life accepted it.
async fn accepted(world: &World) -> std::sync::Arc<Invocation> {
    call(world, "s", &json!({"x": 1})).await;
    let events = world.log.events();
    let found = events.iter().rev().find_map(|event| match event {
        Event::Accepted(invocation) if invocation.role == Role::Sequence => Some(invocation.clone()),
        _ => None,
    });
    let invocation = Invocation::clone(&found.unwrap());
    let invocation = Invocation { activation_id: ActivationId::generate(), ..invocation };
    let invocation = std::sync::Arc::new(invocation);
    world.log.append(&Event::Accepted(invocation.clone())).unwrap();
    invocation
}

#[tokio::test]
async fn what_an_earlier_life_left_is_run_or_ends_with_its_steps() {
    let world = World::new().await;
    world.create("a", "").await;
    put(&world, "s", &["/_/a", "/_/a"]).await;
    let fresh = accepted(&world).await;
    let begun = accepted(&world).await;
    let mut step = chasen_spi::memory::activation("guest", "a", 70);
    step.cause = Some(begun.activation_id);
    world.log.append(&Event::Finished(std::sync::Arc::new(step.clone()))).unwrap();
    for (invocation, started) in [(&fresh, None), (&begun, Some(1))] {
        world.take_up(Unfinished { invocation: invocation.clone(), started, progress: None, is_whole: true });
    }
    eventually("all end", || world.is_idle()).await;
    let record = async |id: ActivationId| {
        world.guest(&format!("GET /api/v1/namespaces/_/activations/{id}")).await.json()
    };
    let done = record(fresh.activation_id).await;
    assert_eq!((&done["response"]["result"], done["logs"].as_array().unwrap().len()), (&json!({"x": 1}), 2));
    let lost = record(begun.activation_id).await;
    let text = "The activation was interrupted before its result was known.";
    assert_eq!((&lost["response"]["result"]["error"], &lost["start"]), (&json!(text), &json!(70)));
    assert_eq!(lost["logs"], json!([step.activation_id]));
    let query = ActivationQuery { namespace: "guest".to_owned(), limit: 99, ..ActivationQuery::default() };
    let all = world.log.list(&query).await.unwrap();
    assert_eq!(all.iter().filter(|one| one.activation_id == begun.activation_id).count(), 1);
}
