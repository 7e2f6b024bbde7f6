//! Recorded activations run again: with what they were given, by the code of now or of then.

use chasen_testkit::{Finished, GUEST, Node, chasen, node, run};
use serde_json::{Value, json};

use crate::admin::{admin, said};
use crate::functions::{Function, annotation, call, record};
use crate::scenario::Scenario;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![Scenario::new("replay::by_the_code_of_now_and_of_then_after_a_crash_too", replay)]
}

/// A function that tells which version it is, and what it was given.
fn version(number: u32, place: &str) -> Function {
    let code = format!(
        "#!/bin/sh\nprintf '{{\"version\": {number}, \"given\": %s, \"place\": \"%s\"}}\\n' \"$1\" \"$PLACE\"\n"
    );
    Function::native("tells", &code).parameter("own", json!(number)).init_parameter("PLACE", json!(place))
}

/// `chasen activation replay …` as the guest.
fn typed(node: &Node, id: &str, more: &[&str]) -> Finished {
    let mut command = chasen();
    command
        .args(["activation", "replay", id, "--json", "--apihost", node.base(), "--auth", GUEST])
        .args(more);
    run(command)
}

/// The record of the activation that a replay became.
async fn replayed(node: &Node, id: &str, more: &[&str]) -> Value {
    let finished = typed(node, id, more);
    assert_eq!(finished.code, Some(0), "{more:?} {finished:?}");
    let told: Value = serde_json::from_str(&finished.stdout).unwrap();
    let again = record(&node.client(), told["activationId"].as_str().unwrap()).await;
    assert_eq!(annotation(&again, "replayOf"), &json!(id), "{again}");
    again["response"]["result"].clone()
}

async fn replay() {
    let mut node = node().start();
    let client = node.client();
    version(1, "here").put(&client).await;
    let forgotten = call(&client, "tells", &json!({})).await;
    let refused = typed(&node, forgotten.id(), &[]);
    assert!(refused.code == Some(1) && refused.stderr.contains("keepParameters"), "{refused:?}");

    let beyond = admin(node.data(), &["limits", "set", "guest", "--keptVersions", "101"]);
    assert!(beyond.code != Some(0) && beyond.stderr.contains("over the bound of 100"), "{beyond:?}");
    said(node.data(), &["limits", "set", "guest", "--keepParameters", "true", "--keptVersions", "2"]);
    let first = call(&client, "tells", &json!({"x": [1]})).await;
    let then = json!({"version": 1, "given": {"own": 1, "x": [1]}, "place": "here"});
    assert_eq!(first.result(), &then);
    record(&client, first.id()).await;
    assert_eq!(replayed(&node, first.id(), &[]).await, then);

    version(2, "there").put(&client).await;
    let now = json!({"version": 2, "given": {"own": 1, "x": [1]}, "place": "here"});
    let called = json!({"version": 2, "given": {"own": 2}, "place": "there"});
    for _ in 0..2 {
        assert_eq!(replayed(&node, first.id(), &[]).await, now, "what it was given, and the code of now");
        assert_eq!(replayed(&node, first.id(), &["--code-version", "0.0.1"]).await, then);
        assert_eq!(call(&client, "tells", &json!({})).await.result(), &called);
    }
    node.kill();
    node.restart();
    assert_eq!(replayed(&node, first.id(), &["--code-version", "0.0.1"]).await, then);
    assert_eq!(replayed(&node, first.id(), &["--code-version", "0.0.2"]).await, now);
    let gone = typed(&node, first.id(), &["--code-version", "0.0.3"]);
    assert!(gone.code == Some(1) && gone.stderr.contains("there is 0.0.2, 0.0.1"), "{gone:?}");

    let client = node.client();
    client.delete_action("tells").await.unwrap();
    let gone = typed(&node, first.id(), &[]);
    assert!(gone.code == Some(1) && gone.stderr.contains("/guest/tells"), "{gone:?}");
    version(3, "new").put(&client).await;
    let gone = typed(&node, first.id(), &["--code-version", "0.0.2"]);
    assert_eq!(gone.code, Some(1), "versions went with the action: {gone:?}");
}
