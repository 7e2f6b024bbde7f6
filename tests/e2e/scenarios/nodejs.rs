//! Node.js beyond its cases: dependencies that are installed once, TypeScript, old names of kinds.

use chasen_testkit::{Client, Node, node};
use serde_json::{Value, json};

use crate::archives::{Entry, zip};
use crate::functions::{Called, Function, call, logs, path};
use crate::scenario::{Need, Scenario};

/// What the log says of each build.
const BUILT: &str = "code was compiled";

pub(crate) fn scenarios() -> Vec<Scenario> {
    let scenario = |scenario: Scenario| scenario.needing(Need::command("node"));
    vec![
        scenario(Scenario::new("nodejs::dependencies_are_installed_once", installed_once))
            .needing(Need::command("npm")),
        scenario(Scenario::new("nodejs::dependencies_that_cannot_be_had_say_why", not_installed))
            .needing(Need::command("npm")),
        scenario(Scenario::new("nodejs::typescript_runs_and_its_errors_name_lines", typescript))
            .needing(Need::Packages),
        scenario(Scenario::new("nodejs::old_names_of_kinds_lead_to_those_of_today", old_names)),
        scenario(Scenario::new("nodejs::too_many_files_are_an_error_as_everywhere", files)),
    ]
}

/// An archive whose `package.json` is this, and which brings the package `leaf` beside it.
fn archive(manifest: &Value, leaf: &Value) -> String {
    let code = "exports.main = () => ({ leaf: require('leaf') })";
    zip(&[
        Entry::File("package.json", manifest.to_string().as_bytes()),
        Entry::File("index.js", code.as_bytes()),
        Entry::File("packages/leaf/package.json", leaf.to_string().as_bytes()),
        Entry::File("packages/leaf/index.js", b"module.exports = 'sencha'"),
    ])
}

fn with_leaf() -> Value {
    json!({"dependencies": {"leaf": "file:./packages/leaf"}})
}

fn leaf() -> Value {
    json!({"name": "leaf", "version": "1.0.0"})
}

fn builds(node: &Node) -> usize {
    node.log().matches(BUILT).count()
}

async fn called(client: &Client, function: &Function) -> Called {
    function.put(client).await;
    call(client, function.name(), &json!({})).await
}

async fn installed_once() {
    let mut node = node().start();
    let client = node.client();
    let code = archive(&with_leaf(), &leaf());
    for name in ["first", "again"] {
        let called = called(&client, &Function::nodejs(name, &code)).await;
        assert_eq!(called.result(), &json!({"leaf": "sencha"}));
        assert_eq!(builds(&node), 1, "{name}: {}", node.log());
    }
    node.stop();
    node.restart();
    let client = node.client();
    let before = builds(&node);
    let called = called(&client, &Function::nodejs("later", &code)).await;
    assert_eq!(called.result(), &json!({"leaf": "sencha"}));
    assert_eq!(builds(&node), before, "what was built is found again");

    let off = Function::nodejs("off", &code).init_parameter("OW_ENABLE_INIT_INSTALL", json!("false"));
    let refused = self::called(&client, &off).await;
    let (class, why) = refused.failure();
    assert!(class == "action developer error" && why.contains("Cannot find module 'leaf'"), "{why}");
    let plain = archive(&json!({"dependencies": {}}), &leaf());
    let refused = self::called(&client, &Function::nodejs("plain", &plain)).await;
    let (_, why) = refused.failure();
    assert!(why.contains("Cannot find module 'leaf'"), "{why}");
    assert_eq!(builds(&node), before, "nothing was to be installed");
}

async fn not_installed() {
    let node = node().start();
    let client = node.client();
    let failing =
        json!({"name": "leaf", "version": "1.0.0", "scripts": {"install": "echo no tea here >&2; exit 3"}});
    let called = called(&client, &Function::nodejs("failing", &archive(&with_leaf(), &failing))).await;
    let (class, why) = called.failure();
    assert_eq!(class, "action developer error");
    assert_eq!(why, "Initialization has failed due to: npm install failed. See logs for details.");
    let lines = logs(&client, called.id()).await.concat();
    assert!(lines.contains("no tea here"), "{lines}");
}

async fn typescript() {
    let node = node().start();
    let client = node.client();
    let code = "interface Args { n: number }\n\nexport async function main({ n }: Args) {\n  \
                if (n < 0) throw new Error('negative');\n  return { twice: n * 2 };\n}";
    Function::nodejs("twice", code).put(&client).await;
    assert_eq!(call(&client, "twice", &json!({"n": 4})).await.result(), &json!({"twice": 8}));
    let rejected = call(&client, "twice", &json!({"n": -1})).await;
    assert!(rejected.text.contains("exec.ts:4:20"), "{}", rejected.text);
    let archive = zip(&[
        Entry::File(
            "index.ts",
            b"import { twice } from './lib';\nexport const main = () => ({ four: twice(2) });",
        ),
        Entry::File("lib.ts", b"export const twice = (n: number): number => n * 2;"),
    ]);
    let called = called(&client, &Function::nodejs("archive", &archive)).await;
    assert_eq!(called.result(), &json!({"four": 4}));
}

async fn old_names() {
    let node = node().start();
    let client = node.client();
    let code = "function main() { return { major: parseInt(process.versions.node) } }";
    for (old, kind) in [("nodejs:6", "nodejs:18"), ("nodejs:16", "nodejs:18"), ("nodejs", "nodejs:20")] {
        let document = json!({"exec": {"kind": old, "code": code}});
        let stored = client.put(&format!("{}?overwrite=true", path("old")), &document).await.unwrap().json();
        assert_eq!(stored["exec"]["kind"], kind, "{old}");
        let called = call(&client, "old", &json!({})).await;
        assert!(called.result()["major"].as_u64().unwrap() >= 18, "{}", called.text);
    }
    let unknown =
        client.put(&path("new"), &json!({"exec": {"kind": "nodejs:4711", "code": code}})).await.unwrap();
    assert!(
        unknown.text().contains("'nodejs:20'") && !unknown.text().contains("nodejs:16"),
        "{}",
        unknown.text()
    );
}

async fn files() {
    let node = node().start();
    let client = node.client();
    let code = "const fs = require('fs');\n\
                function main() { const all = []; try { for (;;) all.push(fs.openSync('/dev/zero')) }\n\
                catch (error) { all.forEach((fd) => fs.closeSync(fd)); return { enough: all.length >= 1024 - 30, why: error } } }";
    let called = called(&client, &Function::nodejs("files", code)).await;
    let error = json!({"code": "EMFILE", "errno": -24, "path": "/dev/zero", "syscall": "open"});
    assert_eq!(called.result(), &json!({"enough": true, "why": error}));
}
