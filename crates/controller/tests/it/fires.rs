//! Fires: who reacts, with what, and what the record tells.

use std::sync::Arc;

use chasen_entity::{Event, Invocation, Role, StoreLevel, UserLimits};
use chasen_spi::event_log::Unfinished;
use chasen_spi::{Collection, EventLog as _, SubjectStore as _};
use serde_json::{Value, json};

use crate::client::{Connection, Request, Response};
use crate::triggers;
use crate::world::{World, alice, early_in_a_minute, eventually, guest};

const NAMESPACE: &str = "/api/v1/namespaces/_";
const MISSING: &str = "The requested resource does not exist.";

fn request(line: &str) -> Request {
    Request::new(line).auth(&guest())
}

async fn put(world: &World, path: &str, body: Value) {
    let response = world.guest_json(&format!("PUT {NAMESPACE}/{path}"), body).await;
    assert_eq!(response.status, 200, "{path}: {response:?}");
}

/// Links an action to the trigger `t`.
async fn link(world: &World, rule: &str, action: &str) {
    put(world, &format!("rules/{rule}"), json!({"trigger":"/_/t","action":action})).await;
}

async fn switch_off(world: &World, rule: &str) {
    let body = json!({"status":"inactive"});
    assert_eq!(world.guest_json(&format!("POST {NAMESPACE}/rules/{rule}"), body).await.status, 200);
}

/// A world with the trigger `t` and the action `a`.
async fn world() -> World {
    let world = World::new().await;
    world.create("a", "").await;
    triggers::put(&world, "t", json!({})).await;
    world
}

async fn fire(world: &World, body: &str) -> Response {
    world.guest_json(&format!("POST {NAMESPACE}/triggers/t"), body).await
}

/// The id of a fire.
fn id(response: &Response) -> String {
    assert_eq!((response.status, response.has_cors()), (202, true), "{response:?}");
    let id = response.header("x-openwhisk-activation-id").unwrap().to_owned();
    assert_eq!(response.json(), json!({"activationId": id}));
    id
}

/// The record of a fire, once it is there.
async fn record(world: &World, id: &str) -> Value {
    eventually("the fire ends", || ended(world, id)).await;
    world.guest(&format!("GET {NAMESPACE}/activations/{id}")).await.json()
}

fn ended(world: &World, id: &str) -> bool {
    let is_end = |event: &Event| matches!(event, Event::Finished(_) | Event::Ended(_));
    world.log.events().iter().any(|event| event.activation_id().to_string() == id && is_end(event))
}

/// The log of a record: what became of each rule.
fn lines(record: &Value) -> Vec<Value> {
    let line = |line: &Value| serde_json::from_str(line.as_str().unwrap()).unwrap();
    record["logs"].as_array().unwrap().iter().map(line).collect()
}

fn taken(world: &World) -> Vec<Invocation> {
    world.invoker.taken.lock().clone()
}

#[tokio::test]
async fn without_an_active_rule_nothing_happens() {
    let world = world().await;
    for step in 0..3 {
        let response = fire(&world, "{}").await;
        assert_eq!((response.status, response.has_cors()), (204, true));
        assert!(response.body.is_empty() && response.header("content-type").is_none());
        assert!(response.header("x-openwhisk-activation-id").is_none());
        match step {
            0 => {
                link(&world, "r", "/_/a").await;
                switch_off(&world, "r").await;
            }
            1 => assert_eq!(world.guest(&format!("DELETE {NAMESPACE}/rules/r")).await.status, 200),
            _ => {}
        }
    }
    assert!(world.log.events().is_empty() && taken(&world).is_empty());
}

#[tokio::test]
async fn every_active_rule_starts_its_action_and_the_record_tells() {
    let world = world().await;
    world.create("b", "").await;
    for (rule, action) in [("r1", "/_/a"), ("r2", "/_/b"), ("r3", "/_/a")] {
        link(&world, rule, action).await;
    }
    switch_off(&world, "r3").await;
    let id = id(&fire(&world, r#"{ "x": 1.0 }"#).await);
    let record = record(&world, &id).await;
    let mut ids: Vec<String> = taken(&world).iter().map(|one| one.activation_id.to_string()).collect();
    let mut lines = lines(&record);
    lines.sort_by_key(|line| line["rule"].to_string());
    let mut found: Vec<String> =
        lines.iter().filter_map(|line| line["activationId"].as_str().map(str::to_owned)).collect();
    ids.sort();
    found.sort();
    assert_eq!(ids, found);
    for line in &mut lines {
        line.as_object_mut().unwrap().remove("activationId");
    }
    assert_eq!(
        lines,
        [
            json!({"statusCode":0,"success":true,"rule":"guest/r1","action":"guest/a"}),
            json!({"statusCode":0,"success":true,"rule":"guest/r2","action":"guest/b"}),
            json!({"statusCode":1,"success":false,"rule":"guest/r3","action":"guest/a",
                "error":"Rule 'guest/r3' is inactive, action 'guest/a' was not activated."}),
        ]
    );
    let mut plain = record.clone();
    let fields = plain.as_object_mut().unwrap();
    assert!(fields.remove("start").is_some_and(|start| start.as_u64() > Some(0)));
    fields.remove("logs");
    assert_eq!(
        plain,
        json!({"namespace":"guest","name":"t","subject":"guest","activationId":id,"version":"0.0.1","publish":false,
            "annotations":[],"response":{"result":{"x":1.0},"success":true,"status":"success"}})
    );
    let list = world.guest(&format!("GET {NAMESPACE}/activations?name=t")).await.json();
    assert_eq!(
        (&list[0]["statusCode"], list[0].get("end"), list[0].get("duration")),
        (&json!(0), None, None)
    );
    let response = world.guest(&format!("GET {NAMESPACE}/activations/{id}/result")).await;
    assert_eq!(response.text(), r#"{"result":{ "x": 1.0 },"success":true,"status":"success"}"#);
}

#[tokio::test]
async fn actions_get_parameters_then_headers_then_the_payload() {
    let world = World::new().await;
    world.create("a", r#","parameters":[{"key":"p","value":"action"},{"key":"own","value":7}]"#).await;
    let parameters =
        json!([{"key":"p","value":"trigger"},{"key":"q","value":1.0},{"key":"i","value":2,"init":true}]);
    triggers::put(&world, "t", json!({ "parameters": parameters })).await;
    link(&world, "r", "/_/a").await;
    let fire = request(&format!("POST {NAMESPACE}/triggers/t"))
        .header("x-request-id", "mine")
        .header("Foo", "Bar")
        .header("x-ow-extra-logging", "on")
        .json(r#"{"q":2.50}"#);
    let response = world.send(fire.clone()).await;
    assert_eq!(response.header("x-request-id"), Some("mine"));
    record(&world, &id(&response)).await;
    let invocation = taken(&world).remove(0);
    let arguments: Value = invocation.arguments.read().unwrap();
    let headers = json!({"host":"test","x-request-id":"mine","foo":"Bar"});
    assert_eq!(arguments, json!({"p":"trigger","own":7,"q":2.50,"i":2,"__ow_headers":headers}));
    assert!(invocation.arguments.as_str().contains("2.50"), "untouched");
    assert_eq!((invocation.transaction_id.as_str(), invocation.cause), ("mine", None));
    assert!(!invocation.blocking && invocation.role.is_action());
    assert_eq!(invocation.identity.namespace.name.as_str(), "guest");
    world.guest_json(&format!("POST {NAMESPACE}/triggers/t"), r#"{"__ow_headers":1}"#).await;
    eventually("the second reacts", || taken(&world).len() == 2).await;
    let arguments: Value = taken(&world).remove(1).arguments.read().unwrap();
    assert_eq!(arguments["__ow_headers"], 1, "the payload wins");
}

#[tokio::test]
async fn a_body_may_be_left_out() {
    let world = world().await;
    link(&world, "r", "/_/a").await;
    let line = format!("POST {NAMESPACE}/triggers/t");
    for request in [request(&line), request(&line).json("")] {
        let record = record(&world, &id(&world.send(request).await)).await;
        assert_eq!(record["response"]["result"], json!({}));
    }
    for (body, reason) in
        [("[]", "JSON object expected"), ("1", "JSON object expected"), ("null", "JSON object expected")]
    {
        for name in ["t", "missing"] {
            let text = format!("The request content was malformed:\n{reason}");
            world.refused(request(&format!("POST {NAMESPACE}/triggers/{name}")).json(body), 400, &text).await;
        }
    }
    let text = "The request's Content-Type [text/plain] is not supported. Expected:\napplication/json";
    world.refused(request(&line).header("content-type", "text/plain").raw_body("{}"), 415, text).await;
    world.refused(request(&line).header("content-type", "text/plain").raw_body(""), 415, text).await;
    assert_eq!(taken(&world).len(), 2);
}

#[tokio::test]
async fn every_rule_fails_for_itself() {
    let world = world().await;
    for name in ["gone", "overloaded", "panics"] {
        world.create(name, "").await;
    }
    world
        .create(
            "final",
            r#","parameters":[{"key":"x","value":1}],"annotations":[{"key":"final","value":true}]"#,
        )
        .await;
    put(&world, "packages/p", json!({})).await;
    put(&world, "actions/p/a", json!({"exec":{"kind":"nodejs:20","code":""}})).await;
    put(
        &world,
        "packages/bound",
        json!({"binding":{"namespace":"_","name":"p"},"parameters":[{"key":"k","value":1}]}),
    )
    .await;
    let of_alice = |line: &str, body: Value| Request::new(line).auth(&alice()).json(body);
    for (path, body) in [
        ("packages/p", json!({"publish":true})),
        ("actions/p/a", json!({"exec":{"kind":"nodejs:20","code":""}})),
    ] {
        assert_eq!(world.send(of_alice(&format!("PUT {NAMESPACE}/{path}"), body)).await.status, 200);
    }
    for (rule, action) in [
        ("bound", "/_/bound/a"),
        ("final", "/_/final"),
        ("fine", "/_/a"),
        ("gone", "/_/gone"),
        ("overloaded", "/_/overloaded"),
        ("packaged", "/_/p/a"),
        ("panics", "/_/panics"),
        ("shared", "/alice/p/a"),
    ] {
        link(&world, &format!("on-{rule}"), action).await;
    }
    assert_eq!(world.guest(&format!("DELETE {NAMESPACE}/actions/gone")).await.status, 200);
    let unshare = of_alice(&format!("PUT {NAMESPACE}/packages/p?overwrite=true"), json!({"publish":false}));
    assert_eq!(world.send(unshare).await.status, 200);
    let record = record(&world, &id(&fire(&world, r#"{"x":2}"#).await)).await;
    assert_eq!(record["response"]["status"], "success");
    let told: Vec<_> = lines(&record)
        .iter()
        .map(|line| {
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            assert_eq!(line["success"].as_bool(), Some(line["statusCode"] == 0));
            assert_eq!(line["success"] == true, line.get("activationId").is_some());
            (text("rule"), text("action"), line["statusCode"].as_u64().unwrap(), text("error"))
        })
        .collect();
    let finals = "Request defines parameters that are not allowed (e.g., reserved properties).";
    let refused = "The supplied authentication is not authorized to access 'alice/p'.";
    let expected = [
        ("bound", "guest/bound/a", 0, ""),
        ("final", "guest/final", 1, finals),
        ("fine", "guest/a", 0, ""),
        ("gone", "guest/gone", 1, MISSING),
        ("overloaded", "guest/overloaded", 3, "System is overloaded, try again later."),
        ("packaged", "guest/p/a", 0, ""),
        ("panics", "guest/panics", 3, "There was an internal server error."),
        ("shared", "alice/p/a", 1, refused),
    ]
    .map(|(rule, action, code, error)| {
        (format!("guest/on-{rule}"), action.to_owned(), code, error.to_owned())
    });
    assert_eq!(told, expected);
    let bound = taken(&world).into_iter().find(|one| one.binding.is_some()).unwrap();
    assert_eq!(bound.binding.as_deref(), Some("guest/bound"));
    assert_eq!(bound.arguments.get("k").unwrap().as_str(), "1");
}

#[tokio::test]
async fn reactions_count_as_invocations_of_who_fired() {
    let world = World::with(|config| config.rates.concurrent_invocations = Some(2)).await;
    world.create("slow", "").await;
    triggers::put(&world, "t", json!({})).await;
    for rule in ["r1", "r2", "r3"] {
        link(&world, rule, "/_/slow").await;
    }
    let record = record(&world, &id(&fire(&world, "{}").await)).await;
    let codes: Vec<_> = lines(&record).iter().map(|line| line["statusCode"].as_u64().unwrap()).collect();
    assert_eq!(codes, [0, 0, 1]);
    assert_eq!(lines(&record)[2]["error"], "Too many concurrent requests in flight (count: 2, allowed: 2).");
    // The places are kept until the activations end.
    let refused = world.guest(&format!("POST {NAMESPACE}/actions/slow")).await;
    assert_eq!(refused.status, 429);
    eventually("both wait", || taken(&world).len() == 2).await;
    world.invoker.release.notify_one();
    world.invoker.release.notify_one();
    eventually("both end", || world.ended() == 3).await;
    let deadline = tokio::time::Instant::now() + crate::client::SOON;
    while world.guest(&format!("POST {NAMESPACE}/actions/slow")).await.status == 429 {
        assert!(tokio::time::Instant::now() < deadline, "their places are free");
    }
}

#[tokio::test]
async fn fires_are_charged_before_rights_and_existence() {
    let world = world().await;
    link(&world, "r", "/_/a").await;
    let limits = UserLimits { fires_per_minute: Some(3), ..UserLimits::default() };
    world.subjects.set_limits("guest", Some(&limits)).await.unwrap();
    early_in_a_minute().await;
    let missing = request(&format!("POST {NAMESPACE}/triggers/missing"));
    world.refused(missing, 404, MISSING).await;
    assert_eq!(world.guest("POST /api/v1/namespaces/alice/triggers/t").await.status, 403);
    assert_eq!(world.guest(&format!("POST {NAMESPACE}/triggers/-illegal")).await.status, 400, "not charged");
    assert_eq!(fire(&world, "{}").await.status, 202);
    for count in 4..6 {
        let text = format!("Too many requests in the last minute (count: {count}, allowed: 3).");
        let response =
            world.refused(request(&format!("POST {NAMESPACE}/triggers/t")).json("no"), 429, &text).await;
        let seconds: u64 = response.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds) && response.has_cors());
    }
    assert_eq!(world.guest(&format!("POST {NAMESPACE}/actions/a")).await.status, 202, "counted apart");
}

#[tokio::test]
async fn a_change_of_the_trigger_is_seen_by_the_next_fire() {
    let world = world().await;
    let mut connection = Connection::open(world.address).await;
    let fire = request(&format!("POST {NAMESPACE}/triggers/t")).json("{}");
    for round in 1..10 {
        assert_eq!(connection.send(&fire).await.status, 204);
        link(&world, "r", "/_/a").await;
        let parameters = json!({"parameters":[{"key":"round","value":round}]});
        triggers::put(&world, "t?overwrite=true", parameters).await;
        record(&world, &id(&connection.send(&fire).await)).await;
        assert_eq!(taken(&world).pop().unwrap().arguments.get("round").unwrap().as_str(), round.to_string());
        if round % 2 == 0 {
            assert_eq!(world.guest(&format!("DELETE {NAMESPACE}/rules/r")).await.status, 200);
        } else {
            assert_eq!(world.guest(&format!("DELETE {NAMESPACE}/triggers/t")).await.status, 200);
            assert_eq!(connection.send(&fire).await.status, 404);
            triggers::put(&world, "t", json!({})).await;
            assert_eq!(world.guest(&format!("DELETE {NAMESPACE}/rules/r")).await.status, 200);
        }
    }
}

#[tokio::test]
async fn records_follow_the_level_of_what_nobody_waits_for() {
    for (level, own, extra, kept) in [
        (StoreLevel::StoreAlways, None, false, true),
        (StoreLevel::StoreFailures, None, false, false),
        (StoreLevel::StoreFailures, None, true, true),
        (StoreLevel::StoreAlways, Some(false), true, false),
    ] {
        let world = World::with(|config| config.store_non_blocking = level).await;
        world.create("a", "").await;
        triggers::put(&world, "t", json!({})).await;
        link(&world, "r", "/_/a").await;
        let limits = UserLimits { store_activations: own, ..UserLimits::default() };
        world.subjects.set_limits("guest", Some(&limits)).await.unwrap();
        let mut fire = request(&format!("POST {NAMESPACE}/triggers/t")).json("{}");
        if extra {
            fire = fire.header("x-ow-extra-logging", "on");
        }
        let id = id(&world.send(fire).await);
        eventually("the fire ends", || ended(&world, &id)).await;
        let status = world.guest(&format!("GET {NAMESPACE}/activations/{id}")).await.status;
        assert_eq!(status, if kept { 200 } else { 404 }, "{level:?} {own:?} {extra}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_rules_react_behind_the_answer() {
    let world = World::new().await;
    world.create("a", "").await;
    let link = json!({"action":{"path":"guest","name":"a"},"status":"active"});
    let rules: serde_json::Map<_, _> =
        (0..1000).map(|rule| (format!("guest/r{rule:03}"), link.clone())).collect();
    let trigger = json!({"namespace":"guest","name":"t","version":"0.0.1","updated":1,"rules":rules});
    world.store(Collection::Triggers, "guest", "t", &trigger.to_string()).await;
    let id = id(&fire(&world, r#"{"x":1}"#).await);
    let record = record(&world, &id).await;
    let lines = lines(&record);
    assert_eq!(lines.len(), 1000);
    assert!(lines.iter().all(|line| line["statusCode"] == 0));
    assert_eq!(lines[7]["rule"], "guest/r007", "in the order of their names");
    assert_eq!(taken(&world).len(), 1000);
}

#[tokio::test]
async fn fires_of_an_earlier_life_run_once_or_end_interrupted() {
    let world = world().await;
    link(&world, "r", "/_/a").await;
    id(&fire(&world, r#"{"x":1}"#).await);
    eventually("it ends", || world.log.events().iter().any(|event| matches!(event, Event::Finished(_))))
        .await;
    let Event::Accepted(accepted) = world.log.events().remove(0) else { panic!("accepted comes first") };
    assert!(matches!(&accepted.role, Role::Fire { beneath } if beneath.get("__ow_headers").is_some()));
    assert_eq!(accepted.action.exec.kind, "trigger");
    let again = |name: &str, started: Option<u32>| {
        let mut invocation = Invocation::clone(&accepted);
        invocation.activation_id = chasen_entity::ActivationId::generate();
        let mut action = chasen_entity::ExecutableAction::clone(&invocation.action);
        action.name.name = chasen_entity::EntityName::new(name).unwrap();
        invocation.action = Arc::new(action);
        let invocation = Arc::new(invocation);
        world.log.append(&Event::Accepted(invocation.clone())).unwrap();
        Unfinished { invocation, started, progress: None, is_whole: true }
    };
    let (fresh, begun, gone) = (again("t", None), again("t", Some(1)), again("deleted", None));
    let ids = [&fresh, &begun, &gone].map(|work| work.invocation.activation_id.to_string());
    for work in [fresh, begun, gone] {
        world.take_up(work);
    }
    let [fresh, begun, gone] = ids;
    let fresh = record(&world, &fresh).await;
    assert_eq!((&fresh["response"]["result"], lines(&fresh).len()), (&json!({"x":1}), 1));
    assert_eq!(taken(&world).len(), 2, "the first one, and the one that had not begun");
    let begun = record(&world, &begun).await;
    assert_eq!(begun["response"]["status"], "whisk internal error");
    assert_eq!(
        begun["response"]["result"]["error"],
        "The activation was interrupted before its result was known."
    );
    assert_eq!((begun.get("end"), &begun["logs"]), (None, &json!([])));
    assert_eq!(record(&world, &gone).await["logs"], json!([]));
}
