//! More than a node can do, asked for in every bad manner at once: it stays within its memory, answers in time, and is
//! well afterwards.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chasen_testkit::{Client, Node, node};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::admin::said;
use crate::functions::{Function, call, eventually, path};
use crate::memory_group::MemoryGroup;
use crate::scenario::{Need, Scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    let name = "abuse::a_node_that_is_overloaded_stays_within_its_memory_and_answers_in_time";
    vec![Scenario::new(name, abuse).needing(Need::MemoryGroup)]
}

/// What the node's own processes may hold: a build that is not optimised holds 60 MB of it at rest.
const MEMORY: u64 = 512 << 20;
/// How long it goes on.
const SIEGE: Duration = Duration::from_secs(5);
/// What callers ask to wait, in milliseconds, and what an answer may take on a machine that is busy with other things.
const DEADLINE: u64 = 1000;
const SLACK: Duration = Duration::from_secs(40);
/// Callers of each sort.
const EAGER: usize = 32;
const LARGE: usize = 12;
const SLOW_WRITERS: usize = 32;
const SLOW_READERS: usize = 32;
const THROTTLED: usize = 4;
/// A body that is just allowed, and a pause that nobody minds.
const BODY: usize = 1_000_000;
const DRIP: Duration = Duration::from_millis(200);

const WORKS: &str = "#!/bin/sh\nsleep 0.1\necho '{}'\n";
/// A result that is just allowed.
const TALKS: &str =
    "#!/bin/sh\nprintf '{\"text\":\"'\nhead -c 1000000 /dev/zero | tr '\\0' x\nprintf '\"}\\n'\n";
const HELLO: &str = "#!/bin/sh\necho '{\"well\":true}'\n";

async fn abuse() {
    let group = MemoryGroup::new("chasen-abuse", MEMORY).expect("the group can be made");
    let node = node()
        .set("node.memory", "512 MB")
        .set("limits.concurrent-invocations", "unlimited")
        .set("server.drain-timeout", "1 s")
        .start();
    group.take(&node);
    let client = node.client();
    for (name, code) in [("works", WORKS), ("talks", TALKS), ("hello", HELLO)] {
        Function::native(name, code).limit("memory", 128).put(&client).await;
    }
    let talked = call(&client, "talks", &json!({})).await;
    assert_eq!(talked.result()["text"].as_str().map(str::len), Some(BODY));
    let throttled = throttled(&node).await;

    let until = Instant::now() + SIEGE;
    let small = json!({});
    let large = json!({"text": "x".repeat(BODY)});
    let eager = join_all((0..EAGER).map(|_| callers(&client, "works", &small, until)));
    let heavy = join_all((0..LARGE).map(|_| callers(&client, "works", &large, until)));
    let refused = join_all((0..THROTTLED).map(|_| callers(&throttled, "works", &small, until)));
    let writers = join_all((0..SLOW_WRITERS).map(|_| slow_writer(&node, until)));
    let readers = join_all((0..SLOW_READERS).map(|_| slow_reader(&node, talked.id(), until)));
    let (eager, heavy, refused, _, _) = tokio::join!(eager, heavy, refused, writers, readers);

    // Everything was answered, in time, and in words that say what to do.
    let mut seen: BTreeMap<&str, BTreeMap<u16, u64>> = BTreeMap::new();
    for (who, answers) in [("eager", eager), ("large", heavy), ("throttled", refused)] {
        for (status, took) in answers.into_iter().flatten() {
            *seen.entry(who).or_default().entry(status).or_default() += 1;
            assert!(matches!(status, 200 | 202 | 429 | 503), "{who}: {status}");
            assert!(took < Duration::from_millis(DEADLINE) + SLACK, "{who}: {status} after {took:?}");
        }
    }
    assert!(seen["throttled"].contains_key(&429), "{seen:?}");
    let peak = group.peak();
    assert_eq!(group.killed(), 0, "something of the node was killed: {peak:?} bytes, {seen:?}");
    assert!(peak.is_none_or(|peak| peak <= MEMORY), "{peak:?} bytes, {seen:?}");
    assert!(node.memory_peak() < MEMORY, "{} bytes, {seen:?}", node.memory_peak());

    // And it is well again as soon as its queues are through.
    eventually("calls are answered as if nothing had happened", async || {
        let reply = client.invoke("hello", &json!({}), true).await.unwrap();
        (reply.json()["response"]["result"] == json!({"well": true})).then_some(())
    })
    .await;
    drop(node);
    drop(group);
}

/// A namespace with so few calls a minute that its callers go over it with their first calls, however slow they are.
async fn throttled(node: &Node) -> Client {
    let key = said(node.data(), &["user", "create", "throttled"]);
    said(node.data(), &["limits", "set", "throttled", "--invocationsPerMinute", "1"]);
    let client = node.anonymous().with_credentials(key.trim());
    Function::native("works", WORKS).limit("memory", 128).put(&client).await;
    client
}

/// Calls one after the other; status and time of each answer.
async fn callers(client: &Client, name: &str, body: &Value, until: Instant) -> Vec<(u16, Duration)> {
    let client = client.clone().with_timeout(SLACK * 3);
    let path = format!("{}?blocking=true&timeout={DEADLINE}", path(name));
    let mut answers = Vec::new();
    while Instant::now() < until {
        let begun = Instant::now();
        let reply = client.post(&path, body).await.expect("every call is answered");
        answers.push((reply.status.as_u16(), begun.elapsed()));
    }
    answers
}

/// Sends half of what it announces, and the rest a byte at a time.
async fn slow_writer(node: &Node, until: Instant) {
    let mut stream = connect(node).await;
    let head = format!(
        "POST {}?blocking=true&timeout={DEADLINE} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {}\r\n\
         Content-Type: application/json\r\nContent-Length: {BODY}\r\n\r\n{{\"text\":\"",
        path("works"),
        guest()
    );
    let begun = stream.write_all((head + &"x".repeat(BODY / 2)).as_bytes()).await;
    let mut is_open = begun.is_ok();
    // The node may well have had enough of it before.
    while is_open && Instant::now() < until {
        tokio::time::sleep(DRIP).await;
        is_open = stream.write_all(b"x").await.is_ok();
    }
}

/// Asks for a large record again and again, and reads none of it.
async fn slow_reader(node: &Node, id: &str, until: Instant) {
    let mut stream = connect(node).await;
    let request = format!(
        "GET /api/v1/namespaces/_/activations/{id} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {}\r\n\r\n",
        guest()
    );
    let asked =
        tokio::time::timeout_at(until.into(), stream.write_all(request.repeat(1000).as_bytes())).await;
    // What it could not even ask for before the end is as unread as the rest.
    drop(asked);
    tokio::time::sleep_until(until.into()).await;
}

async fn connect(node: &Node) -> TcpStream {
    TcpStream::connect(node.base().trim_start_matches("http://")).await.expect("the node takes connections")
}

fn guest() -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(chasen_testkit::GUEST)
}
