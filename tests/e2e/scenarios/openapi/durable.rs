//! Durable work, as the document tells of it: keys, times, what waits, what is ended, given up or done again.

use chasen_testkit::Node;
use http::Request;
use http::header::ACCEPT;
use serde_json::Value;

use super::document::Document;
use super::script;
use crate::admin::said;
use crate::functions::eventually;

/// One request: what is asked, below the namespace, an extra header, the body, and the status to come. `$ID` stands for
/// the activation that was last named in an answer.
type Row = (&'static str, (&'static str, &'static str), &'static str, u16);

const PLAIN: (&str, &str) = ("accept", "application/json");
/// A client that does not take JSON.
const PICKY: (&str, &str) = ("accept", "text/x-other");
const KEY: (&str, &str) = ("idempotency-key", "one");
const SYNCED: (&str, &str) = ("x-chasen-durability", "synced");

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("POST actions/hello",                        KEY,    r#"{"a": 1}"#, 202),
    ("POST actions/hello",                        KEY,    r#"{"a": 2}"#, 422),
    ("POST actions/greetings/hello",              KEY,    r#"{"a": 2}"#, 422),
    ("POST triggers/tick",                        KEY,    r#"{"a": 2}"#, 422),
    ("POST actions/hello",                        SYNCED, "{}",          202),
    ("POST actions/greetings/hello",              SYNCED, "{}",          202),
    ("POST triggers/tick",                        SYNCED, "{}",          202),
    ("POST triggers/tick?at=2020-01-01T00:00:00Z", PLAIN, "{}",          400),
    ("POST triggers/tick?delay=3600",             PLAIN,  "{}",          202),
    ("POST actions/greetings/hello?at=2020-01-01T00:00:00Z", PLAIN, "{}", 400),
    ("POST actions/hello?at=2020-01-01T00:00:00Z", PLAIN, "{}",          400),
    ("POST actions/greetings/hello?delay=3600",   PLAIN,  "{}",          202),
    ("DELETE activations/$ID",                    PICKY,  "",            406),
    ("POST actions/hello?delay=3600",             PLAIN,  "{}",          202),
    ("GET activations/$ID?pending=true",          PLAIN,  "",            200),
    ("GET activations?status=pending",            PLAIN,  "",            200),
    ("DELETE activations/$ID",                    PLAIN,  "",            200),
    ("DELETE activations/$ID",                    PLAIN,  "",            405),
    ("POST activations/$ID/replay",               PLAIN,  "",            409),
];

/// After the namespace keeps parameters.
#[rustfmt::skip]
const REPLAYS: &[Row] = &[
    ("POST actions/hello?blocking=true",               PLAIN, "{}", 200),
    ("POST activations/$ID/replay?code-version=9.9.9", PLAIN, "",   404),
    ("POST activations/$ID/replay?code-version=x",     PLAIN, "",   400),
    ("POST activations/$ID/replay",                    KEY,   "",   422),
    ("POST activations/$ID/replay?at=2020-01-01T00:00:00Z", PLAIN, "", 400),
    ("POST activations/$ID/replay",                    PICKY, "",   406),
    ("POST activations/$ID/replay?delay=3600",         SYNCED, "",  202),
];

/// Three letters later; `$ID` is the last of them.
#[rustfmt::skip]
const LETTERS: &[Row] = &[
    ("GET dead-letters?limit=10&skip=0&name=lost", PLAIN, "", 200),
    ("GET dead-letters?count=true",                PLAIN, "", 200),
    ("GET dead-letters",                           PICKY, "", 406),
    ("GET dead-letters/$ID",                       PLAIN, "", 200),
    ("GET dead-letters/$ID",                       PICKY, "", 406),
    ("POST dead-letters/$ID",                      KEY,   "", 422),
    ("POST dead-letters/$ID?at=2020-01-01T00:00:00Z", PLAIN, "", 400),
];

/// Runs until it is killed, and is given up then.
const LOST: &str = r##"{
    "exec": {"kind": "blackbox", "image": "openwhisk/dockerskeleton", "code": "#!/bin/sh\nsleep 1000\n"},
    "annotations": [{"key": "delivery", "value": "at-least-once"}, {"key": "max-attempts", "value": 1}]
}"##;

/// Asks all of it of a node that has what the document's examples name.
pub(super) async fn play(document: &mut Document, node: &mut Node) {
    let mut id = String::new();
    rows(document, node, ROWS, &mut id).await;
    said(node.data(), &["limits", "set", "guest", "--keepParameters", "true"]);
    rows(document, node, REPLAYS, &mut id).await;
    said(node.data(), &["limits", "delete", "guest"]);
    let ids = lose(document, node).await;
    ids[0].clone_into(&mut id);
    rows(document, node, LETTERS, &mut id).await;
    let ends = [
        [("POST dead-letters/$ID?delay=3600", SYNCED, "", 202)],
        [("POST dead-letters/$ID", PICKY, "", 406)],
        [("DELETE dead-letters/$ID", PLAIN, "", 204)],
    ];
    for (letter, end) in ids.into_iter().zip(ends) {
        rows(document, node, &end, &mut letter.clone()).await;
    }
}

async fn rows(document: &mut Document, node: &Node, rows: &[Row], id: &mut String) {
    let client = node.client();
    for (ask, (header, value), body, status) in rows {
        let (method, path) = ask.split_once(' ').expect("a method and a path");
        let uri = format!("{}/api/v1/namespaces/_/{}", client.base(), path.replace("$ID", id));
        let request = Request::builder().method(method).uri(uri).header(*header, *value);
        let request = if *header == PLAIN.0 { request } else { request.header(ACCEPT, PLAIN.1) };
        let reply = document.ask(&client, script::json(request, body)).await;
        assert_eq!(reply.status.as_u16(), *status, "{ask}: {}", reply.text());
        if let Some(named) = reply.headers.get("x-openwhisk-activation-id") {
            named.to_str().unwrap().clone_into(id);
        }
    }
}

/// True for the process that [`LOST`] waits for; what was late before may still sleep as well.
fn is_lost(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == b"sleep\x001000\x00")
}

/// Has three activations lost with the node; their ids.
async fn lose(document: &mut Document, node: &mut Node) -> Vec<String> {
    let client = node.client();
    let base = format!("{}/api/v1/namespaces/_", client.base());
    document.ask(&client, script::json(Request::put(format!("{base}/actions/lost")), LOST)).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let call = Request::post(format!("{base}/actions/lost"));
        let reply = document.ask(&client, script::json(call, "{}")).await;
        ids.push(reply.json()["activationId"].as_str().unwrap().to_owned());
    }
    eventually("they run", async || {
        let processes = chasen_testkit::descendants(node.pid()).into_iter();
        (processes.filter(|(pid, _)| is_lost(*pid)).count() == 3).then_some(())
    })
    .await;
    node.kill();
    node.restart();
    let client = node.client();
    // What is tried again ends.
    let mended = Request::put(format!("{}/api/v1/namespaces/_/actions/lost?overwrite=true", client.base()));
    let reply = document.ask(&client, script::json(mended, script::HELLO)).await;
    assert_eq!(reply.status.as_u16(), 200, "{}", reply.text());
    eventually("they are given up", async || {
        let letters = client.get("/api/v1/namespaces/_/dead-letters").await.ok()?.json();
        letters.as_array().is_some_and(|letters: &Vec<Value>| letters.len() == 3).then_some(())
    })
    .await;
    ids
}
