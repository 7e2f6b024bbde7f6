//! Stores that another process locks: nothing that was accepted is lost, what does not need them goes on, and what does
//! waits or is told to come again, within bounds.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use chasen_testkit::{Client, Node, Process, Reply, Signal, chasen, node, run};
use futures_util::future::join_all;
use http::Request;
use serde_json::{Value, json};

use crate::deaths::{helper_of, runs};
use crate::functions::{Function, HELLO, call, eventually, path, record, start};
use crate::scenario::{Need, Scenario};

/// Takes what SQLite locks in order to read or write, all of it, and keeps it; and says that it uses the file, so that
/// nobody takes the index away.
const LOCKER: &str = "\
import fcntl, signal, sys
database, index = open(sys.argv[1], 'rb'), open(sys.argv[1] + '-shm', 'r+b')
fcntl.lockf(database, fcntl.LOCK_SH, 510, 0x40000002)
fcntl.lockf(index, fcntl.LOCK_EX, 8, 120)
print('held', flush=True)
signal.pause()
";
/// Longest wait for any answer, on a machine that is busy with other things: twice as long as the node lets one wait.
const BOUND: Duration = Duration::from_secs(45);

pub(crate) fn scenarios() -> Vec<Scenario> {
    let scenarios = vec![
        Scenario::new("store_trouble::entities_that_are_locked_keep_nobody_for_ever", entities),
        Scenario::new("store_trouble::keys_that_are_locked_are_used_by_nobody", keys),
        Scenario::new("store_trouble::records_that_cannot_be_filed_stay_in_the_log", records),
        Scenario::new("store_trouble::a_dead_letter_waits_for_its_store", letters),
        Scenario::new("store_trouble::a_node_says_what_is_locked_when_it_starts", starting),
    ];
    scenarios.into_iter().map(|scenario| scenario.needing(Need::command("python3.11"))).collect()
}

/// Another process that has a database locked until this is dropped.
struct Locked {
    _process: Process,
    _log: tempfile::NamedTempFile,
}

impl Locked {
    fn hold(database: &Path) -> Self {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new("python3.11");
        command.args(["-c", LOCKER]).arg(database);
        let mut process = Process::start(command, log.path());
        let line = process.line();
        assert_eq!(line.as_deref(), Some("held"), "{}", std::fs::read_to_string(log.path()).unwrap());
        Self { _process: process, _log: log }
    }
}

fn timed(client: &Client) -> Client {
    client.clone().with_timeout(BOUND)
}

/// The answer of a store that cannot be had: not the caller's fault, and not for ever.
#[track_caller]
fn is_put_off(reply: &Reply) {
    assert_eq!(reply.status.as_u16(), 503, "{}", reply.text());
    assert!(reply.headers.contains_key("retry-after"), "{:?}", reply.headers);
    assert!(reply.json()["error"].is_string() && reply.json()["code"].is_string(), "{}", reply.text());
}

/// Calls that need no store that is locked.
async fn goes_on(client: &Client) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..5 {
        let called = call(client, "hello", &json!({})).await;
        assert_eq!(called.result(), &json!({"hello": true}));
        ids.push(called.id().to_owned());
        ids.push(start(client, "hello", &json!({})).await);
    }
    ids
}

async fn all_have_a_record(client: &Client, ids: &[String]) {
    for id in ids {
        assert_eq!(record(client, id).await["response"]["result"], json!({"hello": true}), "{id}");
    }
    let listed = client.get("/api/v1/namespaces/_/activations?count=true&name=hello").await.unwrap().json();
    assert_eq!(listed, json!({"activations": ids.len()}), "each once");
}

async fn entities() {
    let node = node().start();
    let client = timed(&node.client());
    Function::native("hello", HELLO).put(&client).await;
    let mut ids = goes_on(&client).await;

    let locked = Locked::hold(&node.data().join("entities.db"));
    ids.extend(goes_on(&client).await);
    let put = Function::native("other", HELLO);
    let nobody = node.anonymous().with_credentials("a:b").with_timeout(BOUND);
    let begun = Instant::now();
    let (writes, reads, list, stranger) = tokio::join!(
        join_all((0..12).map(|_| put.offer(&client))),
        join_all((0..12).map(|_| async { client.get(&path("never-seen")).await.unwrap() })),
        async { client.get("/api/v1/namespaces/_/actions").await.unwrap() },
        async { nobody.get("/api/v1/namespaces").await.unwrap() },
    );
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    writes.iter().chain(&reads).chain([&list]).for_each(is_put_off);
    // Nobody knows whose they are: that is no answer about them.
    assert_ne!(stranger.status.as_u16(), 200, "{}", stranger.text());
    assert!(stranger.status.as_u16() != 500, "{}", stranger.text());
    ids.extend(goes_on(&client).await);

    // Who waits when the lock goes is served.
    let (waiting, own) = (put.clone(), client.clone());
    let waiting = tokio::spawn(async move { waiting.offer(&own).await });
    ids.extend(goes_on(&client).await);
    drop(locked);
    let served = waiting.await.unwrap();
    if served.status.as_u16() != 200 {
        is_put_off(&served);
    }
    put.put(&client).await;
    assert_eq!(client.get(&path("never-seen")).await.unwrap().status.as_u16(), 404);
    assert_eq!(call(&client, "other", &json!({})).await.result(), &json!({"hello": true}));
    all_have_a_record(&client, &ids).await;
    is_sound(&node);
}

async fn keyed(client: &Client, key: &str) -> Reply {
    let request = Request::post(format!("{}{}", client.base(), path("hello")))
        .header("Idempotency-Key", key)
        .header("Content-Type", "application/json");
    client.send(request.body("{}".into()).unwrap()).await.unwrap()
}

async fn keys() {
    let node = node().start();
    let client = timed(&node.client());
    Function::native("hello", HELLO).put(&client).await;
    let mut ids = goes_on(&client).await;
    let first = keyed(&client, "one").await;
    ids.push(first.activation_id().unwrap());

    let locked = Locked::hold(&node.data().join("idempotency.db"));
    let begun = Instant::now();
    let same_or_new = join_all((0..6).map(|n| keyed(&client, if n % 2 == 0 { "one" } else { "two" })));
    let (refused, others) = tokio::join!(same_or_new, goes_on(&client));
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    for reply in &refused {
        is_put_off(reply);
        let text = reply.json()["error"].as_str().unwrap().to_owned();
        assert!(text.contains("whether the Idempotency-Key was used before"), "{text}");
    }
    ids.extend(others);
    drop(locked);

    let again = keyed(&client, "one").await;
    assert_eq!(again.json()["activationId"], first.json()["activationId"], "{}", again.text());
    let second = keyed(&client, "two").await;
    assert_eq!(second.status.as_u16(), 202, "{}", second.text());
    ids.push(second.activation_id().unwrap());
    assert_eq!(keyed(&client, "two").await.json()["activationId"], second.json()["activationId"]);
    all_have_a_record(&client, &ids).await;
    is_sound(&node);
}

/// The newest file of records.
fn newest_records(node: &Node) -> Option<PathBuf> {
    let files = std::fs::read_dir(node.data().join("activations")).unwrap();
    files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "db"))
        .max()
}

async fn records() {
    let node = node().start();
    let client = timed(&node.client());
    Function::native("hello", HELLO).put(&client).await;
    let mut ids = goes_on(&client).await;
    // Filed in the order of the log: the last one is the last.
    let last = ids.last().unwrap().clone();
    record(&client, &last).await;
    let file = eventually("there is a file of records", async || newest_records(&node)).await;
    eventually("records are in it", async || {
        let mut check = Command::new("python3.11");
        check.args(["-c", "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('select count(*) from records').fetchone()[0])"]);
        let counted = run({ check.arg(&file); check }).stdout;
        (counted.trim() == ids.len().to_string()).then_some(())
    })
    .await;

    let locked = Locked::hold(&file);
    let begun = Instant::now();
    let refuses = eventually("work that nobody waits for is refused", async || {
        let reply = client.invoke("hello", &json!({}), false).await.unwrap();
        if reply.status.as_u16() != 202 {
            return Some(reply);
        }
        let id = reply.activation_id().unwrap();
        assert_eq!(record(&client, &id).await["response"]["result"], json!({"hello": true}), "not filed yet");
        ids.push(id);
        None
    });
    let (refused, filed, counted) = tokio::join!(
        refuses,
        client.activation(&last),
        client.get("/api/v1/namespaces/_/activations?count=true")
    );
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    [refused, filed.unwrap(), counted.unwrap()].iter().for_each(is_put_off);
    for _ in 0..5 {
        let called = call(&client, "hello", &json!({})).await;
        assert_eq!(called.result(), &json!({"hello": true}));
        ids.push(called.id().to_owned());
    }
    drop(locked);

    let again = eventually("work is accepted again", async || {
        let reply = client.invoke("hello", &json!({}), false).await.unwrap();
        (reply.status.as_u16() == 202).then(|| reply.activation_id().unwrap())
    })
    .await;
    ids.push(again);
    all_have_a_record(&client, &ids).await;
    is_sound(&node);
}

async fn letters() {
    let node = node().start();
    let client = timed(&node.client());
    Function::native("hello", HELLO).put(&client).await;
    Function::native("lost", "#!/bin/sh\nsleep 600\n")
        .annotation("delivery", json!("at-least-once"))
        .annotation("max-attempts", json!(1))
        .put(&client)
        .await;
    let mut ids = goes_on(&client).await;
    let lost = start(&client, "lost", &json!({"n": 1})).await;
    runs(&node, 1).await;
    let locked = Locked::hold(&node.data().join("dead-letters.db"));
    chasen_testkit::signal(helper_of(&node), Signal::KILL);
    eventually("the letter cannot be kept", async || {
        node.log().contains("a dead letter could not be kept; it is tried again").then_some(())
    })
    .await;
    // A state of its own has containers of its own: those that died with the helper are asked no more.
    Function::native("hello", HELLO).put(&client).await;
    let (others, list) = tokio::join!(goes_on(&client), client.get("/api/v1/namespaces/_/dead-letters"));
    ids.extend(others);
    is_put_off(&list.unwrap());
    assert_eq!(client.activation(&lost).await.unwrap().status.as_u16(), 404, "its letter comes first");
    drop(locked);

    let ended = record(&client, &lost).await;
    assert_eq!(ended["response"]["success"], false, "{ended}");
    let letters = client.get("/api/v1/namespaces/_/dead-letters").await.unwrap().json();
    let found: Vec<&Value> = letters.as_array().unwrap().iter().map(|one| &one["activationId"]).collect();
    assert_eq!(found, [&json!(lost)], "{letters}");
    all_have_a_record(&client, &ids).await;
    is_sound(&node);
}

async fn starting() {
    let mut node = node().start();
    let client = node.client();
    Function::native("hello", HELLO).put(&client).await;
    let ids = goes_on(&client).await;
    for id in &ids {
        record(&client, id).await;
    }
    node.kill();
    let database = node.data().join("entities.db");
    let locked = Locked::hold(&database);
    let mut serve = chasen();
    serve.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(node.data());
    let refused = run(serve);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let names_it = refused.stderr.contains(database.to_str().unwrap());
    assert!(names_it && refused.stderr.contains("another process has locked"), "{refused:?}");
    drop(locked);
    node.restart();
    all_have_a_record(&node.client(), &ids).await;
}

fn is_sound(node: &Node) {
    let mut check = chasen();
    check.args(["admin", "check", "--data"]).arg(node.data());
    let check = run(check);
    assert_eq!(check.code, Some(0), "{check:?}");
}
