//! Deaths of what runs functions: whatever was in it has its record at once, and the next call is served.

use std::path::Path;
use std::time::{Duration, Instant};

use chasen_testkit::{Node, Signal, children, descendants, has_descendant, node, signal};
use serde_json::json;

use crate::functions::{Function, HELLO, Language, call, eventually, record, start};
use crate::scenario::Scenario;

const INTERRUPTED: &str = "The activation was interrupted before its result was known.";
const EXITED: &str = "The action did not produce a valid response and exited unexpectedly.";
const EXITED_IN_PYTHON: &str = "command exited";
const SLOW: &str = "#!/bin/sh\nsleep 600\n";
const SLOW_IN_PYTHON: &str = "import subprocess\ndef main(args):\n    subprocess.run(['sleep', '600'])\n";
/// Until an activation has its record whose sandbox died.
const SOON: Duration = Duration::from_secs(1);
/// Deaths at least, and at most, of which one must be seen in time: a machine that is busy with other things may be late.
const DEATHS: (usize, usize) = (5, 30);

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("deaths::a_sandbox_that_dies_ends_its_activation_within_a_second", sandbox_dies)
            .needing(Language::Python.need()),
        Scenario::new("deaths::a_sandbox_helper_that_dies_is_replaced", helper_dies),
    ]
}

/// Waits until so many functions sleep below the node.
pub(crate) async fn runs(node: &Node, count: usize) -> Vec<u32> {
    eventually("functions run", async || {
        let below = descendants(node.pid());
        let asleep: Vec<u32> =
            below.into_iter().filter(|(_, own)| own == "sleep").map(|(pid, _)| pid).collect();
        (asleep.len() == count).then_some(asleep)
    })
    .await
}

/// The process that all sandboxes of a node are below.
pub(crate) fn helper_of(node: &Node) -> u32 {
    let own = children(node.pid());
    // What a node asks for their versions has other names.
    let is_helper = |(process, name): &(u32, String)| {
        own.contains(process) && name.starts_with("chasen") && !children(*process).is_empty()
    };
    let helpers: Vec<u32> =
        descendants(node.pid()).into_iter().filter(is_helper).map(|(process, _)| process).collect();
    assert_eq!(helpers.len(), 1, "one helper has sandboxes: {helpers:?}");
    helpers[0]
}

async fn sandbox_dies() {
    let node = node().start();
    let client = node.client();
    Function::native("native", SLOW).put(&client).await;
    Function::python("python", SLOW_IN_PYTHON).put(&client).await;
    Function::native("hello", HELLO).put(&client).await;
    for (name, exited) in [("native", EXITED), ("python", EXITED_IN_PYTHON)] {
        let mut times = Vec::new();
        let is_seen_in_time = |times: &[Duration]| times.iter().any(|time| *time < SOON);
        while times.len() < DEATHS.0 || (!is_seen_in_time(&times) && times.len() < DEATHS.1) {
            let id = start(&client, name, &json!({})).await;
            runs(&node, 1).await;
            let first = children(helper_of(&node)).into_iter().find(|cell| has_descendant(*cell, "sleep"));
            let died = Instant::now();
            signal(first.expect("what sleeps is in a sandbox"), Signal::KILL);
            let record = record(&client, &id).await;
            times.push(died.elapsed());
            let response = &record["response"];
            assert_eq!(response["status"], "action developer error", "{record}");
            assert_eq!(response["result"]["error"], exited, "{record}");
            runs(&node, 0).await;
        }
        assert!(is_seen_in_time(&times), "{name}: {times:?}");
    }
    assert_eq!(call(&client, "hello", &json!({})).await.result(), &json!({"hello": true}));
}

async fn helper_dies() {
    let node = node().start();
    let client = node.client();
    let patient = "#!/bin/sh\nif [ \"$__OW_ATTEMPT\" = 1 ]; then sleep 600; fi\necho \"{\\\"attempt\\\":$__OW_ATTEMPT}\"\n";
    Function::native("once", SLOW).put(&client).await;
    Function::native("again", patient).annotation("delivery", json!("at-least-once")).put(&client).await;
    Function::native("hello", HELLO).put(&client).await;
    call(&client, "hello", &json!({})).await;
    let once = start(&client, "once", &json!({})).await;
    let again = start(&client, "again", &json!({})).await;
    let blocking = tokio::spawn({
        let client = client.clone();
        async move { call(&client, "once", &json!({})).await }
    });
    let asleep = runs(&node, 3).await;
    let died = Instant::now();
    signal(helper_of(&node), Signal::KILL);

    let interrupted = record(&client, &once).await;
    let took = died.elapsed();
    let told = (&interrupted["response"]["status"], &interrupted["response"]["result"]["error"]);
    assert_eq!(told, (&json!("whisk internal error"), &json!(INTERRUPTED)), "after {took:?}: {interrupted}");
    assert_eq!(blocking.await.unwrap().failure(), ("whisk internal error", INTERRUPTED.to_owned()));
    eventually("nothing of its sandboxes is left", async || {
        asleep.iter().all(|pid| !Path::new(&format!("/proc/{pid}/exe")).exists()).then_some(())
    })
    .await;
    assert_eq!(call(&client, "hello", &json!({})).await.result(), &json!({"hello": true}));
    let again = record(&client, &again).await;
    assert_eq!(again["response"]["result"], json!({"attempt": 2}), "{again}");
}
