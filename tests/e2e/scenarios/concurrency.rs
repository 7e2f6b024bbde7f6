//! Activations that share a container: as many as the action allows, each with its own result and log.

use std::collections::BTreeSet;

use chasen_testkit::{Builder, Client, node};
use serde_json::{Value, json};

use crate::functions::{Function, Language, call, eventually, logs, record, start};
use crate::packages::neighbour;
use crate::scenario::{Need, Scenario};

/// More than a hundred, as runtimes elsewhere are tested with.
const MANY: u64 = 120;

const EXITED: &str = "The action did not produce a valid response and exited unexpectedly.";

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("concurrency::nodejs_runs_that_wait_for_each_other_share_a_container", || {
            meet(nodejs())
        })
        .needing(Language::Nodejs.need()),
        Scenario::new("concurrency::python_runs_that_wait_for_each_other_share_a_container", || {
            meet(python())
        })
        .needing(Language::Python.need()),
        Scenario::new("concurrency::java_runs_that_wait_for_each_other_share_a_container", || meet(java()))
            .needing(Need::command("javac")),
        Scenario::new(
            "concurrency::a_process_that_ends_takes_all_with_it_and_the_next_call_is_served",
            crash,
        )
        .needing(Language::Nodejs.need()),
        Scenario::new("concurrency::a_time_limit_takes_all_with_it_and_the_next_call_is_served", time_limit)
            .needing(Language::Nodejs.need()),
        Scenario::new("concurrency::a_developer_error_lets_the_others_finish", developer_error)
            .needing(Language::Nodejs.need()),
        Scenario::new("concurrency::actions_that_allow_one_get_one", serial).needing(Language::Nodejs.need()),
        Scenario::new("concurrency::actions_environments_and_namespaces_share_nothing", apart)
            .needing(Language::Nodejs.need()),
        Scenario::new("concurrency::kinds_that_take_one_get_one_whatever_the_limit", one_at_a_time),
    ]
}

/// A node whose operator lets activations share containers.
fn shared() -> Builder {
    node().set("limits.action-concurrency-max", "1000")
}

/// Says who it is, meets all others, and says goodbye.
fn nodejs() -> Function {
    let code = "const here = []; const container = Math.random();\n\
        async function main({ n, all }) {\n\
        console.log('begin', n);\n\
        await new Promise((go) => { here.push(go); if (here.length === all) here.forEach((one) => one()) });\n\
        console.error('end', n);\n\
        return { n, container };\n}";
    Function::nodejs("meets", code)
}

fn python() -> Function {
    let code = "import random, sys, threading\n\
        container = random.random()\nhere = threading.Semaphore(0)\nlock = threading.Lock()\ncount = 0\n\
        def main(args):\n    global count\n    print('begin', args['n'])\n    with lock:\n        count += 1\n        \
        if count == args['all']: here.release(count)\n    here.acquire()\n    \
        print('end', args['n'], file=sys.stderr)\n    return {'n': args['n'], 'container': container}\n";
    Function::python("meets", code)
}

fn java() -> Function {
    let code = "import com.google.gson.JsonObject;\nimport java.util.concurrent.CountDownLatch;\n\
        public class Meets {\n  static final double CONTAINER = Math.random();\n  \
        static final CountDownLatch ALL = new CountDownLatch(120);\n  \
        public static JsonObject main(JsonObject args) throws Exception {\n    \
        System.out.println(\"begin \" + args.get(\"n\"));\n    ALL.countDown();\n    ALL.await();\n    \
        System.err.println(\"end \" + args.get(\"n\"));\n    args.remove(\"all\");\n    \
        args.addProperty(\"container\", CONTAINER);\n    return args;\n  }\n}\n";
    Function::of_kind("meets", "java:default", code).main("Meets")
}

/// None of them ends before all of them are there: so all are in one container at once.
async fn meet(function: Function) {
    let node = shared().start();
    let client = node.client();
    function.limit("concurrency", 200).put(&client).await;
    let mut ids = Vec::new();
    for n in 0..MANY {
        ids.push(start(&client, "meets", &json!({"n": n, "all": MANY})).await);
    }
    let mut containers = BTreeSet::new();
    for (n, id) in ids.iter().enumerate() {
        let record = record(&client, id).await;
        let result = &record["response"]["result"];
        assert_eq!(result["n"], n, "{record}");
        containers.insert(result["container"].to_string());
        let lines = record["logs"].as_array().unwrap().iter().map(|line| line.as_str().unwrap());
        let lines: Vec<&str> = lines.map(|line| &line[31..]).collect();
        assert_eq!(lines, [format!("stdout: begin {n}"), format!("stderr: end {n}")], "{record}");
    }
    assert_eq!(containers.len(), 1, "{containers:?}");
    let again = call(&client, "meets", &json!({"n": 7, "all": MANY + 1})).await;
    assert!(containers.contains(&again.result()["container"].to_string()), "it goes on: {}", again.text);
}

/// Counts who waits in it; tells that, waits for ever, or does something to the process.
const FALLS: &str = "const container = Math.random(); let waiting = 0;\n\
    function main({ what, n }) {\n\
    if (what === 'wait') { waiting++; console.log('waits', n); return new Promise(() => {}) }\n\
    if (what === 'nap') { waiting++; return new Promise((go) => setTimeout(() => go({ container }), 300)) }\n\
    if (what === 'exit') { console.log('exits'); process.exit(3) }\n\
    if (what === 'throw') throw new Error('thrown');\n\
    return { container, waiting };\n}";

/// The container of `falls`, once this many wait in it.
async fn container_of(client: &Client, waiting: u64) -> Value {
    let found = async || {
        let called = call(client, "falls", &json!({})).await;
        let result = called.result();
        (result["waiting"] == waiting).then(|| result["container"].clone())
    };
    eventually("all wait in one container", found).await
}

async fn wait_in_container(client: &Client, count: u64) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..count {
        ids.push(start(client, "falls", &json!({"what": "wait", "n": n})).await);
    }
    ids
}

fn error(record: &Value) -> &str {
    record["response"]["result"]["error"].as_str().unwrap_or_else(|| panic!("no error: {record}"))
}

async fn crash() {
    let node = shared().start();
    let client = node.client();
    Function::nodejs("falls", FALLS).limit("concurrency", 500).limit("timeout", 300_000).put(&client).await;
    let ids = wait_in_container(&client, MANY).await;
    let container = container_of(&client, MANY).await;
    let exits = call(&client, "falls", &json!({"what": "exit"})).await;
    assert_eq!(exits.failure(), ("action developer error", EXITED.to_owned()));
    for (n, id) in ids.iter().enumerate() {
        let record = record(&client, id).await;
        assert_eq!(record["response"]["status"], "action developer error");
        assert_eq!(error(&record), EXITED);
        let lines = record["logs"].as_array().unwrap();
        assert_eq!(lines.len(), 2, "its own line and the notice: {record}");
        assert!(lines[0].as_str().unwrap().ends_with(&format!("stdout: waits {n}")), "{record}");
    }
    assert_ne!(container_of(&client, 0).await, container, "the next call is served, by another container");
}

async fn time_limit() {
    const LIMIT: u64 = 5_000;
    let node = shared().start();
    let client = node.client();
    Function::nodejs("falls", FALLS).limit("concurrency", 500).limit("timeout", LIMIT).put(&client).await;
    let container = container_of(&client, 0).await;
    let ids = wait_in_container(&client, 20).await;
    let timed_out = format!("The action exceeded its time limits of {LIMIT} milliseconds.");
    let mut texts = BTreeSet::new();
    for id in &ids {
        let record = record(&client, id).await;
        assert_eq!(record["response"]["status"], "action developer error");
        texts.insert(error(&record).to_owned());
    }
    assert!(logs(&client, &ids[0]).await[0].ends_with("stdout: waits 0"), "what was printed before is kept");
    // Those that reached their own limit before the container was gone say that.
    assert!(texts.remove(&timed_out), "{texts:?}");
    assert!(texts.iter().all(|text| text == EXITED), "{texts:?}");
    assert_ne!(container_of(&client, 0).await, container, "the next call is served, by another container");
}

async fn developer_error() {
    let node = shared().start();
    let client = node.client();
    Function::nodejs("falls", FALLS).limit("concurrency", 500).put(&client).await;
    let container = container_of(&client, 0).await;
    let nap = json!({"what": "nap"});
    let naps = call(&client, "falls", &nap);
    let throws = async {
        container_of(&client, 1).await;
        call(&client, "falls", &json!({"what": "throw"})).await
    };
    let (naps, throws) = tokio::join!(naps, throws);
    assert_eq!(throws.failure().1, "An error has occurred: Error: thrown");
    assert_eq!(naps.result()["container"], container, "it ended well where it was");
    let next = call(&client, "falls", &json!({})).await;
    assert_ne!(next.result()["container"], container, "which takes no more");
}

/// Says how many calls were in its container while it was.
const COUNTS: &str = "let inside = 0; const container = Math.random(); async function main() {\n\
    let most = ++inside;\n\
    for (let n = 0; n < 20; n++) { await new Promise((go) => setTimeout(go, 5)); most = Math.max(most, inside) }\n\
    inside--; return { most, container };\n}";

async fn serial() {
    let node = shared().start();
    let client = node.client();
    Function::nodejs("counts", COUNTS).put(&client).await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(start(&client, "counts", &json!({})).await);
    }
    for id in ids {
        assert_eq!(record(&client, &id).await["response"]["result"]["most"], 1);
    }
    let closed = chasen_testkit::node().start();
    let refused = Function::nodejs("counts", COUNTS).limit("concurrency", 2).offer(&closed.client()).await;
    assert_eq!(refused.status.as_u16(), 400, "an operator who says nothing allows one: {}", refused.text());
}

/// The containers of ten calls at once.
async fn containers(client: &Client, path: &str) -> BTreeSet<String> {
    let calls = (0..10).map(|_| async {
        let reply = client.post(&format!("{path}?blocking=true&result=true"), &json!({})).await.unwrap();
        assert_eq!(reply.status.as_u16(), 200, "{}", reply.text());
        reply.json()["container"].to_string()
    });
    futures_util::future::join_all(calls).await.into_iter().collect()
}

async fn apart() {
    let node = shared().start();
    let (guest, whisker) = (node.client(), neighbour(&node).await);
    let package = json!({"publish": true});
    let published = whisker.put("/api/v1/namespaces/_/packages/tools", &package).await.unwrap();
    assert_eq!(published.status.as_u16(), 200, "{}", published.text());
    let one = Function::nodejs("tools/one", COUNTS).limit("concurrency", 100);
    one.put(&whisker).await;
    Function::nodejs("tools/other", COUNTS).limit("concurrency", 100).put(&whisker).await;
    let [path, other] =
        ["one", "other"].map(|name| format!("/api/v1/namespaces/whisker/actions/tools/{name}"));
    let (mine, yours, others) =
        tokio::join!(containers(&whisker, &path), containers(&guest, &path), containers(&whisker, &other));
    assert!(mine.is_disjoint(&yours), "one action, two namespaces: {mine:?} {yours:?}");
    assert!(mine.is_disjoint(&others), "two actions: {mine:?} {others:?}");
    one.init_parameter("SECRET", json!("x")).put(&whisker).await;
    let later = containers(&whisker, &path).await;
    assert!(later.is_disjoint(&mine), "another state of the action, another environment");
}

async fn one_at_a_time() {
    let node = shared().start();
    let client = node.client();
    let code =
        "#!/bin/sh\nmkdir /tmp/inside || exit 1\nsleep 0.05\nrmdir /tmp/inside\necho '{\"alone\":true}'\n";
    Function::native("alone", code).limit("concurrency", 10).put(&client).await;
    let mut ids = Vec::new();
    for _ in 0..12 {
        ids.push(start(&client, "alone", &json!({})).await);
    }
    for id in ids {
        let record = record(&client, &id).await;
        assert_eq!(record["response"]["result"], json!({"alone": true}), "{record}");
    }
}
