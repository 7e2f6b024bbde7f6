//! Work that waits, runs or was given up, on the command line.

use std::process::Command;

use chasen_testkit::{Finished, GUEST, Node, chasen, node, run};
use serde_json::{Value, json};

use crate::functions::{Function, HELLO, call, eventually, record};
use crate::scenario::Scenario;

/// Runs until it is killed.
const ENDLESS: &str = "#!/bin/sh\nsleep 1000\n";

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("dead_letter_cli::a_letter_is_listed_shown_retried_and_dropped", letters),
        Scenario::new("dead_letter_cli::activations_are_listed_and_ended", activations),
        Scenario::new("dead_letter_cli::mistakes_are_named", mistakes).needing_nothing(),
    ]
}

/// `chasen …` against this node as the guest.
fn typed(node: &Node, words: &[&str]) -> Finished {
    let mut command: Command = chasen();
    command.args(words).args(["--apihost", node.base(), "--auth", GUEST]);
    run(command)
}

#[track_caller]
fn said(node: &Node, words: &[&str]) -> String {
    let finished = typed(node, words);
    assert_eq!(finished.code, Some(0), "{words:?} {finished:?}");
    finished.stdout
}

/// What a command says as JSON.
#[track_caller]
fn told(node: &Node, words: &[&str]) -> Value {
    serde_json::from_str(&said(node, &[words, &["--json"]].concat())).unwrap()
}

/// Two letters of an action that was lost with the node, the older first.
async fn lose(node: &mut Node) -> Vec<String> {
    Function::native("endless", ENDLESS)
        .annotation("delivery", json!("at-least-once"))
        .annotation("max-attempts", json!(1))
        .put(&node.client())
        .await;
    let mut ids = Vec::new();
    for number in 0..2 {
        let reply = node.client().invoke("endless", &json!({"number": number}), false).await.unwrap();
        assert_eq!(reply.status.as_u16(), 202, "{}", reply.text());
        ids.push(reply.activation_id().unwrap());
    }
    eventually("both run", async || {
        let sleeping = chasen_testkit::descendants(node.pid()).into_iter().filter(|(_, own)| own == "sleep");
        (sleeping.count() == 2).then_some(())
    })
    .await;
    node.kill();
    node.restart();
    ids
}

async fn letters() {
    let mut node = node().start();
    let ids = lose(&mut node).await;
    let listed = eventually("both are given up", async || {
        let letters = told(&node, &["dead-letter", "list"]);
        (letters.as_array().unwrap().len() == 2).then_some(letters)
    })
    .await;
    assert!(listed.as_array().unwrap().iter().all(|one| one["name"] == "endless"), "{listed}");
    let lines = said(&node, &["dead-letter", "list", "--name", "endless", "--limit", "1"]);
    assert!(lines.lines().count() == 1 && lines.contains("endless"), "{lines}");
    let none = typed(&node, &["dead-letter", "list", "--name", "other"]);
    assert!(none.stdout.is_empty() && none.stderr.contains("there are no dead letters"), "{none:?}");
    let shown: Value = serde_json::from_str(&said(&node, &["dead-letter", "show", &ids[1]])).unwrap();
    assert_eq!((&shown["arguments"], &shown["attempts"]), (&json!({"number": 1}), &json!(1)), "{shown}");
    record(&node.client(), &ids[1]).await;

    Function::native("endless", HELLO).put(&node.client()).await;
    let retried = told(&node, &["dead-letter", "retry", &ids[1]]);
    let again = record(&node.client(), retried["activationId"].as_str().unwrap()).await;
    assert_eq!(again["response"]["result"], json!({"hello": true}), "{again}");
    let replay_of = again["annotations"].as_array().unwrap().iter().find(|one| one["key"] == "replayOf");
    assert_eq!(replay_of.unwrap()["value"], json!(ids[1]), "{again}");
    assert_eq!(said(&node, &["dead-letter", "drop", &ids[0]]), format!("{} is dropped\n", ids[0]));
    assert_eq!(told(&node, &["dead-letter", "list"]), json!([]));
    let gone = typed(&node, &["dead-letter", "drop", &ids[0]]);
    assert_eq!(gone.code, Some(1), "{gone:?}");
    assert!(gone.stderr.contains("does not exist"), "{gone:?}");
}

async fn activations() {
    let node = node().start();
    let client = node.client();
    Function::native("hello", HELLO).put(&client).await;
    let called = call(&client, "hello", &json!({})).await;
    record(&client, called.id()).await;
    let lines = said(&node, &["activation", "list"]);
    assert!(lines.contains(called.id()) && lines.contains("hello"), "{lines}");
    let later = client.post("/api/v1/namespaces/_/actions/hello?delay=3600", &json!({})).await.unwrap();
    let later = later.activation_id().unwrap();
    let pending = said(&node, &["activation", "list", "--pending"]);
    assert!(pending.starts_with(&later) && pending.lines().count() == 1, "{pending}");
    let ended = said(&node, &["activation", "cancel", &later]);
    assert!(ended.starts_with(&format!("{later} has ended: ")), "{ended}");
    let none = typed(&node, &["activation", "list", "--pending"]);
    assert!(none.stdout.is_empty() && none.stderr.contains("nothing waits"), "{none:?}");
    record(&client, &later).await;
    let again = typed(&node, &["activation", "cancel", &later]);
    assert!(again.code == Some(1) && !again.stderr.trim().is_empty(), "{again:?}");
}

async fn mistakes() {
    let node = node().start();
    let unknown = "0123456789abcdef0123456789abcdef";
    for words in [
        &["dead-letter", "show", unknown][..],
        &["dead-letter", "retry", unknown],
        &["dead-letter", "drop", unknown],
        &["activation", "cancel", unknown],
        &["activation", "replay", unknown],
    ] {
        let finished = typed(&node, words);
        assert_eq!(finished.code, Some(1), "{words:?} {finished:?}");
        assert!(finished.stdout.is_empty() && finished.stderr.starts_with("chasen: "), "{finished:?}");
    }
    for (words, text) in [
        (&["dead-letter", "show", "../admin"][..], "32 digits"),
        (&["activation", "replay", unknown, "--code-version", "new"], "is no version"),
        (&["activation", "list", "--limit", "many"], "invalid"),
    ] {
        let finished = typed(&node, words);
        assert_eq!(finished.code, Some(2), "{words:?} {finished:?}");
        assert!(finished.stderr.contains(text), "{finished:?}");
    }
    let bare = |words: &[&str]| {
        let mut command: Command = chasen();
        command.args(words).env("WSK_CONFIG_FILE", "/nonexistent");
        run(command)
    };
    let no_key = bare(&["dead-letter", "list", "--apihost", node.base()]);
    assert!(no_key.code == Some(2) && no_key.stderr.contains("there is no key"), "{no_key:?}");
    let wrong = bare(&["activation", "list", "--apihost", node.base(), "--auth", "a:b"]);
    assert!(wrong.code == Some(1) && wrong.stderr.contains("the key is not known"), "{wrong:?}");
    let nobody = bare(&["activation", "list", "--apihost", "http://127.0.0.1:1", "--auth", "a:b"]);
    assert!(nobody.code == Some(1) && nobody.stderr.contains("no answer from"), "{nobody:?}");

    // Host and key as the classic command line keeps them.
    let home = tempfile::tempdir().unwrap();
    let properties = home.path().join("props");
    std::fs::write(&properties, format!("APIHOST={}\nAUTH={GUEST}\n", node.base())).unwrap();
    let mut command: Command = chasen();
    command.args(["dead-letter", "list", "--json"]).env("WSK_CONFIG_FILE", &properties);
    let known = run(command);
    assert_eq!((known.code, known.stdout.as_str()), (Some(0), "[]\n"), "{known:?}");
}
