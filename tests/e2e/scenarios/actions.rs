//! Actions: created, read, listed, updated, deleted, invoked, and their activations found again.

use chasen_testkit::{Client, PATIENCE, node};
use serde_json::json;

use crate::languages::{HELLO, put_native};
use crate::scenario::Scenario;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("actions::an_action_lives_from_put_to_delete", life),
        Scenario::new("actions::a_non_blocking_call_ends_in_a_record", non_blocking),
        Scenario::new("actions::an_update_never_runs_old_code", update),
    ]
}

const HELLO_PATH: &str = "/api/v1/namespaces/_/actions/hello";

async fn life() {
    let node = node().start();
    let client = node.client();
    put_native(&client, "hello", HELLO).await;
    let action = client.get(HELLO_PATH).await.unwrap().json();
    assert_eq!(
        (&action["name"], &action["namespace"], &action["version"]),
        (&json!("hello"), &json!("guest"), &json!("0.0.1"))
    );
    let list = client.get("/api/v1/namespaces/_/actions").await.unwrap().json();
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    let record = client.invoke("hello", &json!({}), true).await.unwrap();
    assert_eq!(record.status.as_u16(), 200, "{}", record.text());
    let listed = client.get("/api/v1/namespaces/_/activations").await.unwrap().json();
    assert_eq!(listed[0]["activationId"], record.json()["activationId"], "{listed}");
    assert_eq!(client.delete_action("hello").await.unwrap().status.as_u16(), 200);
    assert_eq!(client.get(HELLO_PATH).await.unwrap().status.as_u16(), 404);
}

async fn non_blocking() {
    let node = node().start();
    let client = node.client();
    put_native(&client, "hello", HELLO).await;
    let accepted = client.invoke("hello", &json!({}), false).await.unwrap();
    assert_eq!(accepted.status.as_u16(), 202, "{}", accepted.text());
    let record = record(&client, accepted.json()["activationId"].as_str().unwrap()).await;
    assert_eq!(record["response"]["result"], json!({"greeting": "Hello"}), "{record}");
}

/// The record of an activation, once it is there.
async fn record(client: &Client, id: &str) -> serde_json::Value {
    let search = async {
        loop {
            let reply = client.activation(id).await.unwrap();
            if reply.status.is_success() {
                return reply.json();
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, search).await.expect("every accepted activation ends in a record")
}

async fn update() {
    let node = node().start();
    let client = node.client();
    for version in 1..=5 {
        put_native(&client, "hello", &format!("#!/bin/sh\necho '{{\"version\":{version}}}'\n")).await;
        let record = client.invoke("hello", &json!({}), true).await.unwrap().json();
        assert_eq!(record["response"]["result"], json!({"version": version}), "{record}");
    }
}
