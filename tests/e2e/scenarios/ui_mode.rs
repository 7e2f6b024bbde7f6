//! Blocking calls of pages and tools that want an error where there is no result in time.

use chasen_testkit::{Client, Reply, node};
use http::Request;
use serde_json::{Value, json};

use crate::admin::{admin, said};
use crate::functions::{Function, path, record};
use crate::scenario::Scenario;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("ui_mode::a_late_call_gets_504_and_the_id_where_it_asks_for_that", header),
        Scenario::new("ui_mode::a_namespace_says_what_its_late_calls_get", limit),
        Scenario::new("ui_mode::a_sequence_is_late_like_an_action", sequence),
        Scenario::new("ui_mode::statuses_that_are_none_are_refused", refused),
    ]
}

/// Ends when nobody waits any more.
const SLOW: &str = "#!/bin/sh\nsleep 1\necho '{\"done\":true}'\n";
/// Less than it takes.
const LATE: &str = "blocking=true&timeout=100";

/// Calls with what the header asks for.
async fn call(client: &Client, name: &str, query: &str, header: Option<&str>) -> Reply {
    let request = Request::post(format!("{}{}?{query}", client.base(), path(name)));
    let request = match header {
        Some(status) => request.header("X-Chasen-Timeout-Status", status),
        None => request,
    };
    client.send(request.body(Vec::new().into()).unwrap()).await.unwrap()
}

/// The id in a 504 that is one.
fn late(reply: &Reply) -> String {
    assert_eq!(reply.status.as_u16(), 504, "{}", reply.text());
    let id = reply.headers["x-openwhisk-activation-id"].to_str().unwrap();
    let error =
        "The activation has not ended within 100 milliseconds. It goes on; ask for its record by its id.";
    let code = reply.headers["x-request-id"].to_str().unwrap();
    assert_eq!(reply.json(), json!({"error": error, "code": code, "activationId": id}));
    id.to_owned()
}

async fn header() {
    let node = node().start();
    let client = node.client();
    Function::native("slow", SLOW).put(&client).await;
    for query in [LATE, "blocking=true&timeout=100&result=true"] {
        let id = late(&call(&client, "slow", query, Some("504")).await);
        assert_eq!(record(&client, &id).await["response"]["result"], json!({"done": true}));
    }
    let accepted = call(&client, "slow", LATE, Some("202")).await;
    assert_eq!(
        (accepted.status.as_u16(), accepted.json().as_object().map(serde_json::Map::len)),
        (202, Some(1))
    );
    let in_time = call(&client, "slow", "blocking=true&result=true", Some("504")).await;
    assert_eq!((in_time.status.as_u16(), in_time.json()), (200, json!({"done": true})));
}

async fn limit() {
    let node = node().start();
    let client = node.client();
    Function::native("slow", SLOW).put(&client).await;
    let limits = async || client.get("/api/v1/namespaces/_/limits").await.unwrap().json();
    assert_eq!(limits().await["blockingTimeoutStatus"], Value::Null);
    said(node.data(), &["limits", "set", "guest", "--blockingTimeoutStatus", "504"]);
    assert_eq!(limits().await["blockingTimeoutStatus"], 504);
    late(&call(&client, "slow", LATE, None).await);
    assert_eq!(call(&client, "slow", LATE, Some("202")).await.status.as_u16(), 202, "the header wins");
    let wrong = admin(node.data(), &["limits", "set", "guest", "--blockingTimeoutStatus", "418"]);
    let text = "blockingTimeoutStatus: '418' is not one of 202 and 504.";
    assert!(wrong.code != Some(0) && format!("{wrong:?}").contains(text), "{wrong:?}");
    assert_eq!(limits().await["blockingTimeoutStatus"], 504, "nothing was changed");
    said(node.data(), &["limits", "delete", "guest"]);
    assert_eq!(call(&client, "slow", LATE, None).await.status.as_u16(), 202);
}

async fn sequence() {
    let node = node().start();
    let client = node.client();
    Function::native("slow", SLOW).put(&client).await;
    let body = json!({"exec": {"kind": "sequence", "components": ["/_/slow", "/_/slow"]}});
    assert_eq!(client.put(&path("twice"), &body).await.unwrap().status.as_u16(), 200);
    let id = late(&call(&client, "twice", LATE, Some("504")).await);
    let whole = record(&client, &id).await;
    assert_eq!(
        (&whole["name"], whole["logs"].as_array().map(Vec::len)),
        (&json!("twice"), Some(2)),
        "{whole}"
    );
}

async fn refused() {
    let node = node().start();
    let client = node.client();
    Function::native("slow", SLOW).put(&client).await;
    for (value, query) in [("408", LATE), ("soon", LATE), ("", LATE), ("500", "")] {
        let reply = call(&client, "slow", query, Some(value)).await;
        let text = format!(
            "The value of HTTP header 'X-Chasen-Timeout-Status' was malformed:\n'{value}' is not one of 202 and 504."
        );
        assert_eq!((reply.status.as_u16(), reply.json()["error"].as_str()), (400, Some(text.as_str())));
    }
    let list = client.get("/api/v1/namespaces/_/activations?count=true").await.unwrap();
    assert_eq!(list.json(), json!({"activations": 0}), "nothing ran");
}
