//! What the activations of an action have left: its logs, its summary, and which addresses are theirs.

use std::sync::Arc;

use chasen_entity::{Activation, Event, Outcome};
use chasen_spi::memory::activation;
use chasen_spi::{EventLog, Privilege, Resource};
use serde_json::{Value, json};

use crate::client::Request;
use crate::world::{World, alice, guest};

const ACTIONS: &str = "/api/v1/namespaces/_/actions";
const MISSING: &str = "The requested resource does not exist.";
const CONFORMANCE: &str = "Resource by this name exists but is not in this collection.";

/// Leaves a record of the tenant `guest`: the action's path, its start in seconds, and its lines at these times.
fn leave(world: &World, path: &str, start: u64, lines: &[(&str, &str)]) -> String {
    leave_more(world, path, start, lines, |_| {})
}

fn leave_more(
    world: &World,
    path: &str,
    start: u64,
    lines: &[(&str, &str)],
    change: impl FnOnce(&mut Activation),
) -> String {
    let name = path.rsplit('/').next().unwrap();
    let mut record = activation("guest", name, start * 1000);
    record.annotations.set("path", path);
    let line = |(second, text): &(&str, &str)| {
        format!("{:<30} stdout: {text}", format!("1970-01-01T00:00:{second}Z"))
    };
    record.logs = lines.iter().map(line).collect();
    change(&mut record);
    let id = record.activation_id.to_string();
    world.log.append(&Event::Finished(Arc::new(record))).unwrap();
    id
}

async fn get(world: &World, path: &str) -> Value {
    let response = world.guest(&format!("GET {ACTIONS}/{path}")).await;
    assert_eq!((response.status, response.has_cors()), (200, true), "{path}: {response:?}");
    response.json()
}

/// The words of the lines, in order.
fn words(answer: &Value) -> Vec<&str> {
    let lines = answer["logs"].as_array().unwrap_or_else(|| panic!("no logs: {answer}"));
    lines.iter().map(|line| line["log"].as_str().unwrap().rsplit(' ').next().unwrap()).collect()
}

async fn put(world: &World, path: &str, body: Value) {
    let response = world.guest_json(&format!("PUT /api/v1/namespaces/_/{path}"), body).await;
    assert_eq!(response.status, 200, "{path}: {response:?}");
}

#[tokio::test]
async fn lines_of_all_activations_come_in_the_order_of_time() {
    let world = World::new().await;
    world.create("a", "").await;
    let first = leave(&world, "guest/a", 10, &[("10.1", "one"), ("30.5", "four")]);
    leave(&world, "guest/b", 15, &[("15.0", "other")]);
    let second = leave(&world, "guest/a", 20, &[("20.25", "two"), ("20.3", "three")]);
    let silent = leave(&world, "guest/a", 40, &[]);
    let answer = get(&world, "a/logs").await;
    assert_eq!(words(&answer), ["one", "two", "three", "four"]);
    let ids: Vec<_> = answer["logs"].as_array().unwrap().iter().map(|line| &line["activationId"]).collect();
    assert_eq!(ids, [&first, &second, &second, &first]);
    assert_eq!(answer["logs"][0]["log"], "1970-01-01T00:00:10.1Z         stdout: one");
    assert_eq!(
        (&answer["activations"], &answer["since"], &answer["upto"], &answer["more"], &answer["truncated"]),
        (&json!(3), &json!(10_000), &json!(40_000), &json!(false), &json!(false)),
        "{silent} counts"
    );
    for (query, expected, more) in [
        ("limit=2", vec!["two", "three"], true),
        ("limit=1&skip=1", vec!["two", "three"], true),
        ("limit=1&skip=2", vec!["one", "four"], false),
        ("skip=3", vec![], false),
        ("since=15000", vec!["two", "three"], false),
        ("upto=15000", vec!["one", "four"], false),
        ("since=10000&upto=10000", vec!["one", "four"], false),
        ("since=-1&upto=9999", vec![], false),
        ("since=50000", vec![], false),
        ("limit=0&count=what", vec!["one", "two", "three", "four"], false),
    ] {
        let answer = get(&world, &format!("a/logs?{query}")).await;
        assert_eq!((words(&answer), &answer["more"]), (expected, &json!(more)), "{query}");
    }
    let nothing = get(&world, "a/logs?since=50000").await;
    assert_eq!(nothing, json!({"logs": [], "activations": 0, "more": false, "truncated": false}));
}

#[tokio::test]
async fn pages_are_30_activations_by_default_and_200_at_most() {
    let world = World::new().await;
    for start in 0..210 {
        leave(&world, "guest/a", start, &[("59", "x")]);
    }
    for (query, lines) in [("", 30), ("?limit=0", 200), ("?limit=200", 200), ("?skip=190", 20)] {
        let answer = get(&world, &format!("a/logs{query}")).await;
        assert_eq!((words(&answer).len(), &answer["more"]), (lines, &json!(lines != 20)), "{query}");
    }
}

#[tokio::test]
async fn what_a_name_stands_for_decides_about_its_address() {
    let world = World::new().await;
    world.create("a", "").await;
    put(&world, "packages/p", json!({})).await;
    put(&world, "packages/bound", json!({"binding": {"namespace": "_", "name": "p"}})).await;
    for name in ["p/a", "p/logs", "p/summary", "logs", "summary"] {
        world.create(name, "").await;
    }
    for path in ["a", "logs", "p/a", "p/logs", "p/summary"] {
        leave(&world, &format!("guest/{path}"), 1, &[("1", path)]);
    }
    leave_more(&world, "guest/p/a", 2, &[("2", "through")], |record| {
        record.annotations.set("binding", "guest/bound");
    });
    for (path, word) in [
        ("a/logs", "a"),
        ("logs/logs", "logs"),
        ("p/a/logs", "p/a"),
        ("p/logs/logs", "p/logs"),
        ("p/summary/logs", "p/summary"),
        ("bound/a/logs", "through"),
    ] {
        assert_eq!(words(&get(&world, path).await), [word], "{path}");
    }
    for (path, count) in [
        ("a/summary", 1),
        ("summary/summary", 0),
        ("logs/summary", 1),
        ("p/a/summary", 1),
        ("bound/a/summary", 1),
    ] {
        assert_eq!(get(&world, path).await["activations"], count, "{path}");
    }
    // Whatever clients call by these paths is what it was.
    for (path, name, namespace) in [
        ("p/logs", "logs", "guest/p"),
        ("p/summary", "summary", "guest/p"),
        ("bound/logs?code=false", "logs", "guest/p"),
        ("logs", "logs", "guest"),
        ("summary", "summary", "guest"),
    ] {
        let action = get(&world, path).await;
        assert_eq!((&action["name"], &action["namespace"]), (&json!(name), &json!(namespace)), "{path}");
    }
    let called = world.guest_json(&format!("POST {ACTIONS}/p/logs?blocking=true"), "{}").await;
    assert_eq!(called.json()["name"], "logs");
}

#[tokio::test]
async fn a_package_that_has_no_such_action_says_so() {
    let world = World::new().await;
    put(&world, "packages/p", json!({})).await;
    put(&world, "triggers/t", json!({})).await;
    world.create("a", "").await;
    leave(&world, "guest/p", 1, &[("1", "of-an-action-before")]);
    leave_more(&world, "guest/t", 1, &[("1", "fire")], |record| record.end = 0);
    let unnamed = "The requested resource 'guest/nothing' does not exist.";
    for (path, status, text) in [
        ("p/logs", 404, MISSING),
        ("p/summary", 404, MISSING),
        ("t/logs", 409, CONFORMANCE),
        ("t/summary", 409, CONFORMANCE),
        ("nothing/logs", 404, unnamed),
        ("nothing/summary", 404, unnamed),
        ("nothing/a/logs", 404, unnamed),
        ("p/nothing/logs", 404, MISSING),
        ("p/nothing/summary", 404, MISSING),
        ("a/a/logs", 409, CONFORMANCE),
        ("a/nothing", 409, CONFORMANCE),
        ("a/logs/", 404, "The requested resource could not be found."),
        ("p/a/logs/", 404, "The requested resource could not be found."),
        ("p/a/results", 404, "The requested resource could not be found."),
        ("a%3D/logs", 400, "The name of the entity contains illegal characters."),
        ("p/a%3D/summary", 400, "The name of the entity contains illegal characters."),
    ] {
        world.refused(Request::new(&format!("GET {ACTIONS}/{path}")).auth(&guest()), status, text).await;
    }
    for method in ["PUT", "POST", "DELETE"] {
        let request = Request::new(&format!("{method} {ACTIONS}/p/a/logs")).auth(&guest()).json("{}");
        world.refused(request, 404, "The requested resource could not be found.").await;
    }
}

#[tokio::test]
async fn what_deleted_actions_have_left_can_be_read() {
    let world = World::new().await;
    for name in ["a", "p/a"] {
        if name == "p/a" {
            put(&world, "packages/p", json!({})).await;
        }
        world.create(name, "").await;
        leave(&world, &format!("guest/{name}"), 1, &[("1", "left")]);
        let deleted = world.guest(&format!("DELETE {ACTIONS}/{name}")).await;
        assert_eq!(deleted.status, 200, "{deleted:?}");
        assert_eq!(words(&get(&world, &format!("{name}/logs")).await), ["left"]);
        assert_eq!(get(&world, &format!("{name}/summary")).await["activations"], 1);
        // Also where the time that is asked for has nothing.
        assert_eq!(words(&get(&world, &format!("{name}/logs?since=5000")).await), Vec::<&str>::new());
    }
}

#[tokio::test]
async fn records_are_their_owners() {
    let world = World::new().await;
    world.create("a", "").await;
    leave(&world, "guest/a", 1, &[("1", "secret")]);
    put(&world, "packages/open", json!({"publish": true})).await;
    for name in ["open/a", "open/logs"] {
        world.create(name, "").await;
    }
    let ask = |path: &str| Request::new(&format!("GET /api/v1/namespaces/guest/actions/{path}"));
    let refused = |what: &str| format!("The supplied authentication is not authorized to access '{what}'.");
    for (path, what) in [
        ("a/logs", "guest/a"),
        ("a/summary", "guest/a"),
        ("open/a/logs", "guest"),
        ("open/a/summary", "guest"),
    ] {
        world.refused(ask(path).auth(&alice()), 403, &refused(what)).await;
    }
    let shared = world.send(ask("open/logs").auth(&alice())).await;
    assert_eq!((shared.status, &shared.json()["name"]), (200, &json!("logs")), "it is an action of all");
    assert_eq!(world.send(ask("a/logs")).await.status, 401);
    let all = Resource { collection: "activations", namespace: "guest".to_owned(), entity: None };
    world.grants.grant("alice", Privilege::Read, all);
    let granted = world.send(ask("a/logs").auth(&alice())).await;
    assert_eq!(words(&granted.json()), ["secret"]);
}

#[tokio::test]
async fn mistakes_in_queries_are_told_as_in_lists() {
    let world = World::new().await;
    world.create("a", "").await;
    let malformed = |name: &str, text: &str| format!("The query parameter '{name}' was malformed:\n{text}");
    for (query, name, text) in [
        ("limit=201", "limit", "The value '201' is not in the range of 0 to 200 for activations."),
        ("limit=-1", "limit", "The value '-1' is not in the range of 0 to 200 for activations."),
        ("limit=x", "limit", "The value 'x' is not an integer for activations."),
        ("skip=-1", "skip", "The value '-1' is not greater than or equal to 0 for activations."),
        ("since=x", "since", "Parameter is not a valid value for epoch seconds: x"),
        ("upto=1.5", "upto", "Parameter is not a valid value for epoch seconds: 1.5"),
        ("upto=", "upto", "Parameter is not a valid value for epoch seconds: "),
    ] {
        for part in ["logs", "summary"] {
            if part == "summary" && !["since", "upto"].contains(&name) {
                continue;
            }
            let request = Request::new(&format!("GET {ACTIONS}/a/{part}?{query}")).auth(&guest());
            world.refused(request, 400, &malformed(name, text)).await;
        }
    }
}

#[tokio::test]
async fn a_summary_tells_how_activations_went() {
    let world = World::new().await;
    world.create("a", "").await;
    let empty = get(&world, "a/summary").await;
    let nothing = json!({
        "activations": 0, "more": false, "timeouts": 0, "outOfMemory": 0,
        "statuses": {"success": 0, "application error": 0, "action developer error": 0, "whisk internal error": 0},
        "starts": {"cold": 0, "stem": 0, "warm": 0},
    });
    assert_eq!(empty, nothing);
    for number in 1..=20u64 {
        leave_more(&world, "guest/a", number, &[], |record| {
            record.end = record.start + number;
            record.response.outcome = if number == 7 { Outcome::DeveloperError } else { Outcome::Success };
            record.annotations.set("startKind", if number == 1 { "cold" } else { "warm" });
            record.annotations.set("cpuTime", &(f64::from(u32::try_from(number).unwrap()) / 8.0));
        });
    }
    let summary = get(&world, "a/summary").await;
    let expected = json!({
        "activations": 20, "since": 1000, "upto": 20_000, "more": false, "timeouts": 0, "outOfMemory": 0,
        "statuses": {"success": 19, "application error": 0, "action developer error": 1, "whisk internal error": 0},
        "starts": {"cold": 1, "stem": 0, "warm": 19},
        "duration": {"records": 20, "p50": 10, "p95": 19, "max": 20},
        "cpuTime": {"records": 20, "p50": 1.25, "p95": 2.375, "max": 2.5},
    });
    assert_eq!(summary, expected);
    let between = get(&world, "a/summary?since=7000&upto=8000").await;
    assert_eq!(
        (
            &between["activations"],
            &between["duration"]["max"],
            &between["statuses"]["action developer error"]
        ),
        (&json!(2), &json!(8), &json!(1))
    );
    let response = world
        .send(Request::new(&format!("GET {ACTIONS}/a/summary")).auth(&guest()).header("accept", "text/x"))
        .await;
    assert_eq!(response.status, 406);
}
