//! What is deployed on every node: the function under several names, and what is made of it.

use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chasen_client::Client;
use serde_json::{Value, json};

/// Delivered at most once.
pub const ONCE: &str = "once";
/// Delivered at least once.
pub const AGAIN: &str = "again";
/// Has [`AGAIN`] run so many times.
pub const CONDUCTOR: &str = "conductor";
/// How many times.
pub const CONDUCTED: u64 = 2;
/// Sequences of [`STEPS`] of one of the two.
pub const CHAIN_ONCE: &str = "chain-once";
/// See [`CHAIN_ONCE`].
pub const CHAIN_AGAIN: &str = "chain-again";
/// Steps of a sequence.
pub const STEPS: u64 = 3;
/// Has a rule for each of the two.
pub const TRIGGER: &str = "tick";

const NAMESPACE: &str = "/api/v1/namespaces/_";

/// Puts everything.
///
/// # Panics
/// When the node does not take it.
pub async fn deploy(client: &Client) {
    let code = BASE64_STANDARD.encode(std::fs::read(function()).expect("the function can be read"));
    let exec = json!({"kind": "blackbox", "image": "openwhisk/actionloop-base", "code": code});
    for name in [ONCE, AGAIN, CONDUCTOR] {
        let annotations = match name {
            ONCE => json!([{"key": "delivery", "value": "at-most-once"}]),
            AGAIN => json!([{"key": "delivery", "value": "at-least-once"}]),
            _ => json!([{"key": "delivery", "value": "at-least-once"}, {"key": "conductor", "value": true}]),
        };
        let limits = json!({"memory": 128});
        put(client, "actions", name, json!({"exec": exec, "annotations": annotations, "limits": limits}))
            .await;
    }
    for (name, of) in [(CHAIN_ONCE, ONCE), (CHAIN_AGAIN, AGAIN)] {
        let components: Vec<String> = (0..STEPS).map(|_| format!("/_/{of}")).collect();
        put(client, "actions", name, json!({"exec": {"kind": "sequence", "components": components}})).await;
    }
    put(client, "triggers", TRIGGER, json!({})).await;
    for of in [ONCE, AGAIN] {
        let rule = json!({"trigger": format!("/_/{TRIGGER}"), "action": format!("/_/{of}")});
        put(client, "rules", &format!("on-{of}"), rule).await;
    }
}

async fn put(client: &Client, collection: &str, name: &str, body: Value) {
    let path = format!("{NAMESPACE}/{collection}/{name}?overwrite=true");
    let reply = client.put(&path, &body).await.expect("the node answers");
    assert_eq!(reply.status.as_u16(), 200, "{name}: {}", reply.text());
}

/// The program, which is built beside this one.
fn function() -> PathBuf {
    let own = std::env::current_exe().expect("a program knows its own path");
    let path = own.with_file_name("witnessed");
    assert!(path.is_file(), "{} is not there: run `cargo build -p chasen-crash` first", path.display());
    path
}
