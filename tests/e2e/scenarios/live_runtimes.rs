//! Kinds that change while the node runs: what runs goes on, what comes next meets the new kinds.

use chasen_testkit::{Client, Node, descendants, node};
use serde_json::{Value, json};

use crate::admin::{admin, door, said};
use crate::deaths::runs;
use crate::functions::{Function, Language, call, eventually, path, record, start};
use crate::scenario::Scenario;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("live_runtimes::a_removed_kind_runs_what_it_has_begun_and_no_more", removed)
            .needing(Language::Nodejs.need()),
        Scenario::new("live_runtimes::an_added_kind_runs_at_once", added).needing(Language::Nodejs.need()),
        Scenario::new("live_runtimes::kinds_that_cannot_run_here_say_what_to_install", not_installed),
        Scenario::new("live_runtimes::manifests_of_openwhisk_run_as_they_are", as_they_are)
            .needing(Language::Nodejs.need()),
        Scenario::new("live_runtimes::stem_cells_are_resized", resized).needing(Language::Nodejs.need()),
        Scenario::new("live_runtimes::kinds_outlive_the_node", outlive).needing(Language::Nodejs.need()),
        Scenario::blocking("live_runtimes::kinds_are_changed_without_a_node", without_a_node)
            .needing_nothing(),
    ]
}

const SLOW: &str = "function main(args) {\n  \
    require('child_process').execSync('sleep 5');\n  return { late: args.late };\n}";

/// What the node says of a kind.
async fn kind(door: &Client, name: &str) -> Value {
    door.get(&format!("/runtimes/{name}")).await.unwrap().json()
}

/// The kinds that everybody is told of.
async fn shown(node: &Node) -> Vec<String> {
    let document = node.anonymous().get("/").await.unwrap().json();
    let families = document["runtimes"].as_object().unwrap().values();
    let kinds = families.flat_map(|kinds| kinds.as_array().unwrap());
    kinds.map(|kind| kind["kind"].as_str().unwrap().to_owned()).collect()
}

/// A kind may be advertised before anything here can run it: its actions can be made, and their activations say what
/// is missing.
async fn not_installed() {
    let node = node().start();
    let (client, door) = (node.client(), door(&node));
    let image = json!({"prefix": "openwhisk", "name": "action-somelang-v1", "tag": "nightly"});
    let cells = json!([{"initialCount": 1, "memory": "256 MB"}]);
    let somewhere = json!({"kind": "somelang:1", "default": true, "image": image, "stemCells": cells});
    let mut here = kind(&door, "nodejs:20").await;
    (here["kind"], here["default"]) = (json!("nodejs:99"), json!(false));
    here["aliases"] = json!([]);
    here["chasen"]["interpreter"] = json!({"command": "node", "version": "99"});
    for (kind, document, missing) in [
        ("somelang:1", somewhere, "the runtimes manifest names no interpreter for it"),
        ("nodejs:99", here, "install it with: "),
    ] {
        let put = door.put(&format!("/runtimes/{kind}"), &document).await.unwrap();
        assert_eq!(put.status.as_u16(), 200, "{}", put.text());
        Function::of_kind("hopes", kind, "code").put(&client).await;
        let (status, error) = {
            let called = call(&client, "hopes", &json!({})).await;
            let (status, error) = called.failure();
            (status.to_owned(), error)
        };
        assert_eq!(status, "action developer error", "{error}");
        assert!(
            error.starts_with(&format!("The '{kind}' runtime is not installed on this node: ")),
            "{error}"
        );
        assert!(error.contains(missing), "{error}");
    }
}

/// Manifests of OpenWhisk say nothing of sandboxes, and name kinds of long ago.
async fn as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("openwhisk.json");
    let kind = |version: u8, default: bool| {
        let image =
            json!({"prefix": "openwhisk", "name": format!("action-nodejs-v{version}"), "tag": "nightly"});
        json!({"kind": format!("nodejs:{version}"), "default": default, "deprecated": false, "image": image})
    };
    let manifest = json!({"runtimes": {"nodejs": [kind(14, false), kind(20, true)]}});
    std::fs::write(&file, manifest.to_string()).unwrap();
    let node = node().set("runtimes.manifest", file.to_str().unwrap()).start();
    let (client, door) = (node.client(), door(&node));
    let image = json!({"prefix": "openwhisk", "name": "action-nodejs-v12"});
    let put = door.put("/runtimes/nodejs:12", &json!({"image": image})).await.unwrap();
    assert_eq!(put.status.as_u16(), 200, "{}", put.text());
    for kind in ["nodejs:12", "nodejs:14", "nodejs:20"] {
        Function::of_kind("hello", kind, "const main = () => ({ done: true })").put(&client).await;
        assert_eq!(call(&client, "hello", &json!({})).await.result(), &json!({"done": true}), "{kind}");
    }
    let own = json!({"default": true, "image": {"prefix": "somebody", "name": "action-nodejs-v20"}});
    assert_eq!(door.put("/runtimes/nodejs:20", &own).await.unwrap().status.as_u16(), 200);
    assert!(self::kind(&door, "nodejs:20").await.get("chasen").is_none(), "an image of one's own");
}

async fn removed() {
    let node = node().start();
    let (client, door) = (node.client(), door(&node));
    Function::nodejs("slow", SLOW).put(&client).await;
    Function::nodejs("quick", "function main() { return { quick: true }; }").put(&client).await;
    assert_eq!(call(&client, "quick", &json!({})).await.result(), &json!({"quick": true}));
    let running = start(&client, "slow", &json!({"late": 1})).await;
    runs(&node, 1).await;
    let manifest = kind(&door, "nodejs:20").await;
    let mut other = kind(&door, "nodejs:18").await;
    other["default"] = json!(true);
    assert_eq!(door.put("/runtimes/nodejs:18", &other).await.unwrap().status.as_u16(), 200);

    assert_eq!(door.delete("/runtimes/nodejs:20").await.unwrap().status.as_u16(), 200);
    assert!(!shown(&node).await.contains(&"nodejs:20".to_owned()));
    let refused = client.invoke("quick", &json!({}), true).await.unwrap();
    assert_eq!(refused.status.as_u16(), 400, "its warm container notwithstanding: {}", refused.text());
    let named = json!({"exec": {"kind": "nodejs:20", "code": "function main() {}"}});
    let offered = client.put(&path("new"), &named).await.unwrap();
    assert_eq!(offered.status.as_u16(), 400, "{}", offered.text());
    assert!(
        offered.text().contains("is not supported by this platform. Valid values are: "),
        "{}",
        offered.text()
    );
    assert_eq!(client.get(&path("quick")).await.unwrap().status.as_u16(), 200, "it can be read");
    let ended = record(&client, &running).await;
    assert_eq!(ended["response"]["result"], json!({"late": 1}), "what runs goes on: {ended}");

    let again = door.put("/runtimes/nodejs:20", &manifest).await.unwrap();
    assert_eq!(again.status.as_u16(), 200, "{}", again.text());
    assert_eq!(call(&client, "quick", &json!({})).await.result(), &json!({"quick": true}));
    assert_eq!(client.delete(&path("quick")).await.unwrap().status.as_u16(), 200);
}

async fn added() {
    let node = node().start();
    let (client, door) = (node.client(), door(&node));
    let code = "function main() { return { version: process.version }; }";
    let mut future = kind(&door, "nodejs:20").await;
    let named = json!({"exec": {"kind": "nodejs:next", "code": code}});
    let unknown = client.put(&path("next"), &named).await.unwrap();
    assert_eq!(unknown.status.as_u16(), 400, "{}", unknown.text());
    future["kind"] = json!("nodejs:next");
    future["aliases"] = json!(["nodejs:newest"]);
    future["default"] = json!(true);
    future["chasen"]["modules"] = Value::Null;
    let added = door.put("/runtimes/nodejs:next", &future).await.unwrap();
    assert_eq!(added.status.as_u16(), 200, "{}", added.text());
    assert_eq!(client.put(&path("next"), &named).await.unwrap().status.as_u16(), 200);
    assert!(call(&client, "next", &json!({})).await.result()["version"].is_string());
    assert_eq!(kind(&door, "nodejs:default").await["kind"], "nodejs:next");
    let named = json!({"exec": {"kind": "nodejs:newest", "code": code}});
    let stored = client.put(&path("newest"), &named).await.unwrap().json();
    assert_eq!(stored["exec"]["kind"], "nodejs:next", "what is stored is the kind that the alias leads to");
    assert!(!shown(&node).await.contains(&"nodejs:newest".to_owned()), "nobody is told of aliases");
    assert_eq!(kind(&door, "nodejs:20").await["default"], false);
    let before = shown(&node).await;
    for (launcher, text) in [
        (json!("../../../bin/sh"), "chasen.launcher '../../../bin/sh' is none of nodejs/launcher.js"),
        (json!(7), "kind 'nodejs:next': "),
    ] {
        let mut bad = future.clone();
        bad["chasen"]["launcher"] = launcher;
        let refused = door.put("/runtimes/nodejs:next", &bad).await.unwrap();
        assert_eq!(refused.status.as_u16(), 400, "{}", refused.text());
        assert!(refused.text().contains(text), "{}", refused.text());
        assert_eq!(shown(&node).await, before);
    }
    assert!(call(&client, "next", &json!({})).await.result()["version"].is_string());
}

/// Interpreters that a node has started.
fn interpreters(node: &Node) -> usize {
    descendants(node.pid()).iter().filter(|(_, name)| ["node", "MainThread"].contains(&name.as_str())).count()
}

async fn resized() {
    let node = node().start();
    let (client, door) = (node.client(), door(&node));
    let mut manifest = kind(&door, "nodejs:20").await;
    let mut with = async |cells: Value| {
        manifest["stemCells"] = cells;
        let done = door.put("/runtimes/nodejs:20", &manifest).await.unwrap();
        assert_eq!(done.status.as_u16(), 200, "{}", done.text());
    };
    with(json!([{"initialCount": 1, "memory": "128 MB"}])).await;
    Function::nodejs("hello", "function main() { return {}; }").put(&client).await;
    call(&client, "hello", &json!({})).await;
    for (stem_cells, all) in [
        (json!([{"initialCount": 2, "memory": "128 MB"}]), 3),
        (json!([{"initialCount": 1, "memory": "128 MB"}]), 2),
        (json!([]), 1),
    ] {
        with(stem_cells.clone()).await;
        let what = format!("{all} interpreters with {stem_cells}");
        eventually(&what, async || (interpreters(&node) == all).then_some(())).await;
    }
    assert_eq!(
        call(&client, "hello", &json!({})).await.annotation("initTime"),
        &Value::Null,
        "it is still warm"
    );
}

async fn outlive() {
    let mut node = node().start();
    let data = node.data().to_owned();
    let kinds = said(&data, &["runtimes", "remove", "ruby:2.5"]);
    assert!(kinds.starts_with("kinds: ") && kinds.contains("nodejs:20"), "{kinds}");
    assert!(!shown(&node).await.contains(&"ruby:2.5".to_owned()), "at once");
    node.stop();
    node.restart();
    assert!(!shown(&node).await.contains(&"ruby:2.5".to_owned()), "and after a start");
    said(&data, &["runtimes", "reset"]);
    assert!(shown(&node).await.contains(&"ruby:2.5".to_owned()));
    node.kill();
    node.restart();
    assert!(shown(&node).await.contains(&"ruby:2.5".to_owned()));
}

fn without_a_node() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let all = said(data, &["runtimes", "get"]);
    let manifest: Value = serde_json::from_str(&all).unwrap();
    assert_eq!(manifest["runtimes"]["nodejs"][0]["kind"], "nodejs:20");
    let file = data.join("kind.json");
    std::fs::write(&file, r#"{"image":{"name":"action-go"}}"#).unwrap();
    let added = said(data, &["runtimes", "add", "go:1.20", file.to_str().unwrap()]);
    assert!(added.contains("go:1.20 (default)"), "{added}");
    assert!(said(data, &["runtimes", "get", "go:default"]).contains("\"kind\": \"go:1.20\""));
    std::fs::write(&file, "{").unwrap();
    for arguments in [
        &["runtimes", "set", file.to_str().unwrap()][..],
        &["runtimes", "add", "go:1.21", file.to_str().unwrap()],
        &["runtimes", "add", "Go", file.to_str().unwrap()],
        &["runtimes", "remove", "go:1.21"],
        &["runtimes", "get", "go:1.21"],
        &["runtimes", "set", "/nowhere.json"],
    ] {
        let refused = admin(data, arguments);
        assert_eq!(refused.code, Some(1), "{arguments:?} {refused:?}");
        assert!(said(data, &["runtimes", "get"]).contains("go:1.20"), "nothing changed: {arguments:?}");
    }
    assert!(!said(data, &["runtimes", "remove", "go:1.20"]).contains("go:1.20"));
    std::fs::write(&file, &all).unwrap();
    said(data, &["runtimes", "set", file.to_str().unwrap()]);
    said(data, &["runtimes", "reset"]);
    assert_eq!(said(data, &["runtimes", "get"]), all);
}
