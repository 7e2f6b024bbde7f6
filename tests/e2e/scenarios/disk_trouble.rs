//! Disks that are slow, fail or are full: what cannot be kept is refused before anything is lost, what somebody waits for
//! goes on, and nobody has to restart the node.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chasen_testkit::{Client, Node, Reply, chasen, run};
use futures_util::future::join_all;
use http::Request;
use serde_json::{Value, json};

use crate::admin::door;
use crate::disk::{Disk, Faults};
use crate::functions::{Function, HELLO, call, eventually, record};
use crate::scenario::{Need, Scenario};

/// What a refused call is told.
const NOT_RECORDED: &str = "The activation cannot be recorded safely at the moment and was not accepted: nothing runs. Try again later.";
const INTERRUPTED: &str = "The activation was interrupted before its result was known.";
/// Room for two segments of the log, and little more.
const SIZE: &str = "320m";
/// Longest wait for any answer, on a machine that is busy with other things.
const BOUND: Duration = Duration::from_secs(30);
/// What a slow disk takes for a commit; a busy machine takes less for one in memory.
const SLOW: Duration = Duration::from_secs(1);

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("disk_trouble::a_slow_disk_is_spared_until_it_is_quick_again", slow)
            .needing(Need::Faults),
        Scenario::new("disk_trouble::a_disk_that_fails_is_tried_until_it_works", fails).needing(Need::Faults),
        Scenario::new("disk_trouble::what_a_failing_disk_did_not_confirm_outlives_a_crash", fails_and_dies)
            .needing(Need::Faults),
        Scenario::new("disk_trouble::a_full_disk_refuses_work_until_there_is_room", full),
    ]
}

/// The calls of `hello` that must have exactly one record each.
#[derive(Default)]
struct Accepted(BTreeSet<String>);

impl Accepted {
    /// Notes the id of an answer.
    fn note(&mut self, reply: &Reply) {
        let id = reply.activation_id().unwrap_or_else(|| panic!("{}", reply.text()));
        assert!(self.0.insert(id), "an id was given twice: {}", reply.text());
    }

    /// Each has its record, one, and no other call has. Where the node died, some may have been interrupted.
    async fn end(&self, client: &Client, has_died: bool) {
        for id in &self.0 {
            let record = record(client, id).await;
            let result = &record["response"]["result"];
            let is_known = *result == json!({"hello": true}) || has_died && result["error"] == INTERRUPTED;
            assert!(is_known, "{record}");
        }
        let mut listed: Vec<String> = Vec::new();
        loop {
            let path = format!("/api/v1/namespaces/_/activations?name=hello&limit=200&skip={}", listed.len());
            let page = client.get(&path).await.unwrap().json();
            let page = page.as_array().unwrap();
            listed.extend(page.iter().map(|one| one["activationId"].as_str().unwrap().to_owned()));
            if page.is_empty() {
                break;
            }
        }
        assert_eq!(listed.len(), self.0.len(), "records and accepted calls");
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), self.0);
    }
}

async fn invoke(client: &Client, blocking: bool) -> Reply {
    let begun = Instant::now();
    let reply = client.invoke("hello", &json!({}), blocking).await.unwrap();
    assert!(begun.elapsed() < BOUND, "{} after {:?}", reply.status, begun.elapsed());
    reply
}

/// A call with this header.
async fn invoke_with(client: &Client, query: &str, name: &str, value: &str) -> Reply {
    let uri = format!("{}/api/v1/namespaces/_/actions/hello{query}", client.base());
    let request = Request::post(uri).header(name, value).header("Content-Type", "application/json");
    client.send(request.body("{}".into()).unwrap()).await.unwrap()
}

async fn fire(client: &Client) -> Reply {
    client.post("/api/v1/namespaces/_/triggers/bell", &json!({})).await.unwrap()
}

/// An action, and a trigger that calls another one.
async fn furnish(client: &Client) {
    Function::native("hello", HELLO).put(client).await;
    Function::native("rung", HELLO).put(client).await;
    for (path, body) in
        [("triggers/bell", json!({})), ("rules/ringing", json!({"trigger": "/_/bell", "action": "/_/rung"}))]
    {
        let reply = client.put(&format!("/api/v1/namespaces/_/{path}"), &body).await.unwrap();
        assert_eq!(reply.status.as_u16(), 200, "{}", reply.text());
    }
}

/// The call was refused as a whole, and may be tried again.
#[track_caller]
fn is_refused(reply: &Reply) {
    assert_eq!(
        (reply.status.as_u16(), &reply.json()["error"]),
        (503, &json!(NOT_RECORDED)),
        "{}",
        reply.text()
    );
    assert!(reply.json()["code"].is_string() && reply.json()["activationId"].is_null(), "{}", reply.text());
    has_retry_after(reply);
}

#[track_caller]
fn has_retry_after(reply: &Reply) {
    let later = reply.headers.get("retry-after").and_then(|later| later.to_str().ok());
    assert!(later.is_some_and(|later| later.parse::<u32>().is_ok()), "{later:?} {}", reply.text());
}

/// Everything that has to wait for the disk is refused.
async fn all_is_refused(client: &Client) {
    is_refused(&invoke(client, false).await);
    is_refused(&invoke_with(client, "?blocking=true", "X-Chasen-Durability", "synced").await);
    is_refused(&invoke_with(client, "?delay=60", "Accept", "*/*").await);
    is_refused(&fire(client).await);
}

/// What the operator's door says of work that is refused; `null` if none is.
async fn refuses(node: &Node) -> Value {
    let ready = door(node).get("/invokers/ready").await.unwrap();
    assert_eq!((ready.status.as_u16(), &ready.json()["healthy"]), (200, &json!("1/1")), "{}", ready.text());
    ready.json()["refuses"].clone()
}

/// Calls that nobody waits for are accepted again.
async fn recovers(node: &Node, client: &Client, accepted: &mut Accepted) {
    let reply = eventually("work is accepted again", async || {
        let reply = invoke(client, false).await;
        (reply.status.as_u16() == 202).then_some(reply)
    })
    .await;
    accepted.note(&reply);
    let fired = fire(client).await;
    assert_eq!(fired.status.as_u16(), 202, "{}", fired.text());
    record(client, &fired.activation_id().unwrap()).await;
    eventually("what it calls has run, and of the refused ones nothing", async || {
        let path = "/api/v1/namespaces/_/activations?name=rung&count=true";
        (client.get(path).await.unwrap().json() == json!({"activations": 1})).then_some(())
    })
    .await;
    assert_eq!(refuses(node).await, Value::Null);
}

async fn slow() {
    let (disk, faults) = (Disk::mount(SIZE), Faults::none());
    let node = faults.node().data(&disk.data()).set("activations.slow-commit", "500 ms").start();
    let client = node.client();
    furnish(&client).await;
    let mut accepted = Accepted::default();
    accepted.note(&invoke(&client, true).await);
    accepted.note(&invoke(&client, false).await);

    faults.set(&format!("sync-delay={}ms", SLOW.as_millis()));
    // Who comes at once shares commits; then it is known how slow they are.
    let burst = join_all((0..50).map(|_| invoke(&client, false))).await;
    let refused = eventually("the disk is known to be slow", async || {
        let reply = invoke(&client, false).await;
        if reply.status.as_u16() != 202 {
            return Some(reply);
        }
        accepted.note(&reply);
        None
    })
    .await;
    is_refused(&refused);
    for reply in burst {
        match reply.status.as_u16() {
            202 => accepted.note(&reply),
            _ => is_refused(&reply),
        }
    }
    all_is_refused(&client).await;
    let why = refuses(&node).await;
    assert!(why.as_str().is_some_and(|why| why.contains("too slow") && why.contains("500 ms")), "{why}");

    // Whose callers wait, and need no disk, does not wait for one.
    let (begun, calls) = (Instant::now(), 100);
    for _ in 0..calls {
        let reply = invoke(&client, true).await;
        assert_eq!(reply.status.as_u16(), 200, "{}", reply.text());
        accepted.note(&reply);
    }
    assert!(begun.elapsed() < calls * SLOW, "{:?}", begun.elapsed());
    all_is_refused(&client).await;

    faults.end();
    recovers(&node, &client, &mut accepted).await;
    accepted.end(&client, false).await;
    let log = node.log();
    assert!(log.contains("work that nobody waits for") && log.contains("all work is accepted"), "{log}");
}

async fn fails() {
    let faults = Faults::none();
    let node = faults.node().start();
    let client = node.client();
    furnish(&client).await;
    let mut accepted = Accepted::default();
    accepted.note(&invoke(&client, false).await);

    faults.set("syncs-fail");
    let first = invoke(&client, false).await;
    assert_eq!(first.status.as_u16(), 503, "{}", first.text());
    let text = first.json()["error"].as_str().unwrap().to_owned();
    assert!(text.contains("accepted but is not known to be safe"), "{text}");
    has_retry_after(&first);
    // It says which one, and that one ends.
    accepted.note(&first);
    all_is_refused(&client).await;
    accepted.note(&invoke(&client, true).await);
    let why = refuses(&node).await;
    assert!(why.as_str().is_some_and(|why| why.contains("tried again every second")), "{why}");

    faults.end();
    recovers(&node, &client, &mut accepted).await;
    accepted.end(&client, false).await;
    assert!(node.log().contains("a sync that was to fail"), "{}", node.log());
}

async fn fails_and_dies() {
    let faults = Faults::none();
    let mut node = faults.node().start();
    let client = node.client();
    furnish(&client).await;
    let mut accepted = Accepted::default();
    for _ in 0..5 {
        accepted.note(&invoke(&client, false).await);
    }
    faults.set("syncs-fail");
    accepted.note(&invoke(&client, false).await);
    for _ in 0..5 {
        accepted.note(&invoke(&client, true).await);
        is_refused(&invoke(&client, false).await);
    }
    node.kill();
    faults.end();
    node.restart();
    let client = node.client();
    recovers(&node, &client, &mut accepted).await;
    accepted.end(&client, true).await;
}

async fn full() {
    let disk = Disk::mount(SIZE);
    let node = chasen_testkit::node().data(&disk.data()).start();
    let client = node.client();
    furnish(&client).await;
    let mut accepted = Accepted::default();
    accepted.note(&invoke(&client, true).await);
    let ballast = disk.fill();
    // What the node has set aside lasts for a while; large arguments use it up.
    let large = json!({"text": "x".repeat(900_000)});
    let refused = loop {
        let reply = client.invoke("hello", &large, false).await.unwrap();
        if reply.status.as_u16() != 202 {
            break reply;
        }
        accepted.note(&reply);
        assert!(accepted.0.len() < 1000, "the disk never gets full");
    };
    is_refused(&refused);
    all_is_refused(&client).await;
    let why = refuses(&node).await;
    assert!(why.is_string(), "{why}");
    for _ in 0..20 {
        let reply = invoke(&client, true).await;
        assert_eq!(reply.status.as_u16(), 200, "{}", reply.text());
        accepted.note(&reply);
    }
    let put = Function::native("other", HELLO).offer(&client).await;
    assert!(put.status.as_u16() == 200 || put.status.as_u16() == 503, "{}", put.text());
    // What was accepted ends nevertheless.
    for id in &accepted.0 {
        assert_eq!(record(&client, id).await["response"]["result"], json!({"hello": true}));
    }

    std::fs::remove_file(ballast).unwrap();
    recovers(&node, &client, &mut accepted).await;
    Function::native("other", HELLO).put(&client).await;
    assert_eq!(call(&client, "other", &json!({})).await.result(), &json!({"hello": true}));
    client.delete_action("other").await.unwrap();
    let mut check = chasen();
    check.args(["admin", "check", "--data"]).arg(node.data());
    let check = run(check);
    assert_eq!(check.code, Some(0), "{check:?}");
}
