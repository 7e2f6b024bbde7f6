//! Secrets of the node and its users: not in logs, not on disk as they are, not for other users of the machine.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use chasen_testkit::{Node, chasen, node, run};
use serde_json::json;

use crate::functions::{Function, call, eventually, record};
use crate::scenario::Scenario;

const ARGUMENT: &str = "an-argument-that-is-nobodys-business";

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("secrets::keys_and_arguments_stay_where_they_belong", secrets),
        Scenario::new("secrets::parameters_are_locked_on_the_disk_and_nowhere_else", locked),
        Scenario::new("secrets::locked_parameters_outlive_the_rotation_of_keys", rotation),
    ]
}

async fn secrets() {
    let node = node().set("log.filter", "trace").start();
    let mut create = chasen();
    create.args(["admin", "user", "create", "whisker", "--data"]).arg(node.data());
    let created = run(create);
    let credentials = created.stdout.trim();
    let (_, key) = credentials.split_once(':').unwrap_or_else(|| panic!("{created:?}"));
    let client = node.anonymous().with_credentials(credentials);
    eventually("the node knows the user", async || {
        (client.get("/api/v1/namespaces").await.unwrap().status.as_u16() == 200).then_some(())
    })
    .await;
    let code = "#!/bin/sh\nprintf '{\"length\":%d}' ${#__OW_API_KEY}\n";
    Function::native("measures", code).annotation("provide-api-key", json!(true)).put(&client).await;
    let called = call(&client, "measures", &json!({"text": ARGUMENT})).await;
    assert_eq!(called.result(), &json!({"length": credentials.len()}));
    record(&client, called.id()).await;

    let log = node.log();
    assert!(!log.is_empty(), "there is a log to look into");
    assert!(!log.contains(key) && !log.contains(ARGUMENT), "{log}");
    for file in files_below(node.data()) {
        let bytes = std::fs::read(&file).unwrap_or_default();
        assert!(!contains(&bytes, key.as_bytes()), "{} holds a key", file.display());
    }
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(node.data()) & 0o077, 0, "the data folder is the node's alone");
    assert_eq!(mode(&node.data().join("node.key")), 0o600);
}

/// Answers how long its arguments and `WORD` of its environment are.
const MEASURE: &str = "#!/bin/sh\nprintf '{\"arguments\":%d,\"word\":%d}' ${#1} ${#WORD}\n";
const OLD_KEY: (&str, &str) = ("CHASEN_PARAMETER_STORAGE__AES_128", "MDEyMzQ1Njc4OWFiY2RlZg==");
const NEW_KEY: (&str, &str) =
    ("CHASEN_PARAMETER_STORAGE__AES_256", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");

/// A node whose parameters at rest are locked with the last of these keys.
fn locking(data: &Path, keys: &[(&str, &str)], current: &str) -> Node {
    let node = node().data(data).set("parameter-storage.current", current);
    keys.iter().fold(node, |node, (name, key)| node.environment(name, key)).start()
}

async fn locked() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let word = "the-word-that-nobody-knows";
    let old = "what-an-earlier-release-stored-open";
    let mut node = node().data(&data).set("parameter-storage.current", "off").start();
    let package = "/api/v1/namespaces/_/packages/p?overwrite=true";
    let stored = json!([{"key": "a", "value": old}]);
    let client = node.client();
    assert_eq!(client.put(package, &json!({"parameters": stored})).await.unwrap().status.as_u16(), 200);
    node.stop();

    let mut node = chasen_testkit::node().data(&data).start();
    let client = node.client();
    let path = "/api/v1/namespaces/_/packages/p";
    assert_eq!(client.get(path).await.unwrap().json()["parameters"], stored, "it is read as it was");
    let parameters = json!([{"key": "a", "value": ARGUMENT}, {"key": "WORD", "value": word, "init": true}]);
    for _ in 0..2 {
        // What was read goes back as it is.
        let put = client.put(package, &json!({"parameters": parameters})).await.unwrap();
        assert_eq!(put.json()["parameters"], parameters, "{}", put.text());
        assert_eq!(client.get(path).await.unwrap().json()["parameters"], parameters);
    }
    Function::native("p/measure", MEASURE).put(&client).await;
    let measured = json!({"arguments": ARGUMENT.len() + 8, "word": word.len()});
    let called = call(&client, "p/measure", &json!({})).await;
    assert_eq!(called.result(), &measured);
    record(&client, called.id()).await;
    let shown = client.get("/api/v1/namespaces/_/actions/p/measure").await.unwrap().json();
    assert_eq!(shown["parameters"], parameters, "{shown}");
    node.stop();
    for file in files_below(&data) {
        let bytes = std::fs::read(&file).unwrap_or_default();
        let open = [ARGUMENT, word].iter().any(|word| contains(&bytes, word.as_bytes()));
        assert!(!open, "{} holds a parameter", file.display());
    }
    let key = data.join("parameters.key");
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read(key).unwrap().len(), 32);
}

async fn rotation() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let words =
        |word: &str| json!([{"key": "a", "value": ARGUMENT}, {"key": "WORD", "value": word, "init": true}]);
    let measured = |word: &str| json!({"arguments": ARGUMENT.len() + 8, "word": word.len()});
    let (old, new) = ("the-word-of-old-that-nobody-knows", "the-new-word-that-nobody-knows-either");

    let mut node = locking(&data, &[OLD_KEY], "aes-128");
    let client = node.client();
    let package = "/api/v1/namespaces/_/packages/p?overwrite=true";
    let put = client.put(package, &json!({"parameters": words(old)})).await.unwrap();
    assert_eq!(put.json()["parameters"], words(old), "the writer sees what it wrote");
    let locked = client.get("/api/v1/namespaces/_/packages/p").await.unwrap().json()["parameters"].clone();
    assert_eq!(locked[0]["encryption"], "aes-128", "{locked}");
    assert!(!locked.to_string().contains(ARGUMENT), "{locked}");
    Function::native("p/measure", MEASURE).put(&client).await;
    assert_eq!(call(&client, "p/measure", &json!({})).await.result(), &measured(old));
    node.stop();
    for file in files_below(&data) {
        let bytes = std::fs::read(&file).unwrap_or_default();
        let open = [ARGUMENT, old].iter().any(|word| contains(&bytes, word.as_bytes()));
        assert!(!open, "{} holds a parameter", file.display());
    }

    // With a new key beside the old one, both sorts of values are read, and new ones are locked with the new key.
    let mut node = locking(&data, &[OLD_KEY, NEW_KEY], "aes-256");
    let client = node.client();
    assert_eq!(call(&client, "p/measure", &json!({})).await.result(), &measured(old));
    let action = json!({"parameters": [{"key": "WORD", "value": new, "init": true}]});
    let path = "/api/v1/namespaces/_/actions/p/measure";
    let put = client.put(&format!("{path}?overwrite=true"), &action).await.unwrap();
    assert_eq!(put.status.as_u16(), 200, "{}", put.text());
    let mixed = client.get(path).await.unwrap().json()["parameters"].clone();
    let algorithms: Vec<_> = mixed.as_array().unwrap().iter().map(|one| &one["encryption"]).collect();
    assert_eq!(algorithms, ["aes-128", "aes-256"], "{mixed}");
    assert_eq!(call(&client, "p/measure", &json!({})).await.result(), &measured(new));
    // What was read goes back as it is.
    client.put(package, &json!({"parameters": locked})).await.unwrap();
    assert_eq!(call(&client, "p/measure", &json!({})).await.result(), &measured(new));
    node.stop();

    // Without the old key its values are lost, and said to be.
    let node = locking(&data, &[NEW_KEY], "off");
    let called = call(&node.client(), "p/measure", &json!({})).await;
    assert_eq!(called.status, 500, "{}", called.text);
    assert_eq!(called.failure().1, "Failed to unlock parameters.");
    assert!(!node.log().contains(ARGUMENT));
}

pub(crate) fn contains(bytes: &[u8], part: &[u8]) -> bool {
    // Segments of the log are large and mostly zeros.
    let begins = bytes.iter().enumerate().filter(|(_, byte)| Some(*byte) == part.first());
    begins.map(|(at, _)| at).any(|at| bytes[at..].starts_with(part))
}

/// All files below a folder.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files.extend(files_below(&entry.path()));
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files
}
