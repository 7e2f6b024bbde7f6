//! Records of activations: found by id, listed, filtered, counted and paged.

use std::collections::BTreeSet;

use chasen_testkit::{Client, Node, node};
use serde_json::{Value, json};

use crate::deaths::runs;
use crate::functions::{Function, annotation, call, eventually, record, start};
use crate::scenario::Scenario;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("activations::records_say_what_was", records),
        Scenario::new("activations::lists_are_filtered_counted_and_paged", lists),
        Scenario::new("activations::lists_that_cannot_be_are_refused", refusals),
        Scenario::new("activations::calls_outlive_their_callers", impatience),
        Scenario::new("activations::many_at_once_all_end_in_records", many),
    ]
}

const ECHO: &str = "#!/bin/sh\nprintf '%s' \"$1\"\n";

async fn stage() -> (Node, Client) {
    let node = node().start();
    let client = node.client();
    Function::native("echo", ECHO).put(&client).await;
    Function::native("fails", "#!/bin/sh\necho out\necho '{\"error\":\"no\"}'\n").put(&client).await;
    (node, client)
}

async fn get(client: &Client, query: &str) -> Value {
    let reply = client.get(&format!("/api/v1/namespaces/_/activations{query}")).await.unwrap();
    assert_eq!(reply.status.as_u16(), 200, "{query}: {}", reply.text());
    reply.json()
}

async fn records() {
    let (_node, client) = stage().await;
    let called = call(&client, "echo", &json!({"a": 1})).await;
    let stored = record(&client, called.id()).await;
    let expected = json!({"result": {"a": 1}, "size": 7, "success": true, "status": "success"});
    assert_eq!(stored["response"], expected, "{stored}");
    assert_eq!(get(&client, &format!("/{}/result", called.id())).await, expected);
    for (key, value) in [
        ("namespace", json!("guest")),
        ("subject", json!("guest")),
        ("name", json!("echo")),
        ("version", json!("0.0.1")),
        ("publish", json!(false)),
        ("logs", json!([])),
    ] {
        assert_eq!(stored[key], value, "{key}: {stored}");
    }
    for (key, value) in [
        ("path", json!("guest/echo")),
        ("kind", json!("blackbox")),
        ("timeout", json!(false)),
        ("limits", json!({"timeout": 60000, "memory": 256, "logs": 10, "concurrency": 1})),
    ] {
        assert_eq!(annotation(&stored, key), &value, "{key}: {stored}");
    }
    assert!(annotation(&stored, "waitTime").is_u64() && annotation(&stored, "initTime").is_u64(), "{stored}");
    let millis = |key: &str| stored[key].as_u64().unwrap();
    assert_eq!(millis("end") - millis("start"), millis("duration"), "{stored}");
    let warm = call(&client, "echo", &json!({"a": 1})).await;
    assert!(warm.annotation("initTime").is_null(), "a warm start has no initTime: {}", warm.text);
    assert_ne!(warm.id(), called.id());

    let failed = call(&client, "fails", &json!({})).await;
    assert_eq!((failed.status, failed.failure()), (502, ("application error", "no".to_owned())));
    let failed = record(&client, failed.id()).await;
    assert_eq!(
        failed["response"],
        json!({"result": {"error": "no"}, "size": 14, "success": false, "status": "application error"})
    );
}

async fn lists() {
    let (_node, client) = stage().await;
    let mut starts = Vec::new();
    for n in 0..7 {
        let name = if n % 3 == 0 { "fails" } else { "echo" };
        let called = call(&client, name, &json!({"n": n})).await;
        starts.push((called.id().to_owned(), called.record["start"].as_u64().unwrap()));
    }
    let newest_first: Vec<&str> = starts.iter().rev().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids(&get(&client, "").await), newest_first);
    assert_eq!(ids(&get(&client, "?limit=3&skip=2").await), newest_first[2..5]);
    assert_eq!(ids(&get(&client, "?limit=0").await), newest_first);
    assert_eq!(get(&client, "?count=true").await, json!({"activations": 7}));
    assert_eq!(get(&client, "?count=true&skip=5").await, json!({"activations": 2}));
    assert_eq!(get(&client, "?count=true&name=fails").await, json!({"activations": 3}));
    assert_eq!(ids(&get(&client, "?name=fails").await), [newest_first[0], newest_first[3], newest_first[6]]);
    assert_eq!(ids(&get(&client, "?name=nothing").await), Vec::<&str>::new());

    let (_, third) = starts[2];
    let since: Vec<&str> =
        starts.iter().rev().filter(|(_, at)| *at >= third).map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids(&get(&client, &format!("?since={third}")).await), since);
    let upto: Vec<&str> =
        starts.iter().rev().filter(|(_, at)| *at <= third).map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids(&get(&client, &format!("?upto={third}")).await), upto);
    assert_eq!(
        get(&client, &format!("?since={third}&count=true")).await,
        json!({"activations": since.len()})
    );

    let summary = get(&client, "?limit=1").await[0].clone();
    assert_eq!(summary["statusCode"], 1, "{summary}");
    assert!(summary.get("response").is_none() && summary.get("logs").is_none(), "{summary}");
    let whole = get(&client, "?limit=1&docs=true").await[0].clone();
    assert_eq!(whole, record(&client, newest_first[0]).await);
    assert!(whole["logs"][0].as_str().unwrap().ends_with("stdout: out"), "{whole}");
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|element| element["activationId"].as_str().unwrap()).collect()
}

async fn refusals() {
    let (_node, client) = stage().await;
    for (query, status, error) in [
        ("?limit=201", 400, "The value '201' is not in the range of 0 to 200 for activations."),
        ("?skip=-1", 400, "The value '-1' is not greater than or equal to 0 for activations."),
        ("?limit=many", 400, "The value 'many' is not an integer for activations."),
        ("?docs=true&count=true", 400, "The parameter 'docs' is not permitted with 'count'."),
        ("?since=yesterday", 400, "Parameter is not a valid value for epoch seconds: yesterday"),
        ("?name=a/b/c", 400, "Parameter may be a 'simple' name or 'package-name/simple' name: a/b/c"),
        ("/0123456789abcdef0123456789abcdef", 404, "The requested resource does not exist."),
        ("/0123456789abcdef0123456789abcdef/logs", 404, "The requested resource does not exist."),
        ("/0123456789abcdef0123456789abcdef/result", 404, "The requested resource does not exist."),
        ("/0123456789abcdef0123456789abcdeg", 400, "The activation id is not valid."),
        ("/0123", 400, "Activation id length is 4 but must be 32."),
    ] {
        let reply = client.get(&format!("/api/v1/namespaces/_/activations{query}")).await.unwrap();
        let text = reply.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(reply.status.as_u16() == status && text.ends_with(error), "{query}: {}", reply.text());
    }
}

/// A caller that waits no longer, and one that is gone: the work goes on.
async fn impatience() {
    let (node, client) = stage().await;
    Function::native("slow", "#!/bin/sh\nsleep 3\necho '{\"done\":true}'\n").put(&client).await;
    let path = "/api/v1/namespaces/_/actions/slow?blocking=true";
    let reply = client.post(&format!("{path}&timeout=100"), &json!({})).await.unwrap();
    let id = reply.json()["activationId"].as_str().unwrap().to_owned();
    assert_eq!((reply.status.as_u16(), reply.json()), (202, json!({"activationId": id})));
    assert_eq!(reply.headers["x-openwhisk-activation-id"], id.as_str());
    assert_eq!(record(&client, &id).await["response"]["result"], json!({"done": true}));
    let body = json!({});
    tokio::select! {
        reply = client.post(path, &body) => panic!("nobody was to wait for it: {reply:?}"),
        _ = runs(&node, 1) => {}
    }
    let both = eventually("the call of the caller who left ends too", async || {
        let list = get(&client, "?name=slow&docs=true").await;
        list.as_array().filter(|list| list.len() == 2).cloned()
    })
    .await;
    assert!(both.iter().all(|one| one["response"]["result"] == json!({"done": true})), "{both:?}");
}

async fn many() {
    const CALLS: usize = 500;
    let (_node, client) = stage().await;
    let mut started = BTreeSet::new();
    for n in 0..CALLS {
        started.insert(start(&client, "echo", &json!({"n": n})).await);
    }
    assert_eq!(started.len(), CALLS, "ids differ");
    for id in &started {
        record(&client, id).await;
    }
    assert_eq!(get(&client, "?count=true").await, json!({"activations": CALLS}));
    // Three pages without gap or overlap.
    let mut listed = BTreeSet::new();
    for skip in [0, 200, 400] {
        let page = get(&client, &format!("?limit=200&skip={skip}")).await;
        listed.extend(ids(&page).into_iter().map(str::to_owned));
    }
    assert_eq!(listed, started);
}
