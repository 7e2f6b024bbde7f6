//! Backups of a node at work, and nodes on what was restored.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chasen_testkit::{Client, Finished, chasen, node, run};
use serde_json::{Value, json};

use crate::functions::{Function, HELLO, call, eventually, record};
use crate::scenario::Scenario;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("backup::a_node_goes_on_elsewhere_as_of_one_moment", elsewhere),
        Scenario::new("backup::folders_in_use_are_not_restored_into", in_use).needing_nothing(),
        Scenario::new("backup::damage_is_named", damage).needing_nothing(),
    ]
}

fn admin(data: &Path, words: &[&str]) -> Finished {
    let mut command: Command = chasen();
    command.arg("admin").args(words).arg("--data").arg(data);
    run(command)
}

/// Ends well; what it says.
#[track_caller]
fn done(data: &Path, words: &[&str]) -> String {
    let finished = admin(data, words);
    assert_eq!(finished.code, Some(0), "{words:?} {finished:?}");
    finished.stdout
}

/// Invokes without waiting until it is stopped; gives the ids that were accepted. It stays at most `AHEAD` calls ahead of
/// their ends, however slow the machine is: the nodes that go on have them to do.
async fn load(client: Client, stop: Arc<AtomicBool>) -> Vec<String> {
    const AHEAD: usize = 50;
    let mut ids: Vec<String> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let reply = client.invoke("hello", &json!({}), false).await.unwrap();
        if reply.status.as_u16() == 202 {
            ids.push(reply.activation_id().unwrap());
        }
        let Some(behind) = ids.len().checked_sub(AHEAD) else { continue };
        while !client.activation(&ids[behind]).await.unwrap().status.is_success() {}
    }
    ids
}

async fn elsewhere() {
    let home = tempfile::tempdir().unwrap();
    let place = |name: &str| home.path().join(name);
    let text = |name: &str| place(name).to_str().unwrap().to_owned();
    let first = node().start();
    let client = first.client();
    Function::native("hello", HELLO).put(&client).await;
    let word = json!([{"key": "word", "value": "locked on the disk"}]);
    let put = client.put("/api/v1/namespaces/_/packages/p", &json!({"parameters": word})).await.unwrap();
    assert_eq!(put.status.as_u16(), 200, "{}", put.text());
    let key = done(first.data(), &["user", "create", "whisker"]);
    let called = call(&client, "hello", &json!({})).await;
    record(&client, called.id()).await;
    let later = client.post("/api/v1/namespaces/_/actions/hello?delay=3600", &json!({"n": 1})).await.unwrap();
    assert_eq!(later.status.as_u16(), 202, "{}", later.text());
    let later = later.activation_id().unwrap();

    // Accepted before the backup begins, with more coming while it is made.
    let mut before = Vec::new();
    for _ in 0..50 {
        let reply = client.invoke("hello", &json!({}), false).await.unwrap();
        before.push(reply.activation_id().unwrap());
    }
    let stop = Arc::new(AtomicBool::new(false));
    let loading = tokio::spawn(load(first.client(), stop.clone()));
    let (data, archive, folder) = (first.data().to_owned(), text("monday.tar"), text("monday"));
    let made = tokio::task::spawn_blocking(move || {
        let said = done(&data, &["backup", &archive]);
        let told: Value = serde_json::from_str(&done(&data, &["backup", &folder, "--json"])).unwrap();
        assert_eq!(done(&data, &["check"]), format!("{} is sound\n", data.display()));
        (said, told)
    });
    let (said, told) = made.await.unwrap();
    stop.store(true, Ordering::Relaxed);
    assert!(!loading.await.unwrap().is_empty(), "the node worked on");
    assert!(said.contains("monday.tar holds "), "{said}");
    assert_eq!((told["keys"].as_bool(), &told["problems"]), (Some(true), &json!([])), "{told}");
    drop(first);

    for (backup, data) in [("monday.tar", "one"), ("monday", "two")] {
        done(&place(data), &["restore", &text(backup)]);
        assert_eq!(done(&place(data), &["check"]), format!("{} is sound\n", place(data).display()));
        let second = node().data(&place(data)).start();
        let client = second.client();
        let shown = client.get("/api/v1/namespaces/_/packages/p").await.unwrap().json();
        assert_eq!(shown["parameters"], word, "{shown}");
        assert_eq!(done(second.data(), &["user", "get", "whisker"]), key);
        record(&client, called.id()).await;
        for id in &before {
            record(&client, id).await;
        }
        eventually("what is due later waits, and nothing else does any more", async || {
            let pending = client.get("/api/v1/namespaces/_/activations?status=pending").await.unwrap().json();
            let mut ids = pending.as_array().unwrap().iter().map(|one| &one["activationId"]);
            assert!(ids.clone().any(|id| *id == json!(later)), "{pending}");
            ids.all(|id| *id == json!(later)).then_some(())
        })
        .await;
        assert_eq!(call(&client, "hello", &json!({})).await.result(), &json!({"hello": true}));
    }
}

async fn in_use() {
    let home = tempfile::tempdir().unwrap();
    let first = node().start();
    let backup = home.path().join("backup.tar");
    let backup = backup.to_str().unwrap();
    done(first.data(), &["backup", backup]);
    let again = admin(first.data(), &["backup", backup]);
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.stderr.contains("is there already and stays as it is"), "{again:?}");
    let running = admin(first.data(), &["restore", backup]);
    assert_eq!(running.code, Some(1), "{running:?}");
    assert!(running.stderr.contains("in use by another node"), "{running:?}");
    let full = admin(home.path(), &["restore", backup]);
    assert_eq!(full.code, Some(1), "{full:?}");
    assert!(full.stderr.contains("is not empty"), "{full:?}");
    let none = admin(&home.path().join("none"), &["backup", &format!("{backup}.other")]);
    assert_eq!(none.code, Some(1), "{none:?}");
    assert!(none.stderr.contains("is no data folder of a node"), "{none:?}");
    assert_eq!(first.anonymous().get("/ping").await.unwrap().text(), "pong");
}

async fn damage() {
    let home = tempfile::tempdir().unwrap();
    let mut first = node().data(&home.path().join("data")).start();
    let put = Function::native("hello", HELLO).offer(&first.client()).await;
    assert_eq!(put.status.as_u16(), 200, "{}", put.text());
    let data = first.data().to_owned();
    first.stop();
    let without = home.path().join("without");
    done(&data, &["backup", without.to_str().unwrap(), "--without-keys"]);
    let restored = home.path().join("restored");
    let told = admin(&restored, &["restore", without.to_str().unwrap()]);
    assert!(told.code == Some(0) && told.stderr.contains("put node.key and parameters.key"), "{told:?}");
    let found = admin(&restored, &["check", "--json"]);
    assert_eq!(found.code, Some(1), "{found:?}");
    let findings: Value = serde_json::from_str(&found.stdout).unwrap();
    let files: Vec<_> = findings.as_array().unwrap().iter().map(|finding| finding["file"].clone()).collect();
    assert!(files.contains(&json!("node.key")) && files.contains(&json!("parameters.key")), "{findings}");
    let mut refused = chasen();
    refused.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(&restored);
    let refused = run(refused);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("node.key' is missing"), "{refused:?}");
    for key in ["node.key", "parameters.key"] {
        std::fs::copy(data.join(key), restored.join(key)).unwrap();
    }
    done(&restored, &["check"]);
    let again = node().data(&restored).start();
    eventually("the action is there", async || {
        let reply = again.client().get("/api/v1/namespaces/_/actions/hello").await.unwrap();
        (reply.status.as_u16() == 200).then_some(())
    })
    .await;
}
