//! Warm blocking calls of a native stub from a few clients that share the machine with the node; afterwards
//! every id must have its record.

use std::time::{Duration, Instant};

use crate::http::Client;
use crate::kinds;
use crate::node::Node;
use crate::stats::{Samples, millis};
use crate::{Failure, report};

const REPETITIONS: usize = 5;
const CLIENTS: usize = 8;
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(4);

pub(crate) fn run() -> Result<(), Failure> {
    let node = Node::start()?;
    let mut client = Client::connect(&node.host)?;
    client.put_action("stub", &kinds::native_stub()?, 128)?;
    client.invoke("stub")?.expect(200)?;

    let mut rates = Vec::new();
    let mut latencies = String::new();
    let mut ids = Vec::new();
    for _ in 0..REPETITIONS {
        load(&node.host, WARM_UP)?;
        let (calls, mut these, samples) = load(&node.host, MEASURED)?;
        rates.push(calls);
        ids.append(&mut these);
        latencies = format!("{:.2} / {:.2} ms", millis(samples.at(0.5)), millis(samples.at(0.99)));
    }
    let rate = rates.iter().copied().fold(0.0, f64::max);
    report(
        "warm blocking throughput, native stub, 8 clients on the node's cores",
        &format!("{rate:.0}/s"),
        "≥ 5 000/s",
    );
    report("  latency p50 / p99 of the last run", &latencies, "");
    let missing = missing_records(&mut client, &ids)?;
    report(&format!("  ids without a record, of {}", ids.len()), &missing.to_string(), "0");
    if missing > 0 {
        return Err(format!("{missing} activations have no record").into());
    }
    Ok(())
}

/// Calls for a while from all clients; calls per second, the ids, and the latencies.
fn load(host: &str, time: Duration) -> Result<(f64, Vec<String>, Samples), Failure> {
    let begun = Instant::now();
    let workers: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let host = host.to_owned();
            std::thread::spawn(move || worker(&host, begun + time).map_err(|error| error.to_string()))
        })
        .collect();
    let (mut ids, mut samples) = (Vec::new(), Samples::new()?);
    for worker in workers {
        let (mut these, own) = worker.join().map_err(|_| "a client panicked")??;
        ids.append(&mut these);
        samples.merge(&own);
    }
    Ok((samples.count() as f64 / begun.elapsed().as_secs_f64(), ids, samples))
}

fn worker(host: &str, until: Instant) -> Result<(Vec<String>, Samples), Failure> {
    let mut client = Client::connect(host)?;
    let (mut ids, mut samples) = (Vec::new(), Samples::new()?);
    while Instant::now() < until {
        let begun = Instant::now();
        let reply = client.invoke("stub")?;
        samples.record(begun.elapsed());
        reply.expect(200)?;
        ids.push(reply.activation_id.ok_or("a reply without activation id")?);
    }
    Ok((ids, samples))
}

fn missing_records(client: &mut Client, ids: &[String]) -> Result<usize, Failure> {
    let mut missing = 0;
    for id in ids {
        let status = client.send("GET", &format!("/activations/{id}"), b"")?.status;
        missing += usize::from(status != 200);
    }
    Ok(missing)
}
