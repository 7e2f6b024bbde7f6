//! Builds that attack: the hook of a package runs where dependencies are installed, with code of its own.

use chasen_testkit::internet::{self, FORBIDDEN, PUBLIC};
use serde_json::{Value, json};

use super::stage::{self, CODE_MARK, PLANTED, SECRET_OF_THE_NODE, Stage, ordinary};
use crate::archives::{Entry, zip};
use crate::functions::{Function, Language, call, logs};
use crate::scenario::{Need, Scenario, wait_for};

/// What stops what a build tries.
pub(super) const WALLS: &[&str] = &[
    "packet-filter",
    "hidden-host",
    "pid-namespace",
    "user-namespace",
    "no-capabilities",
    "read-only-root",
    "process-limit",
    "call-filter",
];

/// The dependency makes that something is installed; the hook never fails.
const PACKAGE: &str = r#"{"name":"evil","version":"1.0.0","dependencies":{"nothing":"file:./nothing"},
    "scripts":{"preinstall":"node hook.js"}}"#;
const NOTHING: &str = r#"{"name":"nothing","version":"1.0.0"}"#;
/// Makes the attacks of `wanted.json`, and leaves what came of each for the function.
const HOOK: &str = "const fs = require('fs');\nconst { main } = require('./attacks.js');\n(async () => {\n  \
    const report = {};\n  \
    for (const [name, wanted] of Object.entries(JSON.parse(fs.readFileSync('wanted.json', 'utf8')))) {\n    \
    try { report[name] = await main(wanted) } catch (error) { report[name] = { how: String(error) } }\n  }\n  \
    fs.writeFileSync('report.json', JSON.stringify(report));\n})();\n";
const INDEX: &str = "exports.main = () => require('./report.json');\n";

pub(super) fn scenarios() -> Vec<Scenario> {
    let on_a_machine = |name: &'static str, body: fn()| {
        Scenario::blocking(name, move || internet::on_a_machine(body)).needing(Need::command("npm"))
    };
    vec![
        on_a_machine("containment::builds_that_attack_fail", || {
            wait_for(async {
                let stage = Stage::new(connected()).await;
                let internet = escapes(&stage, "internet").await;
                assert_eq!(
                    internet,
                    ["the_internet"],
                    "what a function reaches a build reaches, and nothing else"
                );
                assert_eq!(escapes(&stage, "none").await, Vec::<String>::new());
                assert_eq!(stage.canary().await, None);
                stage.has_recovered().await;
            });
        }),
        on_a_machine("containment::builds_that_attack_succeed_where_walls_are_open", || {
            wait_for(async {
                let stage = Stage::without(WALLS, connected()).await;
                let all: Vec<String> = attacks(&stage).as_object().unwrap().keys().cloned().collect();
                assert_eq!(escapes(&stage, "internet").await, all);
                stage.close().await;
            });
        })
        .needing(Need::OpenWalls),
    ]
}

fn connected() -> chasen_testkit::Builder {
    ordinary().set("sandbox.dns", &internet::RESOLVER.to_string())
}

/// What a build tries, by name.
fn attacks(stage: &Stage) -> Value {
    let at = |address: &std::net::Ipv4Addr| json!({"host": address, "port": 80});
    let reach = |targets: Vec<Value>| json!({"attack": "connect", "targets": targets, "patience": 10});
    let data = stage.node().data().display().to_string();
    json!({
        "code_of_others": {"attack": "search", "paths": [format!("/host{data}/layers")], "text": CODE_MARK},
        "crowd": {"attack": "processes", "count": 1100},
        "metadata_and_private_networks": reach(FORBIDDEN.iter().map(at).collect()),
        "mount": {"attack": "calls", "calls": format!("{} s:none s:/dev/shm s:tmpfs 0 0", libc::SYS_mount)},
        "processes_of_others": {"attack": "command_line", "mark": stage::ASLEEP},
        "secret_of_the_node": {
            "attack": "find", "paths": [format!("/host{data}/{PLANTED}")], "text": SECRET_OF_THE_NODE,
        },
        "system": {"attack": "create", "paths": ["/usr/lib/chasen-containment-proof", "/etc/chasen-containment-proof"]},
        "the_internet": reach(vec![at(&PUBLIC)]),
    })
}

/// The attacks that a build of an action with this network policy has carried out.
async fn escapes(stage: &Stage, policy: &str) -> Vec<String> {
    stage.neighbour().await;
    let wanted = attacks(stage).to_string();
    let archive = zip(&[
        Entry::File("package.json", PACKAGE.as_bytes()),
        Entry::File("nothing/package.json", NOTHING.as_bytes()),
        Entry::File("attacks.js", stage::code(Language::Nodejs).as_bytes()),
        Entry::File("hook.js", HOOK.as_bytes()),
        Entry::File("wanted.json", wanted.as_bytes()),
        Entry::File("index.js", INDEX.as_bytes()),
    ]);
    let function = Function::nodejs("built", &archive).limit("memory", 512).limit("timeout", 120_000);
    function.annotation("network", json!(policy)).put(stage.client()).await;
    let called = call(stage.client(), "built", &json!({})).await;
    println!("{policy}: {} {:?}", called.text, logs(stage.client(), called.id()).await);
    let report = called.result().as_object().unwrap();
    let escaped = report.iter().filter(|(_, outcome)| outcome["escaped"] == true);
    escaped.map(|(name, _)| name.clone()).collect()
}
