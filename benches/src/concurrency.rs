//! Ten thousand activations in one Node.js container at once, each waiting for a second, beside the same runs in the
//! launcher alone.
//!
//! Descriptors are few: the load comes over a handful of connections, as calls that are not waited for, sent one behind
//! the other without waiting for answers. What an activation took is what its record says: the time from its
//! acceptance to its start, and its duration. That they shared one container, and how many were in it at the same time,
//! the function itself tells.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Failure;
use crate::direct::Launcher;
use crate::http::{Client, Id};
use crate::kinds;
use crate::load::Pressure;
use crate::node::Node;
use crate::report::{Bound, Measured, Report};
use crate::stats::{Samples, best, millis};

const TOGETHER: usize = 10_000;
const CONNECTIONS: usize = 4;
const REPETITIONS: usize = 5;
/// Longest time from the first call to the last record.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for a second; says which container it is in, and the most that it had in it since the last question.
const WAITS: &str = "const container = Math.random(); let inside = 0; let most = 0;\n\
    async function main({ ask }) {\n\
    if (ask) { const seen = most; most = 0; return { container, seen } }\n\
    most = Math.max(most, ++inside);\n\
    await new Promise((go) => setTimeout(go, 1000));\n\
    inside--; return { container };\n}";

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    let node = Node::with(&[
        ("limits.action-concurrency-max", &TOGETHER.to_string()),
        ("limits.concurrent-invocations", "unlimited"),
    ])?;
    let kind = kinds::node_running(WAITS, TOGETHER)?;
    let mut client = Client::connect(&node.host)?;
    let limits = serde_json::json!({"memory": 512, "timeout": 300_000, "concurrency": TOGETHER, "logs": 1});
    let action = serde_json::json!({"exec": kind.exec(), "limits": limits}).to_string();
    client.send("PUT", "/actions/waits", action.as_bytes())?.expect(200)?;
    let container = ask(&mut client)?.0;
    let pressure = Pressure::begin();
    let (mut tails, mut alone, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..REPETITIONS {
        let samples = burst(&node.host, &container)?;
        tails.push(millis(samples.at(0.99)));
        let (still, most) = ask(&mut client)?;
        if still != container {
            return Err("there was more than one container".into());
        }
        peaks.push(most);
        let mut launcher = Launcher::start(&kind)?;
        alone.push(millis(launcher.run_together("{\"value\":{}}", TOGETHER)?.at(0.99)));
    }
    report.judge(
        &format!("{TOGETHER} activations in one container, each waits 1 s: acceptance to end, p99, 0 errors"),
        &Measured::millis(best(&tails)),
        Bound::at_most(1_500.0),
    );
    let together = peaks.iter().min().copied().unwrap_or_default();
    report.judge(
        "in it at the same time, at least",
        &Measured::count(together),
        Bound::at_least(TOGETHER as f64),
    );
    report.beside("the same launcher alone, p99", Measured::millis(best(&alone)));
    report.beside("meanwhile", pressure.share());
    Ok(())
}

/// The container that answers, and the most that were in it at once since it was last asked.
fn ask(client: &mut Client) -> Result<(Value, u64), Failure> {
    let reply = client.send("POST", "/actions/waits?blocking=true&result=true", br#"{"ask":true}"#)?;
    reply.expect(200)?;
    let said: Value = serde_json::from_slice(&reply.body)?;
    let seen = said.get("seen").and_then(Value::as_u64).ok_or("the function does not say how many it saw")?;
    Ok((said.get("container").cloned().unwrap_or_default(), seen))
}

/// All calls at once; what each took.
fn burst(host: &str, container: &Value) -> Result<Samples, Failure> {
    let begun = Instant::now();
    let workers: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let host = host.to_owned();
            thread::spawn(move || -> Result<Vec<Id>, String> {
                let mut client = Client::connect(&host).map_err(|error| error.to_string())?;
                let path = "/actions/waits";
                client
                    .send_many("POST", path, b"{}", TOGETHER / CONNECTIONS)
                    .map_err(|error| error.to_string())
            })
        })
        .collect();
    let mut ids = Vec::new();
    for worker in workers {
        ids.extend(worker.join().map_err(|_| "a client panicked")??);
    }
    let accepted = begun.elapsed();
    let mut client = Client::connect(host)?;
    let mut samples = Samples::new()?;
    let mut containers = BTreeSet::new();
    for id in &ids {
        let record = record(&mut client, id, begun)?;
        if record.pointer("/response/status").and_then(Value::as_str) != Some("success") {
            return Err(format!("an activation failed: {record}").into());
        }
        containers.insert(record.pointer("/response/result/container").unwrap_or(&Value::Null).to_string());
        samples.record(Duration::from_millis(taken(&record).ok_or("a record without times")?));
    }
    if containers != BTreeSet::from([container.to_string()]) {
        return Err(format!("not one container: {containers:?}").into());
    }
    eprintln!(
        "concurrency: {TOGETHER} accepted within {:.0} ms; p50 {:.0} ms, p99 {:.0} ms",
        millis(accepted),
        millis(samples.at(0.5)),
        millis(samples.at(0.99))
    );
    Ok(samples)
}

/// The record, once it is there.
fn record(client: &mut Client, id: &Id, begun: Instant) -> Result<Value, Failure> {
    loop {
        let reply = client.send("GET", &format!("/activations/{id}"), b"")?;
        if reply.status == 200 {
            return Ok(serde_json::from_slice(&reply.body)?);
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("activation {id} has no record").into());
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Milliseconds from acceptance to the end.
fn taken(record: &Value) -> Option<u64> {
    let annotations = record.get("annotations")?.as_array()?;
    let waited = annotations.iter().find(|one| one.get("key").is_some_and(|key| key == "waitTime"))?;
    let [start, end] = ["start", "end"].map(|name| record.get(name).and_then(Value::as_u64));
    Some(waited.get("value")?.as_u64()? + end?.checked_sub(start?)?)
}
