//! Throttles: a namespace over its bounds is told at once which, and by how much.

use std::time::Duration;

use chasen_testkit::{Client, Reply, node};
use serde_json::json;

use crate::functions::{Function, eventually, start};
use crate::scenario::Scenario;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("throttles::invocations_per_minute_are_counted", rate),
        Scenario::new("throttles::invocations_in_flight_are_counted", concurrency),
        Scenario::new("throttles::overload_is_refused_at_once", overload),
        Scenario::new("throttles::an_action_at_its_own_bound_is_no_overload", own_bound),
    ]
}

const SLEEPS: &str = "#!/bin/sh\nsleep 600\n";

/// Fails unless this is a 429 of this text.
fn assert_throttled(reply: &Reply, text: &str) {
    assert_eq!(
        (reply.status.as_u16(), reply.json()["error"].as_str()),
        (429, Some(text)),
        "{}",
        reply.text()
    );
    let after = reply.headers.get("retry-after").expect("a hint when to come back");
    assert!((1..=60).contains(&after.to_str().unwrap().parse::<u64>().unwrap()), "{after:?}");
}

async fn rate() {
    let node = node().set("limits.invocations-per-minute", "3").start();
    let client = node.client();
    // The counter starts anew with each minute of the clock: a call may fall into the next one.
    let throttled = eventually("the fourth call of a minute is refused", async || {
        let mut last = None;
        for _ in 0..4 {
            last = Some(client.invoke("missing", &json!({}), false).await.unwrap());
        }
        last.filter(|reply| reply.status.as_u16() != 404)
    })
    .await;
    let count =
        throttled.json()["error"].as_str().unwrap_or_default().replace(|c: char| !c.is_ascii_digit(), " ");
    let count = count.split_whitespace().next().unwrap_or_default().to_owned();
    assert_throttled(
        &throttled,
        &format!("Too many requests in the last minute (count: {count}, allowed: 3)."),
    );
    let free = client.get("/api/v1/namespaces/_/actions").await.unwrap();
    assert_eq!(free.status.as_u16(), 200, "only invocations count: {}", free.text());
}

async fn concurrency() {
    let node = node().set("limits.concurrent-invocations", "2").start();
    let client = node.client();
    Function::native("sleeps", SLEEPS).put(&client).await;
    let mut first = String::new();
    for _ in 0..2 {
        first = start(&client, "sleeps", &json!({})).await;
    }
    let throttled = client.invoke("sleeps", &json!({}), false).await.unwrap();
    assert_throttled(&throttled, "Too many concurrent requests in flight (count: 2, allowed: 2).");
    let ended = client.delete(&format!("/api/v1/namespaces/_/activations/{first}")).await.unwrap();
    assert_eq!(ended.status.as_u16(), 200, "{}", ended.text());
    eventually("places become free again", async || {
        (client.invoke("sleeps", &json!({}), false).await.unwrap().status.as_u16() == 202).then_some(())
    })
    .await;
}

/// Who waits is refused when the queue is full; who does not, when more waits in the log than may.
async fn overload() {
    let node = node().set("node.memory", "256 MB").set("limits.concurrent-invocations", "unlimited");
    let node = node.set("limits.pending-invocations", "5");
    let node = node.set("server.drain-timeout", "1 s").start();
    let client = node.client();
    Function::native("sleeps", SLEEPS).limit("memory", 256).put(&client).await;
    let large = json!({"text": "x".repeat(1_000_000)});
    let impatient: Client = client.clone().with_timeout(Duration::from_secs(60));
    let mut accepted = 0;
    let refused = loop {
        let reply = impatient.invoke("sleeps", &large, false).await.unwrap();
        match reply.status.as_u16() {
            202 => accepted += 1,
            _ => break reply,
        }
        assert!(accepted < 1000, "the queue never gets full");
    };
    assert!(accepted > 5);
    let waits = impatient.invoke("sleeps", &large, true).await.unwrap();
    for refused in [refused, waits] {
        assert_eq!(refused.status.as_u16(), 503, "{}", refused.text());
        let is_text = |key: &str| refused.json()[key].is_string();
        assert!(is_text("error") && is_text("code"), "{}", refused.text());
    }
    assert_eq!(node.anonymous().get("/ping").await.unwrap().status.as_u16(), 200);
}

/// Whose own bound holds an action has asked for too much; the node has not too little.
async fn own_bound() {
    let node = node().set("limits.concurrent-invocations", "unlimited");
    let node = node.set("server.drain-timeout", "1 s").start();
    let client = node.client();
    Function::native("sleeps", SLEEPS).limit("instances", 1).put(&client).await;
    let large = json!({"text": "x".repeat(1_000_000)});
    // Until its container serves, the queue may be full for another reason.
    let refused = eventually("the queue is full and the container serves", async || {
        let reply = client.invoke("sleeps", &large, false).await.unwrap();
        (reply.status.as_u16() == 429).then_some(reply)
    })
    .await;
    let text = refused.json()["error"].as_str().unwrap_or_default().to_owned();
    assert!(text.starts_with("Too many concurrent requests in flight (count: "), "{text}");
    assert!(text.ends_with(", allowed: 1)."), "{text}");
    assert_throttled(&refused, &text);
}
