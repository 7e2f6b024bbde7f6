//! Sequences and compositions of real functions: what goes from one to the next, what records tell, what stops them,
//! and what becomes of them when nobody waits or the node dies.

use chasen_testkit::{Client, Node, node};
use serde_json::{Value, json};

use crate::functions::{Called, Function, annotation, call, eventually, path, record, start};
use crate::scenario::{Need, Scenario};

const INTERRUPTED: &str = "The activation was interrupted before its result was known.";
/// Appends its name to `seen`; fails or sleeps if it is told to.
const STEP: &str = "function main({ seen = [], own, fail, sleep }) {\n  \
    if (fail === own) return { error: `${own} failed` };\n  \
    console.log(own);\n  \
    const result = { seen: seen.concat(own), fail };\n  \
    return sleep === own ? new Promise(resolve => setTimeout(() => resolve(result), 600000)) : result;\n}";
/// Runs what `plan` lists, one after the other, with what the one before gave.
const CONDUCTOR: &str = "function main({ plan, ...params }) {\n  \
    if (params.error || !plan || !plan.length) return params;\n  \
    return { action: plan[0], params, state: { plan: plan.slice(1) } };\n}";

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("sequences::functions_run_one_after_the_other", chain).needing(Need::command("node")),
        Scenario::new("sequences::an_error_or_a_timeout_of_a_part_is_that_of_the_whole", errors)
            .needing(Need::command("node")),
        Scenario::new("sequences::arrays_go_from_one_to_the_next", arrays).needing(Need::command("node")),
        Scenario::new("sequences::conductors_say_what_runs_next", conducted).needing(Need::command("node")),
        Scenario::new("sequences::compositions_have_so_many_components_and_turns", bounds)
            .needing(Need::command("node")),
        Scenario::new("sequences::they_go_on_when_nobody_waits", beyond_the_wait)
            .needing(Need::command("node")),
        Scenario::new("sequences::what_a_crash_leaves_ends_with_the_parts_that_ran", crash)
            .needing(Need::command("node")),
        Scenario::new("sequences::a_stopping_node_lets_them_take_their_next_steps", stop)
            .needing(Need::command("node")),
        Scenario::new("sequences::one_place_among_those_in_flight", places).needing(Need::command("node")),
    ]
}

async fn put_sequence(client: &Client, name: &str, components: &[&str]) {
    let body = json!({"exec": {"kind": "sequence", "components": components}});
    let reply = client.put(&format!("{}?overwrite=true", path(name)), &body).await.unwrap();
    assert_eq!(reply.status.as_u16(), 200, "{}", reply.text());
}

async fn put_steps(client: &Client, names: &[&str]) {
    for name in names {
        Function::nodejs(name, STEP).parameter("own", json!(name)).put(client).await;
    }
}

/// The records of the parts, as the whole tells them.
async fn parts(client: &Client, whole: &Value) -> Vec<Value> {
    let mut parts = Vec::new();
    for id in whole["logs"].as_array().unwrap() {
        parts.push(record(client, id.as_str().unwrap()).await);
    }
    parts
}

fn names(parts: &[Value]) -> Vec<&str> {
    parts.iter().map(|part| part["name"].as_str().unwrap()).collect()
}

/// Checks what holds for every session and its parts; the parts.
async fn whole(client: &Client, called: &Called) -> Vec<Value> {
    let session = record(client, called.id()).await;
    assert_eq!(session, called.record, "a session's record is whole when it is answered");
    let parts = parts(client, &session).await;
    let sum: u64 = parts.iter().map(|part| part["duration"].as_u64().unwrap()).sum();
    assert_eq!(session["duration"], sum);
    assert!(parts.iter().all(|part| part["cause"] == session["activationId"]));
    assert!(parts.iter().all(|part| annotation(part, "causedBy") == "sequence"));
    let memory = parts.iter().filter_map(|part| annotation(part, "limits")["memory"].as_u64()).max();
    assert_eq!(annotation(&session, "limits")["memory"].as_u64(), memory);
    let id = called.id();
    let list = format!("/api/v1/namespaces/_/activations?count=true&cause={id}");
    assert_eq!(client.get(&list).await.unwrap().json(), json!({"activations": parts.len()}));
    parts
}

async fn chain() {
    let node = node().start();
    let client = node.client();
    put_steps(&client, &["a", "b", "c"]).await;
    Function::nodejs("large", STEP).parameter("own", json!("large")).limit("memory", 512).put(&client).await;
    put_sequence(&client, "inner", &["/_/b", "/_/large"]).await;
    put_sequence(&client, "outer", &["/_/a", "/_/inner", "/_/c"]).await;
    let called = call(&client, "outer", &json!({"seen": ["0"]})).await;
    assert_eq!(called.result(), &json!({"seen": ["0", "a", "b", "large", "c"]}));
    let outside = whole(&client, &called).await;
    assert_eq!(names(&outside), ["a", "inner", "c"]);
    assert_eq!(called.annotation("topmost"), true);
    assert_eq!(annotation(&outside[1], "topmost"), false);
    assert_eq!(names(&parts(&client, &outside[1]).await), ["b", "large"]);
    assert!(outside[0]["logs"][0].as_str().unwrap().ends_with("stdout: a"), "{}", outside[0]);
    // What is seen of a part that changes is what it is when the whole begins.
    put_steps(&client, &["a"]).await;
    Function::nodejs("b", STEP).parameter("own", json!("new")).put(&client).await;
    let called = call(&client, "outer", &json!({})).await;
    assert_eq!(called.result(), &json!({"seen": ["a", "new", "large", "c"]}));
}

async fn errors() {
    let node = node().start();
    let client = node.client();
    put_steps(&client, &["a", "b", "c"]).await;
    put_sequence(&client, "s", &["/_/a", "/_/b", "/_/c"]).await;
    let called = call(&client, "s", &json!({"fail": "b"})).await;
    assert_eq!((called.status, called.failure()), (502, ("application error", "b failed".to_owned())));
    assert_eq!(names(&whole(&client, &called).await), ["a", "b"]);
    Function::nodejs("b", STEP)
        .parameter("own", json!("b"))
        .parameter("sleep", json!("b"))
        .limit("timeout", 3000)
        .put(&client)
        .await;
    let called = call(&client, "s", &json!({})).await;
    let text = "The action exceeded its time limits of 3000 milliseconds.";
    assert_eq!(called.failure(), ("action developer error", text.to_owned()));
    assert_eq!(names(&whole(&client, &called).await), ["a", "b"]);
    client.delete_action("b").await.unwrap();
    let called = call(&client, "s", &json!({})).await;
    assert_eq!(called.failure(), ("application error", "Sequence component does not exist.".to_owned()));
    assert_eq!(names(&whole(&client, &called).await), ["a"]);
}

async fn arrays() {
    let node = node().start();
    let client = node.client();
    Function::nodejs("some", "function main() { return [1, 2.50, {}]; }").put(&client).await;
    let count = "function main(args) { return { isArray: Array.isArray(args), length: args.length }; }";
    Function::nodejs("count", count).parameter("not", json!("used")).put(&client).await;
    put_sequence(&client, "s", &["/_/some", "/_/count"]).await;
    assert_eq!(call(&client, "s", &json!({})).await.result(), &json!({"isArray": true, "length": 3}));
    put_sequence(&client, "s", &["/_/some"]).await;
    assert_eq!(call(&client, "s", &json!({})).await.text, "[1,2.5,{}]");
}

async fn conducted() {
    let node = node().start();
    let client = node.client();
    put_steps(&client, &["a", "b"]).await;
    put_sequence(&client, "s", &["/_/b", "/_/a"]).await;
    Function::nodejs("conductor", CONDUCTOR).annotation("conductor", json!(true)).put(&client).await;
    let called = call(&client, "conductor", &json!({"plan": ["a", "/_/s", "b"]})).await;
    assert_eq!(called.result(), &json!({"seen": ["a", "b", "a", "b"]}));
    let parts = whole(&client, &called).await;
    let expected = ["conductor", "a", "conductor", "s", "conductor", "b", "conductor"];
    assert_eq!((names(&parts).as_slice(), called.annotation("conductor")), (&expected[..], &json!(true)));
    let called = call(&client, "conductor", &json!({"plan": ["a", "nothing"]})).await;
    let text = "Failed to resolve action with name 'guest/nothing' during composition.";
    assert_eq!(called.failure(), ("application error", text.to_owned()));
    assert_eq!(names(&whole(&client, &called).await), ["conductor", "a", "conductor", "conductor"]);
    put_sequence(&client, "around", &["/_/conductor", "/_/b"]).await;
    let called = call(&client, "around", &json!({"plan": ["a"]})).await;
    assert_eq!(called.result(), &json!({"seen": ["a", "b"]}));
    assert_eq!(names(&whole(&client, &called).await), ["conductor", "b"]);
}

/// Lets `action` run until it has counted to `most`. One that is `deaf` goes on whatever it hears.
const COUNTER: &str = "function main({ n = 0, most, action, error, deaf }) {\n  \
    if (error && !deaf) return { error };\n  \
    if (n >= most) return { params: { n } };\n  \
    return { action, params: { n, most: 20, action: 'increment' }, state: { most, action, deaf } };\n}";

async fn bounds() {
    let node = node().start();
    let client = node.client();
    Function::nodejs("increment", "function main({ n }) { return { n: n + 1 } }").put(&client).await;
    Function::nodejs("counter", COUNTER).annotation("conductor", json!(true)).put(&client).await;
    let count = async |arguments: Value| call(&client, "counter", &arguments).await;
    let called = count(json!({"most": 50, "action": "increment"})).await;
    assert_eq!(called.result(), &json!({"n": 50}));
    assert_eq!(whole(&client, &called).await.len(), 101);
    let too_many = ("application error", "Too many actions in the composition.".to_owned());
    let called = count(json!({"most": 51, "action": "increment"})).await;
    assert_eq!(called.failure(), too_many);
    assert_eq!(whole(&client, &called).await.len(), 102, "the conductor hears of it");
    let called = count(json!({"most": 51, "action": "invalid#Action", "deaf": true})).await;
    assert_eq!(called.failure(), too_many);
    assert_eq!(whole(&client, &called).await.len(), 101, "and is asked so often at most");
    // Compositions inside count for the same bounds.
    let called = count(json!({"most": 50, "action": "counter"})).await;
    assert_eq!(called.failure(), too_many);
    let parts = whole(&client, &called).await;
    assert_eq!(names(&parts).iter().filter(|name| **name == "counter").count(), parts.len());
}

/// A function that sleeps for a second: longer than its caller waits.
const NAP: &str =
    "function main(args) { return new Promise(resolve => setTimeout(() => resolve(args), 1000)); }";

async fn beyond_the_wait() {
    let node = node().start();
    let client = node.client();
    put_steps(&client, &["a"]).await;
    Function::nodejs("nap", NAP).put(&client).await;
    Function::nodejs("conductor", CONDUCTOR).annotation("conductor", json!(true)).put(&client).await;
    put_sequence(&client, "s", &["/_/a", "/_/nap", "/_/a"]).await;
    for (name, arguments) in [("s", json!({})), ("conductor", json!({"plan": ["a", "nap", "a"]}))] {
        let line = format!("{}?blocking=true&timeout=300", path(name));
        let reply = client.post(&line, &arguments).await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.json().as_object().unwrap().len()), (202, 1));
        let id = reply.json()["activationId"].as_str().unwrap().to_owned();
        let record = record(&client, &id).await;
        assert_eq!(record["response"]["result"], json!({"seen": ["a", "a"]}), "{record}");
    }
}

/// Waits until so many activations have ended, at least.
async fn under_way(client: &Client, earlier: u64) {
    eventually("the parts before have ended", async || {
        let list = client.get("/api/v1/namespaces/_/activations?count=true").await.unwrap().json();
        (list["activations"].as_u64() >= Some(earlier)).then_some(())
    })
    .await;
}

async fn crash() {
    let mut node: Node = node().start();
    let client = node.client();
    put_steps(&client, &["a"]).await;
    Function::nodejs("sleeper", STEP)
        .parameter("own", json!("sleeper"))
        .parameter("sleep", json!("sleeper"))
        .limit("timeout", 15_000)
        .put(&client)
        .await;
    put_sequence(&client, "inner", &["/_/a", "/_/sleeper"]).await;
    put_sequence(&client, "outer", &["/_/a", "/_/inner", "/_/a"]).await;
    let id = start(&client, "outer", &json!({})).await;
    under_way(&client, 2).await;
    node.kill();
    node.restart();
    let client = node.client();
    let outer = record(&client, &id).await;
    let outside = parts(&client, &outer).await;
    assert_eq!(names(&outside), ["a", "inner"]);
    assert_eq!(outside[1]["cause"], id);
    let inside = parts(&client, &outside[1]).await;
    assert_eq!(names(&inside), ["a", "sleeper"]);
    // A run that had begun when the node died ends with it; one that had not begins now, and takes too long.
    let error = &inside[1]["response"]["result"]["error"];
    let late = "The action exceeded its time limits of 15000 milliseconds.";
    assert!(error == INTERRUPTED || error == late, "{error}");
    assert_eq!(outside[1]["response"]["result"]["error"], *error);
    assert_eq!(outer["response"]["result"]["error"], *error);
    let list = client.get("/api/v1/namespaces/_/activations?count=true").await.unwrap().json();
    assert_eq!(list, json!({"activations": 5}), "nothing ran twice");
}

async fn stop() {
    let mut node: Node = node().start();
    let client = node.client();
    put_steps(&client, &["a"]).await;
    Function::nodejs("nap", NAP).put(&client).await;
    put_sequence(&client, "s", &["/_/a", "/_/nap", "/_/a"]).await;
    let id = start(&client, "s", &json!({})).await;
    under_way(&client, 1).await;
    assert!(node.stop().success(), "{}", node.log());
    node.restart();
    let record = record(&node.client(), &id).await;
    assert_eq!(record["response"]["result"], json!({"seen": ["a", "a"]}), "{record}");
}

async fn places() {
    let node = node().set("limits.concurrent-invocations", "1").start();
    let client = node.client();
    put_steps(&client, &["a"]).await;
    Function::nodejs("nap", &NAP.replace("1000", "4000")).put(&client).await;
    put_sequence(&client, "s", &["/_/a", "/_/nap", "/_/a"]).await;
    let id = start(&client, "s", &json!({})).await;
    let busy = client.invoke("a", &json!({}), true).await.unwrap();
    assert_eq!(busy.status.as_u16(), 429, "{}", busy.text());
    assert_eq!(record(&client, &id).await["logs"].as_array().unwrap().len(), 3);
    let free = async || {
        let reply = client.invoke("a", &json!({}), true).await.unwrap();
        (reply.status.as_u16() == 200).then_some(())
    };
    eventually("its place is free again", free).await;
}
