//! The logs of an action over all its activations.

use std::collections::BTreeSet;

use chasen_testkit::{Client, node};
use serde_json::{Value, json};

use crate::functions::{Function, Language, call, eventually, path, record, start};
use crate::scenario::Scenario;

/// Columns of the time.
const TIME: usize = 30;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("action_logs::lines_of_activations_at_a_time_come_in_order", overlapping)
            .needing(Language::Nodejs.need()),
        Scenario::new("action_logs::packages_bindings_and_sequences_have_their_own", names),
        Scenario::new("action_logs::time_and_pages_choose_activations", pages),
        Scenario::new("action_logs::answers_have_a_size", large),
    ]
}

async fn logs(client: &Client, name: &str, query: &str) -> Value {
    let reply = client.get(&format!("{}/logs{query}", path(name))).await.unwrap();
    assert_eq!(reply.status.as_u16(), 200, "{name}{query}: {}", reply.text());
    reply.json()
}

/// The lines of an answer: whose, and what.
fn lines(answer: &Value) -> Vec<(&str, &str)> {
    let lines = answer["logs"].as_array().expect("answers have logs").iter();
    lines.map(|line| (line["activationId"].as_str().unwrap(), line["log"].as_str().unwrap())).collect()
}

/// The last words of the lines.
fn words(answer: &Value) -> Vec<&str> {
    lines(answer).into_iter().map(|(_, line)| line.rsplit(' ').next().unwrap()).collect()
}

async fn put_package(client: &Client, name: &str, body: &Value) {
    let reply = client.put(&format!("/api/v1/namespaces/_/packages/{name}"), body).await.unwrap();
    assert_eq!(reply.status.as_u16(), 200, "{}", reply.text());
}

/// Activations that all begin before any of them ends.
async fn overlapping() {
    const CALLS: usize = 8;
    let node = node().set("limits.action-concurrency-max", "100").start();
    let client = node.client();
    let code = "let here = []; async function main({ n }) {\n\
        console.log('begin', n);\n\
        await new Promise((go) => { here.push(go); if (here.length === 8) here.forEach((one) => one()) });\n\
        console.log('end', n);\n  return {};\n}";
    Function::nodejs("meets", code).limit("concurrency", 8).limit("instances", 1).put(&client).await;
    let mut ids = Vec::new();
    for n in 0..CALLS {
        ids.push(start(&client, "meets", &json!({"n": n})).await);
    }
    for id in &ids {
        record(&client, id).await;
    }
    let answer = logs(&client, "meets", "").await;
    assert_eq!(answer["activations"], CALLS);
    let lines = lines(&answer);
    assert_eq!(lines.len(), 2 * CALLS, "{answer:#}");
    assert!(lines.is_sorted_by_key(|(_, line)| &line[..TIME]), "{answer:#}");
    let begins = lines.iter().take_while(|(_, line)| line.contains("begin")).count();
    assert_eq!(begins, CALLS, "all begin before any ends: {answer:#}");
    let whose: BTreeSet<&str> = lines.iter().map(|(id, _)| *id).collect();
    assert_eq!(whose, ids.iter().map(String::as_str).collect());
    for (n, id) in ids.iter().enumerate() {
        let own: Vec<String> = lines
            .iter()
            .filter(|(whose, _)| whose == id)
            .map(|(_, line)| line[TIME + 1..].to_owned())
            .collect();
        assert_eq!(own, [format!("stdout: begin {n}"), format!("stdout: end {n}")]);
    }
}

/// Prints its argument `word`.
const SAYS: &str = "#!/bin/sh\necho \"$1\" | sed 's/.*\"word\":\"\\([a-z-]*\\)\".*/\\1/'\necho '{}'\n";

async fn names() {
    let node = node().start();
    let client = node.client();
    put_package(&client, "tools", &json!({})).await;
    put_package(&client, "mine", &json!({"binding": {"namespace": "_", "name": "tools"}})).await;
    for name in ["says", "tools/says", "tools/logs"] {
        Function::native(name, SAYS).put(&client).await;
    }
    let body = json!({"exec": {"kind": "sequence", "components": ["/_/says"]}});
    assert_eq!(client.put(&path("chain"), &body).await.unwrap().status.as_u16(), 200);
    for (name, word) in
        [("says", "alone"), ("tools/says", "packaged"), ("mine/says", "bound"), ("tools/logs", "namesake")]
    {
        assert_eq!(call(&client, name, &json!({"word": word})).await.status, 200);
    }
    let chain = call(&client, "chain", &json!({"word": "in-chain"})).await;
    for (name, expected) in [
        ("says", vec!["alone", "in-chain"]),
        ("tools/says", vec!["packaged"]),
        ("mine/says", vec!["bound"]),
        ("tools/logs", vec!["namesake"]),
        ("chain", vec![chain.record["logs"][0].as_str().unwrap()]),
    ] {
        assert_eq!(words(&logs(&client, name, "").await), expected, "{name}");
    }
    let namesake = client.get(&path("tools/logs")).await.unwrap().json();
    assert_eq!((&namesake["name"], &namesake["namespace"]), (&json!("logs"), &json!("guest/tools")));
    let missing = client.get(&format!("{}/logs", path("nothing"))).await.unwrap();
    assert_eq!(missing.status.as_u16(), 404, "{}", missing.text());
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

async fn pages() {
    let mut node = node().start();
    let client = node.client();
    Function::native("says", SAYS).put(&client).await;
    assert_eq!(logs(&client, "says", "").await["activations"], 0);
    let mut starts = Vec::new();
    for word in ["one", "two", "three"] {
        // Starts are counted in milliseconds: the next one is to be a later one.
        eventually("the next millisecond", async || {
            starts.last().is_none_or(|last| now() > *last).then_some(())
        })
        .await;
        starts.push(call(&client, "says", &json!({"word": word})).await.record["start"].as_u64().unwrap());
    }
    let all = logs(&client, "says", "").await;
    assert_eq!(
        (&all["since"], &all["upto"], &all["more"]),
        (&json!(starts[0]), &json!(starts[2]), &json!(false))
    );
    assert_eq!(words(&all), ["one", "two", "three"]);
    let newest = logs(&client, "says", "?limit=1").await;
    assert_eq!((words(&newest), &newest["more"]), (vec!["three"], &json!(true)));
    assert_eq!(words(&logs(&client, "says", "?limit=1&skip=1").await), ["two"]);
    assert_eq!(words(&logs(&client, "says", &format!("?since={}", starts[1])).await), ["two", "three"]);
    assert_eq!(words(&logs(&client, "says", &format!("?upto={}", starts[1])).await), ["one", "two"]);
    // They stay when the action goes, and after a restart.
    assert_eq!(client.delete_action("says").await.unwrap().status.as_u16(), 200);
    node.stop();
    node.restart();
    assert_eq!(words(&logs(&node.client(), "says", "").await), ["one", "two", "three"]);
}

async fn large() {
    let node = node().start();
    let client = node.client();
    let code = "#!/bin/sh\nyes 0123456789012345678901234567890123456789 | head -n 12000\necho '{}'\n";
    Function::native("prints", code).put(&client).await;
    for _ in 0..2 {
        assert_eq!(call(&client, "prints", &json!({})).await.status, 200);
    }
    let answer = logs(&client, "prints", "").await;
    assert_eq!(
        (&answer["activations"], &answer["more"], &answer["truncated"]),
        (&json!(1), &json!(true), &json!(true))
    );
    let shown = lines(&answer).len();
    assert!((1000..12_000).contains(&shown), "{shown}");
    let size: usize = lines(&answer).iter().map(|(_, line)| line.len()).sum();
    assert!(size < 1 << 20, "{size}");
    assert_eq!(logs(&client, "prints", "?skip=1").await["more"], false);
}
