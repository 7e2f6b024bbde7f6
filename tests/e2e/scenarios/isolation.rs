//! What a function can see and reach: its own, the API door and the internet, nothing else.

use std::net::Ipv4Addr;

use chasen_testkit::internet::{self, FORBIDDEN, MACHINE, PUBLIC, RESOLVER};
use chasen_testkit::{Client, Node, node};
use serde_json::{Value, json};

use crate::functions::{Function, Language, call};
use crate::scenario::{Need, Scenario, wait_for};

const SURROUNDINGS: &str = include_str!("../functions/surroundings.js");
/// A port of the machine where something other than the node answers.
const NEIGHBOUR: u16 = 7777;

pub(crate) fn scenarios() -> Vec<Scenario> {
    let scenarios = vec![
        Scenario::new("isolation::functions_have_no_rights", rights),
        Scenario::new("isolation::the_system_is_read_only_and_the_node_is_not_in_it", files),
        Scenario::new("isolation::functions_do_not_see_each_other", each_other),
        Scenario::blocking("isolation::functions_reach_the_internet_and_the_api_door_only", || {
            internet::on_a_machine(|| wait_for(network()));
        })
        .needing(Need::command("ip")),
        Scenario::new("isolation::the_openwhisk_client_works_from_inside", client_inside),
        Scenario::new("isolation::requests_reach_the_api_door", requests_inside)
            .needing(Language::Python.need()),
    ];
    scenarios.into_iter().map(|scenario| scenario.needing(Language::Nodejs.need())).collect()
}

/// A node with the observing action.
async fn observed(node: Node) -> (Node, Client) {
    let client = node.client();
    Function::nodejs("look", SURROUNDINGS).put(&client).await;
    (node, client)
}

/// What the observing action answers to a question.
async fn ask(client: &Client, question: Value) -> Value {
    let called = call(client, "look", &question).await;
    called.result()["answer"].clone()
}

async fn rights() {
    let (_node, client) = observed(node().start()).await;
    let who = ask(&client, json!({"ask": "who"})).await;
    assert_ne!((&who["uid"], &who["gid"]), (&json!(0), &json!(0)), "{who}");
    let status = ask(&client, json!({"ask": "status"})).await;
    for (field, value) in [
        ("CapInh", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ] {
        assert_eq!(status[field], value, "{field}: {status}");
    }
    let python = "import os, socket, ctypes\n\
        def attempt(deed):\n    \
            try:\n        deed()\n        return 'done'\n    \
            except OSError as error:\n        return type(error).__name__\n\
        def unshare():\n    \
            libc = ctypes.CDLL(None, use_errno=True)\n    \
            if libc.unshare(0x10000000) != 0:\n        raise PermissionError('unshare')\n\
        def main(args):\n    return {\n        \
            'raw': attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),\n        \
            'packet': attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),\n        \
            'chroot': attempt(lambda: os.chroot('/tmp')),\n        \
            'root': attempt(lambda: os.setuid(0)),\n        \
            'device': attempt(lambda: os.mknod('/tmp/d', 0o060644, os.makedev(8, 0))),\n        \
            'unshare': attempt(unshare)}\n";
    Function::python("deeds", python).put(&client).await;
    let deeds = call(&client, "deeds", &json!({})).await;
    for (deed, outcome) in deeds.result().as_object().unwrap() {
        // There is no user 0 inside to become.
        let refusal = if deed == "root" { "OSError" } else { "PermissionError" };
        assert_eq!(outcome, refusal, "{deed}: {}", deeds.text);
    }
}

async fn files() {
    let secret = "whisk-away-this-secret";
    let (node, client) = observed(node().environment("SECRET_OF_THE_NODE", secret).start()).await;
    let places =
        ["/", "/usr", "/etc", "/usr/lib", "/bin", "/proc", "/dev", "/opt", "/root", "/home", "/var", "/sys"];
    let paths: Vec<String> =
        places.iter().map(|place| format!("{}/written", place.trim_end_matches('/'))).collect();
    let written = ask(&client, json!({"ask": "write", "paths": paths})).await;
    for place in written.as_array().unwrap() {
        assert!(place["did"].is_null() && place["code"].is_string(), "{place}");
    }
    let writable = ask(&client, json!({"ask": "write", "paths": ["/tmp/written", "/action/written"]})).await;
    assert!(writable.as_array().unwrap().iter().all(|place| place["did"] == true), "{writable}");

    let data = node.data().to_str().unwrap();
    let key = format!("{data}/node.key");
    assert!(node.data().join("node.key").is_file(), "the node's key is elsewhere now: adapt this scenario");
    let hidden = [data, &key, "/root/.bashrc", "/etc/shadow", "/proc/1/root/etc/shadow", "/run/chasen"];
    for ask_for in ["read", "list"] {
        let seen = ask(&client, json!({"ask": ask_for, "paths": hidden})).await;
        assert!(seen.as_array().unwrap().iter().all(|path| path["did"].is_null()), "{seen}");
    }
    let processes = ask(&client, json!({"ask": "processes"})).await.to_string();
    for hint in [secret, data, chasen_testkit::GUEST] {
        assert!(!processes.contains(hint), "{hint} is seen: {processes}");
    }
}

async fn each_other() {
    let (_node, client) = observed(node().start()).await;
    Function::nodejs("other", SURROUNDINGS).put(&client).await;
    let sign = "a-sign-of-the-other";
    let leave = json!({"ask": "write", "paths": [format!("/tmp/{sign}"), format!("/action/{sign}")]});
    let other = call(&client, "other", &leave).await;
    assert_eq!(other.result()["answer"][1]["did"], true, "{}", other.text);
    let lists = ask(&client, json!({"ask": "list", "paths": ["/tmp", "/action", "/dev/shm"]})).await;
    assert!(!lists.to_string().contains(sign), "{lists}");
    let processes = ask(&client, json!({"ask": "processes"})).await;
    let count = processes["processes"].as_array().unwrap().len();
    assert!((1..=3).contains(&count), "{processes}");
}

async fn network() {
    let node = node()
        .listen("0.0.0.0:0")
        .argument("--allow-guest")
        .set("sandbox.dns", &RESOLVER.to_string())
        .start();
    let (node, client) = observed(node).await;
    let port: u16 = node.base().rsplit(':').next().unwrap().parse().unwrap();
    internet::serve_http(Ipv4Addr::UNSPECIFIED, NEIGHBOUR);
    for address in FORBIDDEN.iter().chain([&PUBLIC]) {
        internet::fetch(*address, 80)
            .unwrap_or_else(|error| panic!("the machine itself must reach {address}: {error}"));
    }
    internet::fetch(MACHINE, NEIGHBOUR).expect("the neighbour answers on the machine");

    let by_address = ask(&client, json!({"ask": "fetch", "url": format!("http://{PUBLIC}/")})).await;
    assert_eq!(
        by_address,
        json!({"status": 200, "text": MACHINE.to_string()}),
        "as if the machine had asked"
    );
    let by_name = ask(&client, json!({"ask": "fetch", "url": "http://some.example/"})).await;
    assert_eq!(by_name, by_address);
    let door = call_door(&client).await;

    Function::nodejs("other", SURROUNDINGS).put(&client).await;
    let other = call(&client, "other", &json!({"ask": "listen", "port": 8080})).await;
    let other = other.result()["answer"]["address"].as_str().expect("functions have an address").to_owned();
    let own =
        ask(&client, json!({"ask": "listen", "port": 8080})).await["address"].as_str().unwrap().to_owned();
    assert_ne!(own, other);

    let mut targets: Vec<Value> = FORBIDDEN.iter().map(|host| json!({"host": host, "port": 80})).collect();
    for host in [&door, &MACHINE.to_string(), "127.0.0.1"] {
        targets.push(json!({"host": host, "port": NEIGHBOUR}));
    }
    for host in [&MACHINE.to_string(), "127.0.0.1"] {
        targets.push(json!({"host": host, "port": port}));
    }
    targets.push(json!({"host": other, "port": 8080}));
    targets.push(json!({"host": RESOLVER.to_string(), "port": 80}));
    let reached = ask(&client, json!({"ask": "connect", "targets": targets})).await;
    for target in reached.as_array().unwrap() {
        assert_eq!(target["answers"], false, "{target}");
    }
    let itself = ask(&client, json!({"ask": "connect", "targets": [{"host": own, "port": 8080}]})).await;
    assert_eq!(itself[0]["answers"], true, "a function reaches itself: {itself}");
}

/// Fetches from the API door from inside; its host.
async fn call_door(client: &Client) -> String {
    let code = "async function main() {\n  \
        const host = process.env.__OW_API_HOST;\n  \
        const reply = await fetch(`${host}/ping`);\n  \
        return { host: new URL(host).hostname, status: reply.status, text: await reply.text() };\n}";
    Function::nodejs("door", code).put(client).await;
    let called = call(client, "door", &json!({})).await;
    let answer = called.result();
    assert_eq!((&answer["status"], &answer["text"]), (&json!(200), &json!("pong")), "{answer}");
    answer["host"].as_str().unwrap().to_owned()
}

async fn client_inside() {
    let node = node().start();
    let client = node.client();
    Function::native("inner", "#!/bin/sh\nprintf '%s' \"$1\"\n").put(&client).await;
    let code = "async function main(args) {\n  \
        const ow = require('openwhisk')();\n  \
        const result = await ow.actions.invoke({ name: 'inner', blocking: true, result: true, params: args });\n  \
        const list = await ow.actions.list();\n  \
        return { result, names: list.map((action) => action.name).sort() };\n}";
    Function::nodejs("outer", code).annotation("provide-api-key", json!(true)).put(&client).await;
    let called = call(&client, "outer", &json!({"text": "grüß"})).await;
    assert_eq!(
        called.result(),
        &json!({"result": {"text": "grüß"}, "names": ["inner", "outer"]}),
        "{}",
        node.log()
    );
    Function::nodejs("keyless", code).put(&client).await;
    let called = call(&client, "keyless", &json!({})).await;
    assert_eq!(called.status, 502, "without its key the client must not work: {}", called.text);
}

async fn requests_inside() {
    let node = node().start();
    let client = node.client();
    let code = "import os, requests\n\ndef main(args):\n    \
        answer = requests.get(os.environ['__OW_API_HOST'] + '/ping', timeout=40)\n    \
        return {'status': answer.status_code, 'text': answer.text, 'version': requests.__version__}\n";
    Function::python("ask", code).put(&client).await;
    let called = call(&client, "ask", &json!({})).await;
    let expected = json!({"status": 200, "text": "pong", "version": "2.32.2"});
    assert_eq!(called.result(), &expected, "{}", node.log());
}
