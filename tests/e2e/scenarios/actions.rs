//! Actions: created, read, listed, updated, deleted, invoked, and their activations found again.

use chasen_testkit::node;
use serde_json::json;

use crate::functions::{Function, HELLO, call, path, record, start};
use crate::scenario::Scenario;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("actions::an_action_lives_from_put_to_delete", life),
        Scenario::new("actions::a_non_blocking_call_ends_in_a_record", non_blocking),
        Scenario::new("actions::an_update_never_runs_old_code", update),
    ]
}

async fn life() {
    let node = node().start();
    let client = node.client();
    Function::native("hello", HELLO).put(&client).await;
    let action = client.get(&path("hello")).await.unwrap().json();
    let known = (&action["name"], &action["namespace"], &action["version"]);
    assert_eq!(known, (&json!("hello"), &json!("guest"), &json!("0.0.1")));
    let list = client.get("/api/v1/namespaces/_/actions").await.unwrap().json();
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    let called = call(&client, "hello", &json!({})).await;
    assert_eq!(called.result(), &json!({"hello": true}));
    let listed = client.get("/api/v1/namespaces/_/activations").await.unwrap().json();
    assert_eq!(listed[0]["activationId"], called.id(), "{listed}");
    assert_eq!(client.delete_action("hello").await.unwrap().status.as_u16(), 200);
    assert_eq!(client.get(&path("hello")).await.unwrap().status.as_u16(), 404);
}

async fn non_blocking() {
    let node = node().start();
    let client = node.client();
    Function::native("hello", HELLO).put(&client).await;
    let id = start(&client, "hello", &json!({})).await;
    let record = record(&client, &id).await;
    assert_eq!(record["response"]["result"], json!({"hello": true}), "{record}");
}

async fn update() {
    let node = node().start();
    let client = node.client();
    for version in 1..=5 {
        let code = format!("#!/bin/sh\necho '{{\"version\":{version}}}'\n");
        Function::native("hello", &code).put(&client).await;
        assert_eq!(call(&client, "hello", &json!({})).await.result(), &json!({"version": version}));
    }
}
