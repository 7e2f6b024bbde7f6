//! Activations that run again: with what they were given, and the action of now or of then.

use chasen_entity::{ActivationId, Invocation, UserLimits};
use chasen_spi::{ArtifactStore, Collection, DocumentQuery, SubjectStore};
use serde_json::{Value, json};

use crate::client::{Request, Response};
use crate::sequences::{annotation, put};
use crate::world::{World, alice, eventually};

const NAMESPACE: &str = "/api/v1/namespaces/_";

async fn limit(world: &World, namespace: &str, kept_versions: u32) {
    let limits = UserLimits {
        keep_parameters: Some(true),
        kept_versions: Some(kept_versions),
        ..UserLimits::default()
    };
    world.subjects.set_limits(namespace, Some(&limits)).await.unwrap();
}

async fn keeping(kept_versions: u32) -> World {
    let world = World::new().await;
    limit(&world, "guest", kept_versions).await;
    world
}

/// Sends a request that is answered 202, and waits for so many ends; the id.
async fn ends(world: &World, line: &str, body: &str, count: usize) -> ActivationId {
    let before = world.ended();
    let response = world.guest_json(&format!("POST {NAMESPACE}/{line}"), body).await;
    assert_eq!(response.status, 202, "{line}: {response:?}");
    eventually("it ends", || world.ended() >= before + count).await;
    ActivationId::parse(response.json()["activationId"].as_str().unwrap()).unwrap()
}

async fn replayed(world: &World, id: ActivationId, query: &str) -> (ActivationId, Invocation) {
    let again = ends(world, &format!("activations/{id}/replay{query}"), "{}", 1).await;
    let taken = world.invoker.taken.lock().last().unwrap().clone();
    assert_eq!((taken.activation_id, taken.replay_of, taken.cause), (again, Some(id), None));
    (again, taken)
}

async fn refused(world: &World, id: &dyn std::fmt::Display, query: &str) -> Response {
    world.guest(&format!("POST {NAMESPACE}/activations/{id}/replay{query}")).await
}

async fn record(world: &World, id: ActivationId) -> Value {
    world.guest(&format!("GET {NAMESPACE}/activations/{id}")).await.json()
}

async fn update(world: &World, path: &str, body: Value) {
    let updated = world.guest_json(&format!("PUT {NAMESPACE}/{path}?overwrite=true"), body).await;
    assert_eq!(updated.status, 200, "{updated:?}");
}

/// Every kept version of the guest's actions.
async fn versions(world: &World) -> Vec<String> {
    let all = DocumentQuery { path_exact: false, ..DocumentQuery::at(Collection::Versions, "guest") };
    let found = world.artifacts.list(&all).await.unwrap();
    found.into_iter().map(|one| format!("{}{}", one.id.path, one.id.name)).collect()
}

fn arguments(invocation: &Invocation) -> Value {
    invocation.arguments.read().unwrap()
}

#[tokio::test]
async fn a_replay_is_given_what_it_was_given_by_the_action_of_now() {
    let world = keeping(0).await;
    let then = r#","parameters":[{"key":"own","value":"old"},{"key":"e","value":1,"init":true}]"#;
    world.create("echo", then).await;
    let first = ends(&world, "actions/echo", r#"{"x":1.0}"#, 1).await;
    let original = world.invoker.taken.lock().last().unwrap().clone();
    for shown in
        ["activations?docs=true".to_owned(), format!("activations/{first}"), "activations".to_owned()]
    {
        let shown = world.guest(&format!("GET {NAMESPACE}/{shown}")).await;
        assert!(shown.status == 200 && !shown.text().contains("given"), "{}", shown.text());
    }
    let now = json!({"parameters": [{"key": "own", "value": "new"}, {"key": "more", "value": 2}]});
    update(&world, "actions/echo", now).await;
    let (again, taken) = replayed(&world, first, "").await;
    assert_eq!(arguments(&taken), json!({"own": "old", "x": 1.0}));
    assert_eq!(taken.init_parameters, original.init_parameters);
    assert!(taken.environment.is_some() && taken.environment == original.environment);
    assert_eq!((taken.action.version.to_string().as_str(), taken.action.superseded), ("0.0.2", false));
    let (_, third) = replayed(&world, again, "").await;
    assert_eq!(arguments(&third), arguments(&taken), "a replay can be replayed");
    let committed = world.invoker.committed.lock().len();
    assert_eq!(committed, 3, "each of them before it was told of");
}

#[tokio::test]
async fn an_earlier_version_runs_beside_the_present_one() {
    let world = keeping(2).await;
    update(&world, "packages/p", json!({"parameters": [{"key": "of", "value": "package"}]})).await;
    world.create("p/echo", "").await;
    let first = ends(&world, "actions/p/echo", r#"{"x":1}"#, 1).await;
    for memory in [128, 192, 320] {
        update(&world, "actions/p/echo", json!({"limits": {"memory": memory}})).await;
    }
    assert_eq!(versions(&world).await, ["guest/p/echo#0.0.3", "guest/p/echo#0.0.2"], "the newest two");
    let mut states = Vec::new();
    for (query, memory) in
        [("?code-version=0.0.2", 128), ("?code-version=0.0.3", 192), ("?code-version=0.0.4", 320), ("", 320)]
    {
        let (_, taken) = replayed(&world, first, query).await;
        assert_eq!(taken.action.limits.memory, memory, "{query}");
        assert_eq!(taken.action.superseded, memory != 320, "{query}");
        assert_eq!(arguments(&taken), json!({"of": "package", "x": 1}), "{query}");
        states.push(taken.key());
    }
    assert_eq!(states[2], states[3]);
    assert!(states[0] != states[1] && states[1] != states[2], "containers of their own");
    let gone = refused(&world, &first, "?code-version=0.0.1").await;
    assert_eq!(gone.status, 404);
    assert!(
        gone.error().contains("0.0.1") && gone.error().contains("0.0.4, 0.0.3, 0.0.2"),
        "{}",
        gone.error()
    );
    for wrong in ["", "new", "0.0", "-1.0.0", "99999999999.0.0", "0.0.3%23", "..%2F..", "%00"] {
        let wrong = refused(&world, &first, &format!("?code-version={wrong}")).await;
        assert!(matches!(wrong.status, 400 | 404), "{wrong:?}");
    }
    for list in ["actions", "actions/p/", "packages", "triggers", "rules"] {
        let list = world.guest(&format!("GET {NAMESPACE}/{list}")).await;
        assert!(list.status == 200 && !list.text().contains('#'), "{}", list.text());
    }
    let count = world.guest(&format!("GET {NAMESPACE}/actions?count=true")).await.json();
    assert_eq!(count, json!({"actions": 1}));
    let package = world.guest(&format!("GET {NAMESPACE}/packages/p")).await.json();
    assert_eq!(package["actions"].as_array().unwrap().len(), 1);
    assert_eq!(world.guest(&format!("GET {NAMESPACE}/actions/p/echo%230.0.3")).await.status, 400);
}

#[tokio::test]
async fn versions_go_with_their_action() {
    let world = keeping(5).await;
    update(&world, "packages/p", json!({})).await;
    for name in ["echo", "echo2", "p/echo"] {
        world.create(name, "").await;
        for memory in [128, 192] {
            update(&world, &format!("actions/{name}"), json!({"limits": {"memory": memory}})).await;
        }
    }
    assert_eq!(versions(&world).await.len(), 6);
    world.guest(&format!("DELETE {NAMESPACE}/packages/p?force=true")).await;
    world.guest(&format!("DELETE {NAMESPACE}/actions/echo")).await;
    assert_eq!(versions(&world).await, ["guest/echo2#0.0.2", "guest/echo2#0.0.1"]);
    world.create("echo", "").await;
    let first = ends(&world, "actions/echo", "{}", 1).await;
    update(&world, "actions/echo", json!({"version": "0.0.2"})).await;
    assert_eq!(refused(&world, &first, "?code-version=0.0.3").await.status, 404, "none of the one before");
    // One of the same version takes the place of the other.
    update(&world, "actions/echo", json!({"version": "0.0.2", "limits": {"memory": 512}})).await;
    update(&world, "actions/echo", json!({"version": "0.0.9"})).await;
    assert_eq!(versions(&world).await.len(), 4);
    assert_eq!(replayed(&world, first, "?code-version=0.0.2").await.1.action.limits.memory, 512);
    limit(&world, "guest", 1).await;
    update(&world, "actions/echo", json!({})).await;
    update(&world, "actions/echo2", json!({})).await;
    let left = versions(&world).await;
    assert_eq!(left.len(), 2, "{left:?}");
    limit(&world, "guest", 0).await;
    update(&world, "actions/echo", json!({})).await;
    assert_eq!(versions(&world).await, ["guest/echo2#0.0.3"]);
}

#[tokio::test]
async fn sequences_are_replayed_as_a_whole() {
    let world = keeping(3).await;
    world.create("echo", r#","parameters":[{"key":"own","value":1}]"#).await;
    put(&world, "s", &["/_/echo", "/_/echo"]).await;
    let first = ends(&world, "actions/s", r#"{"x":1}"#, 3).await;
    put(&world, "s", &["/_/echo"]).await;
    for (query, steps) in [("", 1), ("?code-version=0.0.1", 2)] {
        let again = ends(&world, &format!("activations/{first}/replay{query}"), "{}", steps + 1).await;
        let again = record(&world, again).await;
        assert_eq!(again["response"]["result"], json!({"x": 1, "own": 1}));
        assert_eq!(annotation(&again, "replayOf"), &json!(first));
        assert_eq!(again["logs"].as_array().unwrap().len(), steps, "{query}");
    }
    let step = record(&world, first).await["logs"][0].as_str().unwrap().to_owned();
    let (_, taken) = replayed(&world, ActivationId::parse(&step).unwrap(), "").await;
    assert_eq!(arguments(&taken), json!({"x": 1, "own": 1}), "a step alone");
}

#[tokio::test]
async fn compositions_are_replayed_as_a_whole_and_not_by_turns() {
    let world = keeping(0).await;
    world.create("conductor", r#","annotations":[{"key":"conductor","value":true}]"#).await;
    let first = ends(&world, "actions/conductor", r#"{"x":1}"#, 2).await;
    let again = ends(&world, &format!("activations/{first}/replay"), "{}", 2).await;
    assert_eq!(
        record(&world, again).await["response"]["result"],
        record(&world, first).await["response"]["result"]
    );
    let turn = record(&world, first).await["logs"][0].as_str().unwrap().to_owned();
    let refused = refused(&world, &turn, "").await;
    assert_eq!(refused.status, 409);
    assert!(refused.error().contains(&first.to_string()), "{}", refused.error());
}

#[tokio::test]
async fn what_cannot_be_replayed_is_told_so() {
    let world = World::new().await;
    world.create("echo", "").await;
    let forgotten = ends(&world, "actions/echo", "{}", 1).await;
    limit(&world, "guest", 1).await;
    update(&world, "triggers/t", json!({})).await;
    let rule = json!({"trigger": "/_/t", "action": "/_/echo"});
    world.guest_json(&format!("PUT {NAMESPACE}/rules/r"), rule).await;
    let fire = ends(&world, "triggers/t", "{}", 2).await;
    let kept = ends(&world, "actions/echo", "{}", 1).await;
    let later = world.guest_json(&format!("POST {NAMESPACE}/actions/echo?delay=3600"), "{}").await.json();
    let pending = later["activationId"].as_str().unwrap();
    world.guest(&format!("DELETE {NAMESPACE}/rules/r")).await;
    world.guest(&format!("DELETE {NAMESPACE}/actions/echo")).await;
    let unknown = ActivationId::generate();
    for (id, status, text) in [
        (forgotten.to_string(), 409, "keepParameters"),
        (fire.to_string(), 409, "fire the trigger again"),
        (kept.to_string(), 404, "/guest/echo"),
        (pending.to_owned(), 404, ""),
        (unknown.to_string(), 404, ""),
        ("abc".to_owned(), 400, ""),
    ] {
        let refused = refused(&world, &id, "").await;
        assert_eq!(refused.status, status, "{id}: {refused:?}");
        assert!(refused.error().contains(text), "{}", refused.error());
    }
    for (path, status) in [(NAMESPACE, 404), ("/api/v1/namespaces/guest", 403)] {
        let line = format!("POST {path}/activations/{kept}/replay");
        assert_eq!(world.send(Request::new(&line).auth(&alice())).await.status, status, "{line}");
    }
    for method in ["GET", "PUT", "DELETE"] {
        let line = format!("{method} {NAMESPACE}/activations/{kept}/replay");
        assert_eq!(world.guest(&line).await.status, 404, "{line}");
    }
}

#[tokio::test]
async fn nobody_gets_at_the_parameters_of_others_by_a_replay() {
    let world = keeping(0).await;
    limit(&world, "alice", 5).await;
    let as_alice = async |line: &str, body: Value| {
        let request = Request::new(line).auth(&alice()).json(body.to_string());
        let done = world.send(request).await;
        assert_eq!(done.status, 200, "{line}: {done:?}");
    };
    let code = json!({"kind": "nodejs:20", "code": "x"});
    let secret = json!({"publish": true, "parameters": [{"key": "secret", "value": "alice's"}]});
    as_alice(&format!("PUT {NAMESPACE}/packages/p"), secret).await;
    as_alice(&format!("PUT {NAMESPACE}/actions/p/echo"), json!({"exec": code})).await;
    let binding = json!({"binding": {"namespace": "alice", "name": "p"}});
    update(&world, "packages/b", binding).await;
    let first = ends(&world, "actions/b/echo", r#"{"role":"admin"}"#, 1).await;
    let (_, taken) = replayed(&world, first, "").await;
    assert_eq!(arguments(&taken), json!({"secret": "alice's", "role": "admin"}));

    // What has become final is not what a call of then made it, and what was replaced is not there for others.
    let path = format!("PUT {NAMESPACE}/actions/p/echo?overwrite=true");
    let mended = json!({"parameters": [{"key": "role", "value": "user"}], "annotations": [{"key": "final", "value": true}]});
    as_alice(&path, mended).await;
    assert_eq!(refused(&world, &first, "").await.status, 400);
    let earlier = refused(&world, &first, "?code-version=0.0.1").await;
    assert_eq!(earlier.status, 403, "{earlier:?}");

    // The same name with other code behind it.
    let deleted = world.guest(&format!("DELETE {NAMESPACE}/packages/b")).await;
    assert_eq!(deleted.status, 200, "{deleted:?}");
    let gone = refused(&world, &first, "").await;
    assert_eq!(gone.status, 404, "{gone:?}");
    update(&world, "packages/b", json!({})).await;
    world.create("b/echo", "").await;
    let stolen = refused(&world, &first, "").await;
    assert_eq!(stolen.status, 404, "{stolen:?}");
    assert!(stolen.error().contains("/alice/p/echo"), "{}", stolen.error());
}
