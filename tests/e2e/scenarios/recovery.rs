//! Crashes and stops: what was acknowledged stays, what was under way ends in a record, and nothing
//! of a dead node is left on the machine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chasen_testkit::{Client, Node, Signal, descendants, internet, node};
use serde_json::json;

use crate::functions::{Function, HELLO, call, eventually, path, record, start};
use crate::scenario::{Need, Scenario, wait_for};

const INTERRUPTED: &str = "The activation was interrupted before its result was known.";
const SLOW: &str = "#!/bin/sh\nsleep 600\n";

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("recovery::kill_9_loses_nothing_that_was_acknowledged", kill),
        Scenario::new("recovery::kill_9_under_load_loses_nothing_that_was_acknowledged", kill_under_load),
        Scenario::new("recovery::work_under_way_ends_in_a_record", under_way),
        Scenario::new("recovery::work_that_never_started_runs_after_a_crash", never_started),
        Scenario::new("recovery::work_to_be_delivered_at_least_once_runs_again", again),
        Scenario::blocking("recovery::nothing_of_a_killed_node_is_left", || {
            internet::on_a_machine(|| wait_for(remains()));
        })
        .needing(Need::command("ip")),
        Scenario::new("recovery::a_drain_past_its_time_ends_work_in_records", drain),
        Scenario::new("recovery::old_records_go_with_their_files", retention),
    ]
}

async fn kill() {
    let mut node = node().start();
    let client = node.client();
    Function::native("hello", HELLO).put(&client).await;
    Function::native("gone", HELLO).put(&client).await;
    assert_eq!(client.delete_action("gone").await.unwrap().status.as_u16(), 200);
    let mut records = Vec::new();
    for _ in 0..20 {
        let called = call(&client, "hello", &json!({})).await;
        records.push(record(&client, called.id()).await);
    }
    let action = client.get(&path("hello")).await.unwrap().json();
    node.kill();
    node.restart();
    let client = node.client();
    for record in &records {
        let reply = client.activation(record["activationId"].as_str().unwrap()).await.unwrap();
        assert_eq!(reply.json(), *record, "{}", reply.text());
    }
    let list = client.get("/api/v1/namespaces/_/activations?count=true").await.unwrap().json();
    assert_eq!(list, json!({"activations": records.len()}));
    assert_eq!(client.get(&path("hello")).await.unwrap().json(), action);
    assert_eq!(client.get(&path("gone")).await.unwrap().status.as_u16(), 404);
    assert_eq!(call(&client, "hello", &json!({})).await.result(), &json!({"hello": true}));
}

/// Kills the node in the middle of calls, several times over.
async fn kill_under_load() {
    let mut node = node().start();
    Function::native("hello", HELLO).put(&node.client()).await;
    let mut acknowledged: BTreeSet<String> = BTreeSet::new();
    for round in 0..3_u64 {
        let callers: Vec<_> =
            (0..4).map(|caller| tokio::spawn(call_until_gone(node.client(), caller % 2 == 0))).collect();
        let client = node.client();
        let enough = 10 * (round + 1);
        eventually("calls are under way", async || {
            let reply = client.get("/api/v1/namespaces/_/activations?count=true").await.unwrap();
            (reply.json()["activations"].as_u64().unwrap() >= acknowledged.len() as u64 + enough)
                .then_some(())
        })
        .await;
        node.kill();
        for caller in callers {
            acknowledged.extend(caller.await.unwrap());
        }
        node.restart();
    }
    assert!(acknowledged.len() > 30);
    let client = node.client();
    for id in &acknowledged {
        let record = record(&client, id).await;
        let response = &record["response"];
        let known =
            response["result"] == json!({"hello": true}) || response["result"]["error"] == INTERRUPTED;
        assert!(known, "{record}");
    }
}

/// Calls until nobody answers; the ids that were acknowledged. Whoever does not wait for results stays at most
/// `AHEAD` calls ahead of them, however slow the machine is.
async fn call_until_gone(client: Client, blocking: bool) -> Vec<String> {
    const AHEAD: usize = 50;
    let mut ids: Vec<String> = Vec::new();
    while let Ok(reply) = client.invoke("hello", &json!({}), blocking).await {
        assert!(reply.status.is_success(), "{}", reply.text());
        ids.push(reply.json()["activationId"].as_str().unwrap().to_owned());
        let Some(behind) = ids.len().checked_sub(AHEAD) else { continue };
        while let Ok(record) = client.activation(&ids[behind]).await {
            if record.status.is_success() {
                break;
            }
        }
    }
    ids
}

async fn under_way() {
    let mut node = node().start();
    let client = node.client();
    Function::native("slow", SLOW).put(&client).await;
    let id = start(&client, "slow", &json!({})).await;
    let blocking = tokio::spawn(async move { client.invoke("slow", &json!({}), true).await });
    eventually("two functions run", async || (running(&node, "sleep").len() == 2).then_some(())).await;
    node.kill();
    assert!(blocking.await.unwrap().is_err());
    node.restart();
    let client = node.client();
    let record = record(&client, &id).await;
    let error = (&record["response"]["status"], &record["response"]["result"]["error"]);
    assert_eq!(error, (&json!("whisk internal error"), &json!(INTERRUPTED)), "{record}");
    eventually("the blocking call has a record too", async || {
        let list = client.get("/api/v1/namespaces/_/activations?docs=true").await.unwrap().json();
        let list = list.as_array().unwrap().clone();
        (list.len() == 2)
            .then(|| assert!(list.iter().all(|one| one["response"]["result"]["error"] == INTERRUPTED)))
    })
    .await;
}

async fn never_started() {
    let mut node = node().set("node.memory", "256 MB").start();
    let client = node.client();
    Function::native("slow", SLOW).put(&client).await;
    Function::native("echo", "#!/bin/sh\nprintf '%s' \"$1\"\n").put(&client).await;
    let code = "#!/bin/sh\nprintf '{\"key\":%d}' ${#__OW_API_KEY}\n";
    Function::native("keyed", code).annotation("provide-api-key", json!(true)).put(&client).await;
    let slow = start(&client, "slow", &json!({})).await;
    eventually("a function runs", async || (!running(&node, "sleep").is_empty()).then_some(())).await;
    // There is no memory for these before the slow one ends.
    let keyed = start(&client, "keyed", &json!({})).await;
    let mut waiting = Vec::new();
    for n in 0..20 {
        waiting.push(start(&client, "echo", &json!({"n": n})).await);
    }
    node.kill();
    node.restart();
    let client = node.client();
    for (n, id) in waiting.iter().enumerate() {
        let record = record(&client, id).await;
        assert_eq!(record["response"]["result"], json!({"n": n}), "{record}");
    }
    let keyed = record(&client, &keyed).await;
    assert_eq!(keyed["response"]["result"], json!({"key": chasen_testkit::GUEST.len()}), "{keyed}");
    let slow = record(&client, &slow).await;
    assert_eq!(slow["response"]["result"]["error"], INTERRUPTED, "{slow}");
}

async fn again() {
    let mut node = node().start();
    let client = node.client();
    let patient = "#!/bin/sh\nif [ \"$__OW_ATTEMPT\" = 1 ]; then sleep 600; fi\necho '{\"done\":true}'\n";
    Function::native("patient", patient).annotation("delivery", json!("at-least-once")).put(&client).await;
    let id = start(&client, "patient", &json!({})).await;
    eventually("the function runs", async || (!running(&node, "sleep").is_empty()).then_some(())).await;
    node.kill();
    node.restart();
    let record = record(&node.client(), &id).await;
    assert_eq!(record["response"]["result"], json!({"done": true}), "{record}");
}

/// Processes of this name below the node.
fn running(node: &Node, name: &str) -> Vec<u32> {
    descendants(node.pid()).into_iter().filter(|(_, own)| own == name).map(|(pid, _)| pid).collect()
}

async fn remains() {
    let mut node = node().start();
    let client = node.client();
    Function::native("slow", SLOW).put(&client).await;
    Function::native("hello", HELLO).put(&client).await;
    call(&client, "hello", &json!({})).await;
    start(&client, "slow", &json!({})).await;
    eventually("a function runs", async || (!running(&node, "sleep").is_empty()).then_some(())).await;
    let processes: Vec<u32> = descendants(node.pid()).into_iter().map(|(pid, _)| pid).collect();
    let groups: BTreeSet<PathBuf> = running(&node, "sleep").into_iter().flat_map(groups_of).collect();
    assert!(!groups.is_empty(), "the function is in control groups of its own");
    assert!(!internet::network_remains().is_empty(), "the node has links");

    node.kill();
    eventually("the dead node's processes are gone", async || {
        processes.iter().all(|pid| !Path::new(&format!("/proc/{pid}/exe")).exists()).then_some(())
    })
    .await;
    node.restart();
    eventually("the dead node's control groups are gone", async || {
        groups.iter().all(|group| !group.exists()).then_some(())
    })
    .await;
    assert_eq!(call(&node.client(), "hello", &json!({})).await.result(), &json!({"hello": true}));
    assert_eq!(node.stop().code(), Some(0));
    assert_eq!(internet::network_remains(), Vec::<String>::new());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(node.data().to_str().unwrap()), "{mounts}");
}

/// The control groups of a process that are not those of this one.
fn groups_of(pid: u32) -> Vec<PathBuf> {
    let read = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let own: BTreeSet<String> = read("self").lines().map(str::to_owned).collect();
    let groups = read(&pid.to_string());
    let others = groups.lines().filter(|line| !own.contains(*line));
    let path = |line: &str| -> Option<PathBuf> {
        let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
        let root = Path::new("/sys/fs/cgroup");
        let found = [
            root.join(controllers),
            root.join(controllers.split(',').next()?),
            root.join("unified"),
            root.to_owned(),
        ];
        found.into_iter().map(|root| root.join(group.trim_start_matches('/'))).find(|path| path.is_dir())
    };
    others.filter_map(path).collect()
}

async fn drain() {
    let mut node = node().argument("--drain-timeout").argument("1 s").start();
    let client = node.client();
    Function::native("slow", SLOW).put(&client).await;
    let id = start(&client, "slow", &json!({})).await;
    let blocking = tokio::spawn(async move { client.invoke("slow", &json!({}), true).await });
    eventually("two functions run", async || (running(&node, "sleep").len() == 2).then_some(())).await;
    let begun = Instant::now();
    node.signal(Signal::TERM);
    let answer = blocking.await.unwrap();
    assert_eq!(node.wait().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(45), "{:?}", begun.elapsed());
    if let Ok(reply) = answer {
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["response"]["result"]["error"]),
            (500, &json!(INTERRUPTED))
        );
    }
    node.restart();
    let record = record(&node.client(), &id).await;
    assert_eq!(record["response"]["result"]["error"], INTERRUPTED, "{record}");
}

async fn retention() {
    let node = node().set("activations.retention", "5 s").start();
    let client = node.client();
    Function::native("hello", HELLO).put(&client).await;
    let called = call(&client, "hello", &json!({})).await;
    record(&client, called.id()).await;
    let files =
        || std::fs::read_dir(node.data().join("activations")).unwrap().map(|file| file.unwrap().path());
    let first = eventually("the record is filed", async || {
        files().find(|path| path.extension().is_some_and(|extension| extension == "db"))
    })
    .await;
    eventually("the record is gone", async || {
        (client.activation(called.id()).await.unwrap().status.as_u16() == 404).then_some(())
    })
    .await;
    eventually("its file is gone", async || (!first.exists()).then_some(())).await;
    let again = call(&client, "hello", &json!({})).await;
    record(&client, again.id()).await;
}
