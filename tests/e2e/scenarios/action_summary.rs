//! The summary of an action: how its newest activations went, and what they cost.

use chasen_testkit::{Client, node};
use serde_json::{Value, json};

use crate::functions::{Function, Language, annotation, call, path};
use crate::scenario::Scenario;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("action_summary::outcomes_starts_and_costs_add_up", adds_up)
            .needing(Language::Nodejs.need()),
        Scenario::new("action_summary::sequences_have_one_too", sequence),
        Scenario::new("action_summary::names_that_have_none_are_told", missing),
    ]
}

async fn summary(client: &Client, name: &str, query: &str) -> Value {
    let reply = client.get(&format!("{}/summary{query}", path(name))).await.unwrap();
    assert_eq!(reply.status.as_u16(), 200, "{name}{query}: {}", reply.text());
    reply.json()
}

/// The value that so many of 100 are not larger than.
fn share(mut values: Vec<f64>, percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() * percent).div_ceil(100) - 1]
}

async fn adds_up() {
    let node = node().start();
    let client = node.client();
    let code = "function main({ error, crash }) {\n\
        if (crash) process.exit(1);\n  return error ? { error } : {};\n}";
    Function::nodejs("works", code).put(&client).await;
    assert_eq!(summary(&client, "works", "").await["activations"], 0);
    let mut records = Vec::new();
    for (arguments, calls) in
        [(json!({}), 10), (json!({"error": "no"}), 3), (json!({"crash": true}), 1), (json!({}), 2)]
    {
        for _ in 0..calls {
            records.push(call(&client, "works", &arguments).await.record);
        }
    }
    let found = summary(&client, "works", "").await;
    let starts: Vec<u64> = records.iter().map(|record| record["start"].as_u64().unwrap()).collect();
    for (key, value) in [
        ("activations", json!(16)),
        ("since", json!(starts.iter().min())),
        ("upto", json!(starts.iter().max())),
        ("more", json!(false)),
        ("timeouts", json!(0)),
        (
            "statuses",
            json!({"success": 12, "application error": 3, "action developer error": 1, "whisk internal error": 0}),
        ),
    ] {
        assert_eq!(found[key], value, "{key}: {found:#}");
    }
    let of_kind =
        |kind: &str| records.iter().filter(|record| *annotation(record, "startKind") == kind).count();
    for kind in ["cold", "stem", "warm"] {
        assert_eq!(found["starts"][kind], of_kind(kind), "{kind}: {found:#}");
    }
    let cold = of_kind("cold") + of_kind("stem");
    assert!((2..16).contains(&cold), "the one that ended was replaced: {found:#}");
    // Every figure is that of the records that have it.
    for figure in ["duration", "waitTime", "initTime", "runTime", "cpuTime", "peakMemory"] {
        let value = |record: &Value| match figure {
            "duration" => record["duration"].as_f64(),
            _ => annotation(record, figure).as_f64(),
        };
        let values: Vec<f64> = records.iter().filter_map(value).collect();
        let spread = &found[figure];
        if values.is_empty() {
            // Not every kernel measures everything.
            assert_eq!(*spread, Value::Null, "{figure}: {found:#}");
            continue;
        }
        assert_eq!(spread["records"], values.len(), "{figure}: {found:#}");
        for (name, percent) in [("p50", 50), ("p95", 95), ("max", 100)] {
            assert_eq!(
                spread[name].as_f64(),
                Some(share(values.clone(), percent)),
                "{figure} {name}: {found:#}"
            );
        }
    }
    assert_eq!(found["initTime"]["records"], cold, "{found:#}");
    assert!(found["runTime"]["p50"].as_f64() > Some(0.0), "{found:#}");
    let late = summary(&client, "works", &format!("?since={}", starts[15] + 1)).await;
    assert_eq!((&late["activations"], &late["duration"]), (&json!(0), &Value::Null), "{late:#}");
}

async fn sequence() {
    let node = node().start();
    let client = node.client();
    Function::native("hello", crate::functions::HELLO).put(&client).await;
    let body = json!({"exec": {"kind": "sequence", "components": ["/_/hello", "/_/hello"]}});
    assert_eq!(client.put(&path("twice"), &body).await.unwrap().status.as_u16(), 200);
    let called = call(&client, "twice", &json!({})).await;
    let found = summary(&client, "twice", "").await;
    assert_eq!((&found["activations"], &found["statuses"]["success"]), (&json!(1), &json!(1)), "{found:#}");
    assert_eq!(found["duration"]["p95"], called.record["duration"], "the sum of its steps: {found:#}");
    assert_eq!(summary(&client, "hello", "").await["activations"], 2);
}

async fn missing() {
    let node = node().start();
    let client = node.client();
    let body = json!({});
    let package = client.put("/api/v1/namespaces/_/packages/tools", &body).await.unwrap();
    assert_eq!(package.status.as_u16(), 200, "{}", package.text());
    Function::native("tools/summary", crate::functions::HELLO).put(&client).await;
    let action = summary(&client, "tools", "").await;
    assert_eq!((&action["name"], &action["namespace"]), (&json!("summary"), &json!("guest/tools")));
    assert_eq!(summary(&client, "tools/summary", "").await["activations"], 0);
    for (name, text) in [
        ("nothing", "The requested resource 'guest/nothing' does not exist."),
        ("tools/nothing", "The requested resource does not exist."),
    ] {
        let reply = client.get(&format!("{}/summary", path(name))).await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.json()["error"].as_str()), (404, Some(text)), "{name}");
    }
}
