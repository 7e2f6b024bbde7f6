//! Triggers and rules: what a fire starts, what its record tells, and what outlives what.

use chasen_testkit::{Client, Reply, node};
use serde_json::{Value, json};

use crate::functions::{Function, HELLO, record};
use crate::scenario::Scenario;

const NAMESPACE: &str = "/api/v1/namespaces/_";
const ECHO: &str = "#!/bin/sh\nprintf '%s\\n' \"$1\"\n";
/// Rules of the trigger whose fire is cut short.
const MANY: usize = 150;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("rules::every_rule_of_a_trigger_starts_its_action", fan_out),
        Scenario::new("rules::several_triggers_start_one_action", fan_in),
        Scenario::new("rules::actions_in_packages_and_behind_bindings_and_sequences_react", packaged),
        Scenario::new("rules::what_does_not_react_is_told_in_the_log", told),
        Scenario::new("rules::actions_get_the_headers_of_the_fire_but_no_credentials", headers),
        Scenario::new("rules::rules_outlive_their_trigger_and_keep_their_status", outlive),
        Scenario::new("rules::an_answered_fire_ends_in_a_record_whatever_happens", crash),
        Scenario::new("rules::a_node_that_stops_lets_every_rule_of_an_answered_fire_start", stop),
    ]
}

async fn put(client: &Client, path: &str, body: Value) -> Value {
    let reply = client.put(&format!("{NAMESPACE}/{path}"), &body).await.unwrap();
    assert_eq!(reply.status.as_u16(), 200, "{path}: {}", reply.text());
    reply.json()
}

async fn get(client: &Client, path: &str) -> Value {
    let reply = client.get(&format!("{NAMESPACE}/{path}")).await.unwrap();
    assert_eq!(reply.status.as_u16(), 200, "{path}: {}", reply.text());
    reply.json()
}

async fn link(client: &Client, rule: &str, trigger: &str, action: &str) {
    let body = json!({"trigger": format!("/_/{trigger}"), "action": format!("/_/{action}")});
    assert_eq!(put(client, &format!("rules/{rule}"), body).await["status"], "active");
}

async fn switch(client: &Client, rule: &str, status: &str) {
    let reply = client.post(&format!("{NAMESPACE}/rules/{rule}"), &json!({"status": status})).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, "OK"));
}

async fn try_fire(client: &Client, trigger: &str, payload: &Value) -> Reply {
    client.post(&format!("{NAMESPACE}/triggers/{trigger}"), payload).await.unwrap()
}

/// Fires; the id of the fire.
async fn fire(client: &Client, trigger: &str, payload: &Value) -> String {
    let reply = try_fire(client, trigger, payload).await;
    assert_eq!(reply.status.as_u16(), 202, "{}", reply.text());
    reply.json()["activationId"].as_str().unwrap().to_owned()
}

/// The log of a fire: what became of each rule.
fn lines(record: &Value) -> Vec<Value> {
    let line = |line: &Value| serde_json::from_str(line.as_str().unwrap()).unwrap();
    record["logs"].as_array().unwrap().iter().map(line).collect()
}

/// The records of what a fire started, by rule name.
async fn reactions(client: &Client, fire: &Value) -> Vec<(String, Value)> {
    let mut reactions = Vec::new();
    for line in lines(fire) {
        let id = line["activationId"].as_str().unwrap_or_else(|| panic!("it reacts: {line}"));
        reactions.push((line["rule"].as_str().unwrap().to_owned(), record(client, id).await));
    }
    reactions
}

async fn fan_out() {
    let node = node().start();
    let client = node.client();
    Function::native("echo", ECHO).parameter("own", json!(1)).put(&client).await;
    Function::native("hello", HELLO).put(&client).await;
    let parameters = json!([{"key": "own", "value": 2}, {"key": "over", "value": 3}]);
    put(&client, "triggers/t", json!({ "parameters": parameters })).await;
    assert_eq!(try_fire(&client, "t", &json!({})).await.status.as_u16(), 204);
    link(&client, "r1", "t", "echo").await;
    link(&client, "r2", "t", "hello").await;
    let payload = json!({"over": 4, "text": "\u{e9}\u{1f600}"});
    let id = fire(&client, "t", &payload).await;
    let fired = record(&client, &id).await;
    assert_eq!(fired["response"], json!({"result": payload, "success": true, "status": "success"}));
    assert_eq!((fired.get("end"), fired.get("duration"), &fired["annotations"]), (None, None, &json!([])));
    let reactions = reactions(&client, &fired).await;
    let [(first, echoed), (second, greeted)] = &reactions[..] else { panic!("{fired}") };
    assert_eq!((first.as_str(), second.as_str()), ("guest/r1", "guest/r2"));
    let mut result = echoed["response"]["result"].clone();
    assert!(result.as_object_mut().unwrap().remove("__ow_headers").is_some());
    assert_eq!(result, json!({"own": 2, "over": 4, "text": "\u{e9}\u{1f600}"}));
    assert_eq!(greeted["response"]["result"], json!({"hello": true}));
    assert!(reactions.iter().all(|(_, record)| record.get("cause").is_none()));
    let list = get(&client, "activations?name=t").await;
    assert_eq!((&list[0]["activationId"], &list[0]["statusCode"]), (&json!(id), &json!(0)));
}

async fn fan_in() {
    let node = node().start();
    let client = node.client();
    Function::native("hello", HELLO).put(&client).await;
    for trigger in ["t1", "t2"] {
        put(&client, &format!("triggers/{trigger}"), json!({})).await;
        link(&client, &format!("of-{trigger}"), trigger, "hello").await;
        let fired = record(&client, &fire(&client, trigger, &json!({})).await).await;
        assert_eq!(reactions(&client, &fired).await.len(), 1);
    }
    assert_eq!(get(&client, "activations?name=hello&count=true").await, json!({"activations": 2}));
}

async fn packaged() {
    let node = node().start();
    let client = node.client();
    put(&client, "packages/p", json!({"parameters": [{"key": "from", "value": "package"}]})).await;
    Function::native("p/echo", ECHO).put(&client).await;
    let binding = json!({"namespace": "_", "name": "p"});
    let parameters = json!([{"key": "from", "value": "binding"}]);
    put(&client, "packages/bound", json!({"binding": binding, "parameters": parameters})).await;
    let components = json!(["/_/p/echo", "/_/bound/echo"]);
    put(&client, "actions/twice", json!({"exec": {"kind": "sequence", "components": components}})).await;
    put(&client, "triggers/t", json!({})).await;
    for (rule, action) in [("r1", "p/echo"), ("r2", "bound/echo"), ("r3", "twice")] {
        link(&client, rule, "t", action).await;
    }
    let fired = record(&client, &fire(&client, "t", &json!({"x": 1})).await).await;
    let names: Vec<_> = lines(&fired).iter().map(|line| line["action"].clone()).collect();
    assert_eq!(names, ["guest/p/echo", "guest/bound/echo", "guest/twice"]);
    let reactions = reactions(&client, &fired).await;
    let result = |at: usize| &reactions[at].1["response"]["result"];
    assert_eq!((&result(0)["from"], &result(1)["from"]), (&json!("package"), &json!("binding")));
    assert_eq!((&result(2)["x"], &result(2)["from"]), (&json!(1), &json!("package")));
    assert_eq!(reactions[2].1["logs"].as_array().unwrap().len(), 2, "the ids of its components");
}

async fn told() {
    let node = node().start();
    let client = node.client();
    for name in ["hello", "gone"] {
        Function::native(name, HELLO).put(&client).await;
    }
    put(&client, "triggers/t", json!({})).await;
    for (rule, action) in [("r1", "hello"), ("r2", "gone"), ("r3", "hello")] {
        link(&client, rule, "t", action).await;
    }
    switch(&client, "r3", "inactive").await;
    assert_eq!(client.delete_action("gone").await.unwrap().status.as_u16(), 200);
    let fired = record(&client, &fire(&client, "t", &json!({})).await).await;
    assert_eq!(fired["response"]["success"], true);
    let lines = lines(&fired);
    assert_eq!((&lines[0]["statusCode"], &lines[0]["success"]), (&json!(0), &json!(true)));
    let refused = |rule: &str, action: &str, error: &str| json!({"statusCode": 1, "success": false, "rule": rule, "action": action, "error": error});
    let missing = "The requested resource does not exist.";
    assert_eq!(lines[1], refused("guest/r2", "guest/gone", missing));
    let inactive = "Rule 'guest/r3' is inactive, action 'guest/hello' was not activated.";
    assert_eq!(lines[2], refused("guest/r3", "guest/hello", inactive));
}

async fn headers() {
    let node = node().start();
    let client = node.client();
    Function::native("echo", ECHO).put(&client).await;
    put(&client, "triggers/t", json!({})).await;
    link(&client, "r", "t", "echo").await;
    let uri = format!("{}{NAMESPACE}/triggers/t", client.base());
    let request = http::Request::post(uri).header("Foo", "Bar").header("X-Request-ID", "mine");
    let reply = client.send(request.body(Vec::new().into()).unwrap()).await.unwrap();
    assert_eq!(reply.status.as_u16(), 202, "{}", reply.text());
    let fired = record(&client, reply.json()["activationId"].as_str().unwrap()).await;
    let (_, echoed) = reactions(&client, &fired).await.remove(0);
    let headers = &echoed["response"]["result"]["__ow_headers"];
    assert_eq!((&headers["foo"], &headers["x-request-id"]), (&json!("Bar"), &json!("mine")));
    assert!(headers["host"].is_string(), "{headers}");
    assert_eq!((headers.get("authorization"), headers.get("content-length")), (None, None));
}

async fn outlive() {
    let node = node().start();
    let client = node.client();
    Function::native("hello", HELLO).put(&client).await;
    put(&client, "triggers/t", json!({})).await;
    put(&client, "triggers/u", json!({})).await;
    link(&client, "r", "t", "hello").await;
    switch(&client, "r", "inactive").await;
    let moved = put(&client, "rules/r?overwrite=true", json!({"trigger": "/_/u"})).await;
    assert_eq!(moved["status"], "inactive");
    switch(&client, "r", "active").await;
    let deleted = client.delete(&format!("{NAMESPACE}/triggers/u")).await.unwrap().json();
    assert_eq!(deleted["rules"]["guest/r"]["status"], "active");
    assert_eq!(get(&client, "rules/r").await["status"], "inactive");
    put(&client, "triggers/u", json!({})).await;
    assert_eq!(try_fire(&client, "u", &json!({})).await.status.as_u16(), 204);
    switch(&client, "r", "active").await;
    let fired = record(&client, &fire(&client, "u", &json!({})).await).await;
    assert_eq!(reactions(&client, &fired).await.len(), 1);
    let deleted = client.delete(&format!("{NAMESPACE}/rules/r")).await.unwrap().json();
    assert_eq!(deleted["status"], "inactive");
    assert_eq!(try_fire(&client, "u", &json!({})).await.status.as_u16(), 204);
}

/// A function with many rules on the trigger `t`.
async fn many(client: &Client) {
    Function::native("hello", HELLO).put(client).await;
    put(client, "triggers/t", json!({})).await;
    for rule in 0..MANY {
        link(client, &format!("r{rule}"), "t", "hello").await;
    }
}

async fn stop() {
    let mut node = node().start();
    let client = node.client();
    many(&client).await;
    let id = fire(&client, "t", &json!({})).await;
    assert_eq!(node.stop().code(), Some(0));
    node.restart();
    let client = node.client();
    let fired = record(&client, &id).await;
    assert_eq!(reactions(&client, &fired).await.len(), MANY);
}

/// The node dies right after it answered, while rules react: some of them have begun, or none.
async fn crash() {
    let mut node = node().start();
    let client = node.client();
    many(&client).await;
    let id = fire(&client, "t", &json!({"x": 1})).await;
    node.kill();
    node.restart();
    let client = node.client();
    let fired = record(&client, &id).await;
    let response = &fired["response"];
    match response["status"].as_str() {
        Some("success") => assert_eq!((&response["result"], lines(&fired).len()), (&json!({"x": 1}), MANY)),
        _ => {
            let text = "The activation was interrupted before its result was known.";
            assert_eq!(
                (&response["status"], &response["result"]["error"]),
                (&json!("whisk internal error"), &json!(text))
            );
        }
    }
    assert!(fired.get("end").is_none());
    // The trigger works on.
    let fired = record(&client, &fire(&client, "t", &json!({})).await).await;
    assert_eq!(reactions(&client, &fired).await.len(), MANY);
}
