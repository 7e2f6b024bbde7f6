//! Rules: create, read, update, delete, switch on and off, list.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use chasen_entity::{ByteSize, UserLimits};
use chasen_spi::{Collection, Privilege, Resource, SubjectStore as _};
use serde_json::{Value, json};

use crate::client::{Request, Response};
use crate::triggers;
use crate::world::{World, alice, guest};

const RULES: &str = "/api/v1/namespaces/_/rules";
const MISSING: &str = "The requested resource does not exist.";
const CONFORMANCE: &str = "Resource by this name exists but is not in this collection.";

fn request(line: &str) -> Request {
    Request::new(line).auth(&guest())
}

/// A world with the actions `a` and `b` and the triggers `t` and `u`.
async fn world() -> World {
    let world = World::new().await;
    for name in ["a", "b"] {
        world.create(name, "").await;
    }
    for name in ["t", "u"] {
        triggers::put(&world, name, json!({})).await;
    }
    world
}

async fn put(world: &World, call: &str, body: Value) -> Value {
    let response = world.guest_json(&format!("PUT {RULES}/{call}"), &body).await;
    assert_eq!((response.status, response.has_cors()), (200, true), "{body}: {response:?}");
    response.json()
}

async fn get(world: &World, name: &str) -> Value {
    world.guest(&format!("GET {RULES}/{name}")).await.json()
}

async fn set(world: &World, name: &str, status: &str) -> Response {
    world.guest_json(&format!("POST {RULES}/{name}"), json!({"status":status})).await
}

async fn delete_trigger(world: &World, name: &str) {
    let response = world.guest(&format!("DELETE /api/v1/namespaces/_/triggers/{name}")).await;
    assert_eq!(response.status, 200);
}

/// The links of a trigger: status by rule.
async fn links(world: &World, trigger: &str) -> Value {
    let trigger = world.guest(&format!("GET /api/v1/namespaces/_/triggers/{trigger}")).await.json();
    let rules = trigger["rules"].as_object().cloned().unwrap_or_default();
    rules.into_iter().map(|(rule, link)| (rule, link["status"].clone())).collect()
}

fn rule() -> Value {
    json!({"trigger":"/_/t","action":"/_/a"})
}

#[tokio::test]
async fn a_rule_is_created_read_listed_and_deleted() {
    let world = world().await;
    let body = json!({"trigger":"/_/t","action":"/guest/a","status":"","namespace":"_","name":"zz",
        "annotations":[{"key":"k","value":1.0}]});
    let created = put(&world, "r", body).await;
    let updated = created["updated"].as_u64().unwrap();
    let mut expected = json!({"namespace":"guest","name":"r","status":"active","trigger":{"path":"guest","name":"t"},
        "action":{"path":"guest","name":"a"},"version":"0.0.1","publish":false,
        "annotations":[{"key":"k","value":1.0}],"updated":updated});
    assert_eq!(created, expected);
    assert_eq!(get(&world, "r").await, expected);
    assert_eq!(get(&world, "r/").await, expected);
    assert_eq!(links(&world, "t").await, json!({"guest/r":"active"}));
    let mut element = expected.clone();
    element.as_object_mut().unwrap().remove("status");
    assert_eq!(world.guest(&format!("GET {RULES}")).await.json(), json!([element]));
    assert_eq!(world.guest(&format!("GET {RULES}/?count=true")).await.json(), json!({"rules":1}));
    expected["status"] = "inactive".into();
    assert_eq!(world.guest(&format!("DELETE {RULES}/r")).await.json(), expected);
    assert_eq!(links(&world, "t").await, json!({}));
    for (method, body) in [("GET", ""), ("DELETE", ""), ("POST", r#"{"status":"active"}"#)] {
        world.refused(request(&format!("{method} {RULES}/r")).json(body), 404, MISSING).await;
    }
}

#[tokio::test]
async fn references_come_in_many_forms() {
    let world = world().await;
    for (number, form) in [
        json!("/guest/NAME"),
        json!("guest/NAME"),
        json!("/_/NAME"),
        json!("_/NAME"),
        json!("//guest//NAME"),
        json!({"path":"guest","name":"NAME"}),
        json!({"path":"_","name":"NAME","version":"0.0.1"}),
    ]
    .into_iter()
    .enumerate()
    {
        let of =
            |name: &str| -> Value { serde_json::from_str(&form.to_string().replace("NAME", name)).unwrap() };
        let created = put(&world, &format!("r{number}"), json!({"trigger":of("t"),"action":of("a")})).await;
        assert_eq!(created["trigger"], json!({"path":"guest","name":"t"}), "{form}");
        assert_eq!(created["action"], json!({"path":"guest","name":"a"}), "{form}");
    }
}

#[tokio::test]
async fn bad_bodies_say_why_and_change_nothing() {
    let world = world().await;
    put(&world, "there", rule()).await;
    let qualified = "requirement failed: The fully qualified name of the entity must contain at least the namespace and the name of the entity.";
    for (body, reason) in [
        (r#"[]"#, "Object expected in field 'exec'"),
        (r#"{"trigger":"t"}"#, qualified),
        (r#"{"trigger":"/_/t","action":"a"}"#, qualified),
        (r#"{"action":""}"#, "requirement failed: path undefined"),
        (r#"{"action":"/_/a=b"}"#, "requirement failed: path contains invalid parts ArraySeq(_, a=b)"),
        (r#"{"action":1}"#, "fully qualified name malformed"),
        (r#"{"trigger":{"name":"t"}}"#, "fully qualified name malformed"),
        (r#"{"annotations":{}}"#, "parameters malformed!"),
        (r#"{"parameters":{}}"#, "parameters malformed!"),
        (r#"{"publish":1}"#, "Expected JsBoolean, but got 1"),
        (r#"{"version":"a"}"#, "semantic version malformed"),
    ] {
        for name in ["new", "there?overwrite=true"] {
            let put = request(&format!("PUT {RULES}/{name}")).json(body);
            let text = format!("The request content was malformed:\n{reason}");
            assert!(!world.refused(put, 400, &text).await.has_cors(), "{body}");
        }
    }
    let text = "The query parameter 'overwrite' was malformed:\n'maybe' is not a valid Boolean value";
    world.refused(request(&format!("PUT {RULES}/new?overwrite=maybe")).json(rule()), 400, text).await;
    let text = "The request's Content-Type [text/plain] is not supported. Expected:\napplication/json";
    for method in ["PUT", "POST"] {
        let plain =
            request(&format!("{method} {RULES}/there")).header("content-type", "text/plain").raw_body("{}");
        world.refused(plain, 415, text).await;
        let empty = world.send(request(&format!("{method} {RULES}/there"))).await;
        assert_eq!(empty.status, 400);
        assert!(empty.error().starts_with("The request content was malformed:\nUnexpected end-of-input"));
    }
}

#[tokio::test]
async fn a_new_rule_needs_a_trigger_and_an_action_that_are_there() {
    let world = world().await;
    world.store(Collection::Triggers, "guest", "bad", "{}").await;
    world.store(Collection::Actions, "guest", "worse", "{}").await;
    let pair = |trigger: &str, action: &str| json!({"trigger":trigger,"action":action});
    let incomplete = "rule requires a valid trigger and a valid action";
    let package = world.guest_json("PUT /api/v1/namespaces/_/packages/p", "{}").await;
    assert_eq!(package.status, 200);
    for (body, status, text) in [
        (json!({}), 400, incomplete),
        (json!({"trigger":"/_/t"}), 400, incomplete),
        (json!({"trigger":null,"action":"/_/a"}), 400, incomplete),
        (pair("/_/x", "/_/a"), 400, "trigger /guest/x does not exist"),
        (pair("/_/x", "/_/y"), 400, "trigger /guest/x does not exist"),
        (pair("/_/p/x", "/_/a"), 400, "trigger /guest/p/x does not exist"),
        (pair("/_/t", "/_/y"), 400, "action /guest/y does not exist"),
        (pair("/_/t", "/_/p/y"), 400, "action /guest/p/y does not exist"),
        (pair("/_/t", "/_/p/q/y"), 400, "action /guest/p/q/y does not exist"),
        (pair("/_/t", "/_/nopackage/y"), 404, MISSING),
        (pair("/_/t", "/_/a/y"), 409, CONFORMANCE),
        (pair("/_/a", "/_/a"), 400, CONFORMANCE),
        (pair("/_/t", "/_/u"), 400, CONFORMANCE),
        (pair("/_/t", "/_/p"), 400, CONFORMANCE),
        (pair("/_/bad", "/_/a"), 400, "Resource is corrupted and cannot be read."),
        (pair("/_/t", "/_/worse"), 400, "Resource is corrupted and cannot be read."),
    ] {
        let put = request(&format!("PUT {RULES}/new")).json(&body);
        assert!(world.refused(put, status, text).await.has_cors(), "{body}");
    }
    put(&world, "there", rule()).await;
    for (body, text) in [
        (json!({"trigger":"/_/x"}), "trigger /guest/x does not exist"),
        (json!({"action":"/_/y"}), "action /guest/y does not exist"),
    ] {
        world.refused(request(&format!("PUT {RULES}/there?overwrite=true")).json(body), 400, text).await;
    }
    delete_trigger(&world, "t").await;
    let empty = || request(&format!("PUT {RULES}/there?overwrite=true")).json("{}");
    world.refused(empty(), 400, "trigger /guest/t does not exist").await;
    triggers::put(&world, "t", json!({})).await;
    assert_eq!(world.guest("DELETE /api/v1/namespaces/_/actions/a").await.status, 200);
    world.refused(empty(), 400, "action /guest/a does not exist").await;
}

#[tokio::test]
async fn references_ask_for_rights_before_existence() {
    let world = world().await;
    put(&world, "there", rule()).await;
    let refused = |paths: &str| format!("The supplied authentication is not authorized to access '{paths}'.");
    let pair = |trigger: &str, action: &str| json!({"trigger":trigger,"action":action});
    for (body, paths) in [
        (pair("/alice/t", "/_/a"), "alice/t"),
        (pair("/_/t", "/alice/a"), "alice/a"),
        (pair("/_/t", "/alice/p/a"), "alice/p"),
        (pair("/_/t", "/alice/p/q/a"), "alice/p/q/a"),
        (pair("/alice/t", "/alice/a"), "alice/a, alice/t"),
        (json!({"action":"/alice/a"}), "alice/a"),
    ] {
        for name in ["new", "there", "there?overwrite=true"] {
            let put = request(&format!("PUT {RULES}/{name}")).json(&body);
            world.refused(put, 403, &refused(paths)).await;
        }
    }
    world
        .refused(
            request(&format!("PUT {RULES}/there")).json(pair("/_/x", "/_/y")),
            409,
            "resource already exists",
        )
        .await;
    for (line, path) in [
        ("GET /api/v1/namespaces/alice/rules", "alice"),
        ("GET /api/v1/namespaces/alice/rules/r", "alice/r"),
        ("PUT /api/v1/namespaces/alice/rules/r", "alice/r"),
        ("POST /api/v1/namespaces/alice/rules/r", "alice/r"),
        ("DELETE /api/v1/namespaces/alice/rules/r", "alice/r"),
    ] {
        world.refused(request(line).raw_body("not JSON"), 403, &refused(path)).await;
    }
    // A trigger of another namespace may be linked by who was given the right.
    let of_alice = |line: &str| Request::new(line).auth(&alice()).json("{}");
    assert_eq!(world.send(of_alice("PUT /api/v1/namespaces/_/triggers/t")).await.status, 200);
    let resource =
        Resource { collection: "triggers", namespace: "alice".to_owned(), entity: Some("t".to_owned()) };
    world.grants.grant("guest", Privilege::Read, resource);
    let created = put(&world, "far", pair("/alice/t", "/_/a")).await;
    assert_eq!((&created["trigger"]["path"], &created["status"]), (&json!("alice"), &json!("active")));
    let trigger = world.send(of_alice("GET /api/v1/namespaces/_/triggers/t")).await.json();
    assert_eq!(trigger["rules"]["guest/far"]["status"], "active");
}

#[tokio::test]
async fn actions_lie_in_packages_and_behind_bindings() {
    let world = world().await;
    for (path, body) in [
        ("packages/p", json!({})),
        ("actions/p/a", json!({"exec":{"kind":"nodejs:20","code":""}})),
        ("packages/bound", json!({"binding":{"namespace":"_","name":"p"}})),
    ] {
        let response = world.guest_json(&format!("PUT /api/v1/namespaces/_/{path}"), body).await;
        assert_eq!(response.status, 200, "{response:?}");
    }
    for (name, path) in [("r1", "guest/p"), ("r2", "guest/bound")] {
        let body = json!({"trigger":"/_/t","action":format!("/{path}/a")});
        let created = put(&world, name, body).await;
        assert_eq!(created["action"], json!({"path":path,"name":"a"}), "the name as given");
    }
    assert_eq!(world.guest("DELETE /api/v1/namespaces/_/packages/p?force=true").await.status, 200);
    let missing = "action /guest/bound/a does not exist";
    world.refused(request(&format!("PUT {RULES}/r2?overwrite=true")).json("{}"), 400, missing).await;
    assert_eq!(get(&world, "r2").await["status"], "active", "whatever became of its action");
}

#[tokio::test]
async fn updates_keep_the_status_and_move_the_link() {
    let world = world().await;
    put(&world, "r", rule()).await;
    for status in ["active", "inactive"] {
        assert_eq!(set(&world, "r", status).await.status, 200);
        let before = get(&world, "r").await;
        let updated =
            put(&world, "r?overwrite=true", json!({"annotations":[{"key":"k","value":status}]})).await;
        assert_eq!(updated["status"], status);
        assert_ne!(updated["version"], before["version"]);
        let updated = put(&world, "r?overwrite=true", json!({"action":"/_/b","status":"active"})).await;
        assert_eq!((&updated["status"], &updated["action"]["name"]), (&json!(status), &json!("b")));
        let moved = put(&world, "r?overwrite=true", json!({"trigger":"/_/u","version":"3.0.0"})).await;
        assert_eq!((&moved["status"], &moved["version"]), (&json!(status), &json!("3.0.0")));
        assert_eq!(links(&world, "t").await, json!({}));
        assert_eq!(links(&world, "u").await, json!({"guest/r":status}));
        let back = put(&world, "r?overwrite=true", json!({"trigger":"/_/t","action":"/_/a"})).await;
        assert_eq!(get(&world, "r").await, back);
        assert_eq!(
            (links(&world, "t").await, links(&world, "u").await),
            (json!({"guest/r":status}), json!({}))
        );
    }
    // A trigger that was made anew knows the rule no more.
    set(&world, "r", "active").await;
    delete_trigger(&world, "t").await;
    assert_eq!(get(&world, "r").await["status"], "inactive");
    triggers::put(&world, "t", json!({})).await;
    assert_eq!(get(&world, "r").await["status"], "inactive");
    assert_eq!(put(&world, "r?overwrite=true", json!({})).await["status"], "inactive");
    assert_eq!(links(&world, "t").await, json!({"guest/r":"inactive"}));
    // Moving away from a trigger that is gone.
    set(&world, "r", "active").await;
    delete_trigger(&world, "t").await;
    assert_eq!(put(&world, "r?overwrite=true", json!({"trigger":"/_/u"})).await["status"], "inactive");
    assert_eq!(links(&world, "u").await, json!({"guest/r":"inactive"}));
    // The name of the trigger may be something else's by now.
    world.create("t", "").await;
    assert_eq!(put(&world, "s", json!({"trigger":"/_/u","action":"/_/t"})).await["status"], "active");
}

#[tokio::test]
async fn rules_are_switched_on_and_off() {
    let world = world().await;
    let created = put(&world, "r", rule()).await;
    let trigger = world.guest("GET /api/v1/namespaces/_/triggers/t").await.json();
    for status in ["active", "inactive", "inactive", "active"] {
        let body = json!({"status":status,"trigger":null,"action":null,"extra":[1]});
        let response = world.guest_json(&format!("POST {RULES}/r"), body).await;
        assert_eq!((response.status, response.text().as_str(), response.has_cors()), (200, "OK", true));
        assert_eq!(response.header("content-type"), Some("text/plain; charset=UTF-8"));
        let now = get(&world, "r").await;
        assert_eq!(now["status"], status);
        for field in ["updated", "version"] {
            assert_eq!(now[field], created[field]);
        }
        let now = world.guest("GET /api/v1/namespaces/_/triggers/t").await.json();
        assert_eq!((&now["updated"], &now["version"]), (&trigger["updated"], &trigger["version"]));
        assert_eq!(links(&world, "t").await, json!({"guest/r":status}));
    }
    for (body, reason) in [
        (r#"{"status":"on"}"#, "requirement failed: on is not a recognized rule state"),
        (r#"{"status":"Active"}"#, "requirement failed: Active is not a recognized rule state"),
        (r#"{"status":"activating"}"#, "requirement failed: activating is not a recognized rule state"),
        (r#"{"status":""}"#, "requirement failed: argument undefined"),
        (r#"{"state":"active"}"#, "key not found: status"),
        (r#"{"status":true}"#, "true is not a string"),
        (r#"{"status":null}"#, "null is not a string"),
        (r#"["active"]"#, "Object expected in field 'status'"),
    ] {
        for name in ["r", "missing"] {
            let text = format!("The request content was malformed:\n{reason}");
            world.refused(request(&format!("POST {RULES}/{name}")).json(body), 400, &text).await;
        }
    }
    let large = json!({"status":"active","x":"x".repeat(1024 * 1024)}).to_string();
    let text = format!("Request larger than allowed: {} > 1048576 bytes.", large.len());
    world.refused(request(&format!("POST {RULES}/missing")).json(&large), 413, &text).await;
    let own = UserLimits { max_payload_size: Some(ByteSize::bytes(10)), ..UserLimits::default() };
    world.subjects.set_limits("guest", Some(&own)).await.unwrap();
    let text = "Request larger than allowed: 21 > 10 bytes.";
    world.refused(request(&format!("POST {RULES}/r")).json(r#"{"status":"inactive"}"#), 413, text).await;
}

#[tokio::test]
async fn a_rule_without_its_trigger_is_inactive_for_good() {
    let world = world().await;
    put(&world, "r", rule()).await;
    delete_trigger(&world, "t").await;
    assert_eq!(get(&world, "r").await["status"], "inactive");
    assert_eq!(set(&world, "r", "inactive").await.status, 200);
    let activate = request(&format!("POST {RULES}/r")).json(r#"{"status":"active"}"#);
    let text = "Only rules with existing triggers can be activated";
    assert!(world.refused(activate.clone(), 404, text).await.has_cors());
    world.create("t", "").await;
    world.refused(activate, 404, text).await;
    assert_eq!(world.guest("DELETE /api/v1/namespaces/_/actions/t").await.status, 200);
    triggers::put(&world, "t", json!({})).await;
    assert_eq!(set(&world, "r", "active").await.text(), "OK");
    assert_eq!(links(&world, "t").await, json!({"guest/r":"active"}), "made anew");
    delete_trigger(&world, "t").await;
    let deleted = world.guest(&format!("DELETE {RULES}/r")).await;
    assert_eq!((deleted.status, &deleted.json()["status"]), (200, &json!("inactive")));
}

#[tokio::test]
async fn names_of_others_and_unreadable_documents_are_refused() {
    let world = world().await;
    world.store(Collection::Rules, "guest", "bad", "{}").await;
    for (name, status, text) in [
        ("a", 409, CONFORMANCE),
        ("t", 409, CONFORMANCE),
        ("bad", 500, "Resource is corrupted and cannot be read."),
    ] {
        for (method, body) in
            [("GET", json!({})), ("PUT", rule()), ("DELETE", json!({})), ("POST", json!({"status":"active"}))]
        {
            let line = request(&format!("{method} {RULES}/{name}?overwrite=true")).json(body);
            world.refused(line, status, text).await;
        }
    }
    put(&world, "r", rule()).await;
    for (method, path) in
        [("GET", "actions/r"), ("PUT", "triggers/r"), ("GET", "triggers/r"), ("POST", "triggers/r")]
    {
        let line = request(&format!("{method} /api/v1/namespaces/_/{path}?overwrite=true")).json("{}");
        world.refused(line, 409, CONFORMANCE).await;
    }
    for line in [
        "GET /api/v1/namespaces/_/rules/r/extra",
        "POST /api/v1/namespaces/_/rules",
        "PUT /api/v1/namespaces/_/rules/",
    ] {
        world.refused(request(line), 404, "The requested resource could not be found.").await;
    }
    let large = json!({"annotations":[{"key":"ab","value":"x".repeat(1024 * 1024)}]});
    let text = "annotations larger than allowed: 1048580 > 1048576 bytes.";
    world.refused(request(&format!("PUT {RULES}/r?overwrite=true")).json(large), 413, text).await;
}

#[tokio::test]
async fn a_trigger_has_room_for_so_many_rules() {
    let world = world().await;
    let link = json!({"action":{"path":"guest","name":"a"},"status":"active"});
    let rules: serde_json::Map<_, _> =
        (0..25_574).map(|rule| (format!("guest/{rule:06}"), link.clone())).collect();
    let trigger = json!({"namespace":"guest","name":"full","version":"0.0.1","updated":1,"rules":rules});
    world.store(Collection::Triggers, "guest", "full", &trigger.to_string()).await;
    put(&world, "last", json!({"trigger":"/_/full","action":"/_/a"})).await;
    let text = "rules larger than allowed: 2097228 > 2097152 bytes.";
    let more = request(&format!("PUT {RULES}/more")).json(json!({"trigger":"/_/full","action":"/_/a"}));
    assert!(world.refused(more.clone(), 413, text).await.has_cors());
    assert_eq!(set(&world, "last", "inactive").await.status, 200);
    assert_eq!(world.guest(&format!("DELETE {RULES}/last")).await.status, 200);
    assert_eq!(world.send(more).await.status, 200);
}

#[tokio::test]
async fn who_is_overtaken_tries_again_and_gives_up_at_last() {
    let world = world().await;
    put(&world, "r", rule()).await;
    for (method, path, body) in [
        ("PUT", "rules/s", rule()),
        ("PUT", "rules/r?overwrite=true", json!({"trigger":"/_/u"})),
        ("POST", "rules/r", json!({"status":"inactive"})),
        ("PUT", "triggers/v", json!({})),
        ("PUT", "triggers/t?overwrite=true", json!({})),
        ("DELETE", "triggers/t", json!({})),
        ("DELETE", "rules/r", json!({})),
    ] {
        let line = request(&format!("{method} /api/v1/namespaces/_/{path}")).json(&body);
        let conflicts = |number| world.artifacts.conflicts.store(number, Ordering::SeqCst);
        conflicts(usize::MAX);
        let text = "Concurrent modification to resource detected.";
        assert!(world.refused(line.clone(), 409, text).await.has_cors(), "{method} {path}");
        conflicts(3);
        assert_eq!(world.send(line).await.status, 200, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_who_link_to_one_trigger_do_not_conflict() {
    const WRITERS: usize = 40;
    let world = Arc::new(world().await);
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| {
            let world = world.clone();
            tokio::spawn(async move {
                let name = format!("r{number}");
                put(&world, &name, rule()).await;
                assert_eq!(set(&world, &name, "inactive").await.status, 200);
                put(&world, &format!("{name}?overwrite=true"), json!({"trigger":"/_/u"})).await;
                assert_eq!(set(&world, &name, "active").await.status, 200);
                triggers::put(&world, "u?overwrite=true", json!({})).await;
                if number % 2 == 0 {
                    assert_eq!(world.guest(&format!("DELETE {RULES}/{name}")).await.status, 200);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(links(&world, "t").await, json!({}));
    let left: Value = (0..WRITERS)
        .filter(|number| number % 2 == 1)
        .map(|number| (format!("guest/r{number}"), json!("active")))
        .collect();
    assert_eq!(links(&world, "u").await, left);
    let count = world.guest(&format!("GET {RULES}?count=true")).await.json();
    assert_eq!(count, json!({"rules": WRITERS / 2}));
}
