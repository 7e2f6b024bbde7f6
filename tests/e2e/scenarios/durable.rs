//! Promises of a 202: work goes on where it stood, runs when it is due, is done once, and can be ended.

use std::time::{Duration, Instant};

use chasen_testkit::{Client, Node, Reply, descendants, node};
use http::Request;
use serde_json::{Value, json};

use crate::admin::said;
use crate::functions::{Function, HELLO, call, eventually, record, start};
use crate::scenario::Scenario;

const ACTIVATIONS: &str = "/api/v1/namespaces/_/activations";
const ECHO: &str = "#!/bin/sh\nprintf '%s' \"$1\"\n";
/// Ends when it is tried again.
const PATIENT: &str = "#!/bin/sh\nif [ \"$__OW_ATTEMPT\" = 1 ]; then sleep 1000; fi\nprintf '%s' \"$1\"\n";
const ENDLESS: &str = "#!/bin/sh\nsleep 1000\n";

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("durable::a_sequence_goes_on_at_its_step_after_kill_9", sequence),
        Scenario::new("durable::a_keyed_request_is_done_once_across_a_crash", keyed),
        Scenario::new("durable::what_is_due_later_outlives_a_crash_and_runs", due),
        Scenario::new("durable::what_waits_or_runs_is_cancelled", cancelled),
        Scenario::new("durable::blocked_subjects_have_nothing_waiting_that_runs", blocked),
        Scenario::new("durable::a_fire_waits_through_a_crash_and_its_key_outlives_it", fired_later),
    ]
}

async fn put_sequence(client: &Client, name: &str, components: &[&str]) {
    let components: Vec<String> = components.iter().map(|name| format!("/_/{name}")).collect();
    let body = json!({"exec": {"kind": "sequence", "components": components}});
    let reply = client.put(&format!("/api/v1/namespaces/_/actions/{name}"), &body).await.unwrap();
    assert_eq!(reply.status.as_u16(), 200, "{}", reply.text());
}

async fn runs(node: &Node) {
    eventually("a function runs", async || {
        descendants(node.pid()).iter().any(|(_, own)| own == "sleep").then_some(())
    })
    .await;
}

async fn sequence() {
    let mut node = node().start();
    let client = node.client();
    Function::native("echo", ECHO).put(&client).await;
    Function::native("patient", PATIENT).annotation("delivery", json!("at-least-once")).put(&client).await;
    put_sequence(&client, "inner", &["echo", "patient", "echo"]).await;
    put_sequence(&client, "outer", &["echo", "inner", "echo"]).await;
    let id = start(&client, "outer", &json!({"n": 1})).await;
    runs(&node).await;
    node.kill();
    node.restart();
    let client = node.client();
    let outer = record(&client, &id).await;
    assert_eq!(outer["response"]["result"], json!({"n": 1}), "{outer}");
    let steps: Vec<&str> = outer["logs"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!(steps.len(), 3, "{outer}");
    let inner = record(&client, steps[1]).await;
    assert_eq!(inner["logs"].as_array().unwrap().len(), 3, "{inner}");
    let all = client.get(&format!("{ACTIVATIONS}?count=true")).await.unwrap().json();
    assert_eq!(all, json!({"activations": 2 + 2 + 3}), "each step once");
}

async fn post(client: &Client, query: &str, key: &str, body: &Value) -> Reply {
    let request = Request::post(format!("{}/api/v1/namespaces/_/actions/{query}", client.base()))
        .header("Idempotency-Key", key)
        .header("Content-Type", "application/json");
    client.send(request.body(body.to_string().into_bytes().into()).unwrap()).await.unwrap()
}

async fn keyed() {
    let mut node = node().start();
    let client = node.client();
    Function::native("patient", PATIENT).annotation("delivery", json!("at-least-once")).put(&client).await;
    let first = post(&client, "patient", "order-1", &json!({"n": 1})).await;
    assert_eq!(first.status.as_u16(), 202, "{}", first.text());
    let id = first.json()["activationId"].clone();
    runs(&node).await;
    node.kill();
    node.restart();
    let client = node.client();
    let again = post(&client, "patient?blocking=true", "order-1", &json!({"n": 1})).await;
    assert_eq!((again.status.as_u16(), &again.json()["activationId"]), (200, &id), "{}", again.text());
    assert_eq!(again.json()["response"]["result"], json!({"n": 1}));
    let other = post(&client, "patient", "order-1", &json!({"n": 2})).await;
    assert_eq!(other.status.as_u16(), 422, "{}", other.text());
    let all = client.get(&format!("{ACTIVATIONS}?count=true")).await.unwrap().json();
    assert_eq!(all, json!({"activations": 1}));
}

async fn due() {
    let mut node = node().start();
    let client = node.client();
    // What is due before the node dies may be under way then.
    Function::native("hello", HELLO).annotation("delivery", json!("at-least-once")).put(&client).await;
    put_sequence(&client, "later", &["hello"]).await;
    let mut ids = Vec::new();
    for query in ["hello?delay=1.5", "later?delay=1", "hello?delay=3600"] {
        let reply = client.post(&format!("/api/v1/namespaces/_/actions/{query}"), &json!({})).await.unwrap();
        assert_eq!(reply.status.as_u16(), 202, "{}", reply.text());
        ids.push(reply.json()["activationId"].as_str().unwrap().to_owned());
    }
    node.kill();
    node.restart();
    let client = node.client();
    assert_eq!(record(&client, &ids[0]).await["response"]["result"], json!({"hello": true}));
    assert_eq!(record(&client, &ids[1]).await["response"]["result"], json!({"hello": true}));
    let pending = client.get(&format!("{ACTIVATIONS}?status=pending")).await.unwrap().json();
    assert_eq!((pending.as_array().unwrap().len(), &pending[0]["activationId"]), (1, &json!(ids[2])));
}

async fn fired_later() {
    let mut node = node().start();
    let client = node.client();
    Function::native("echo", ECHO).annotation("delivery", json!("at-least-once")).put(&client).await;
    client.put("/api/v1/namespaces/_/triggers/t", &json!({})).await.unwrap();
    let rule = json!({"trigger": "/_/t", "action": "/_/echo"});
    assert_eq!(client.put("/api/v1/namespaces/_/rules/r", &rule).await.unwrap().status.as_u16(), 200);
    let fire = async |client: &Client, query: &str, key: &str| {
        let request = Request::post(format!("{}/api/v1/namespaces/_/triggers/t?{query}", client.base()))
            .header("Idempotency-Key", key)
            .header("Content-Type", "application/json");
        let reply = client.send(request.body("{\"n\":1}".into()).unwrap()).await.unwrap();
        assert_eq!(reply.status.as_u16(), 202, "{}", reply.text());
        reply.json()["activationId"].as_str().unwrap().to_owned()
    };
    let (soon, late) = (fire(&client, "delay=1.5", "soon").await, fire(&client, "delay=3600", "late").await);
    node.kill();
    node.restart();
    let client = node.client();
    let fired = record(&client, &soon).await;
    let line: Value = serde_json::from_str(fired["logs"][0].as_str().unwrap()).unwrap();
    let reacted = record(&client, line["activationId"].as_str().unwrap()).await;
    assert_eq!(reacted["response"]["result"]["n"], json!(1), "{reacted}");
    let ended = client.delete(&format!("{ACTIVATIONS}/{late}")).await.unwrap();
    assert_eq!(ended.status.as_u16(), 200, "{}", ended.text());
    for (gone, key, id) in [("rules/r", "soon", &soon), ("triggers/t", "late", &late)] {
        let deleted = client.delete(&format!("/api/v1/namespaces/_/{gone}")).await.unwrap();
        assert_eq!(deleted.status.as_u16(), 200, "{}", deleted.text());
        assert_eq!(fire(&client, "at=2001-01-01T00:00:00Z", key).await, *id);
    }
    let all = client.get(&format!("{ACTIVATIONS}?count=true")).await.unwrap().json();
    assert_eq!(all, json!({"activations": 3}), "two fires, one reaction");
}

async fn blocked() {
    const TEXT: &str = "The action was not invoked due to a blacklisted namespace.";
    let node = node().start();
    let guest = node.client();
    Function::native("hello", HELLO).put(&guest).await;
    let put_off = async |client: &Client, delay: &str| {
        let path = format!("/api/v1/namespaces/_/actions/hello?delay={delay}");
        let reply = client.post(&path, &json!({})).await.unwrap();
        assert_eq!(reply.status.as_u16(), 202, "{}", reply.text());
        reply.json()["activationId"].as_str().unwrap().to_owned()
    };
    let limits = &["limits", "set", "limited", "--concurrentInvocations", "0"][..];
    for (name, shut, open) in [
        ("whisker", &["user", "block", "whisker"][..], &["user", "unblock", "whisker"][..]),
        ("limited", limits, &["limits", "delete", "limited"]),
    ] {
        let key = said(node.data(), &["user", "create", name]);
        let client = node.client().with_credentials(key.trim());
        Function::native("hello", HELLO).put(&client).await;
        // Long enough for the administrator: who was too late tries again.
        let mut delay = 1;
        let id = loop {
            let begun = Instant::now();
            let id = put_off(&client, &delay.to_string()).await;
            said(node.data(), shut);
            if begun.elapsed() < Duration::from_secs(delay) {
                break id;
            }
            said(node.data(), open);
            delay *= 2;
        };
        // What is due later ends later.
        record(&guest, &put_off(&guest, &format!("{delay}.5")).await).await;
        said(node.data(), open);
        let response = &record(&client, &id).await["response"];
        assert_eq!(response["status"], "application error", "{response}");
        assert_eq!(response["result"]["error"], TEXT);
    }
}

async fn cancelled() {
    let node = node().start();
    let client = node.client();
    Function::native("endless", ENDLESS).put(&client).await;
    Function::native("hello", HELLO).put(&client).await;
    put_sequence(&client, "chain", &["endless", "hello"]).await;
    for name in ["endless", "chain", "hello?delay=60"] {
        let reply = client.post(&format!("/api/v1/namespaces/_/actions/{name}"), &json!({})).await.unwrap();
        let id = reply.json()["activationId"].as_str().unwrap().to_owned();
        if !name.contains("delay") {
            runs(&node).await;
        }
        let ended = client.delete(&format!("{ACTIVATIONS}/{id}")).await.unwrap();
        assert_eq!(ended.status.as_u16(), 200, "{}", ended.text());
        let text = "The activation was cancelled.";
        assert_eq!(ended.json()["response"]["result"]["error"], text, "{}", ended.text());
        assert_eq!(record(&client, &id).await["response"]["result"]["error"], text);
        let again = client.delete(&format!("{ACTIVATIONS}/{id}")).await.unwrap();
        assert_eq!(again.status.as_u16(), 405, "{}", again.text());
        eventually("nothing of it runs", async || {
            descendants(node.pid()).iter().all(|(_, own)| own != "sleep").then_some(())
        })
        .await;
    }
    assert_eq!(call(&client, "hello", &json!({})).await.result(), &json!({"hello": true}));
}
