//! Warm blocking calls of a native stub from a few clients that share the machine with the node; afterwards
//! every id must have its record.

use std::time::{Duration, Instant};

use crate::http::{Client, Reply};
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
    let mut pings = Vec::new();
    let mut latencies = String::new();
    let mut ids = Vec::new();
    for _ in 0..REPETITIONS {
        pings.push(load(&node.host, WARM_UP, |client| client.ping())?.0);
        load(&node.host, WARM_UP, invoke)?;
        let (calls, mut these, samples) = load(&node.host, MEASURED, invoke)?;
        if these.len() as u64 != samples.count() {
            return Err("a call was answered without an activation id".into());
        }
        rates.push(calls);
        ids.append(&mut these);
        latencies = format!("{:.2} / {:.2} ms", millis(samples.at(0.5)), millis(samples.at(0.99)));
    }
    let [rate, ping] = [&rates, &pings].map(|rates| rates.iter().copied().fold(0.0, f64::max));
    report(
        "warm blocking throughput, native stub, 8 clients on the node's cores",
        &format!("{rate:.0}/s"),
        "≥ 5 000/s",
    );
    report("  the same server answering `/ping`, same clients", &format!("{ping:.0}/s"), "");
    report("  latency p50 / p99 of the last run", &latencies, "");
    let missing = missing_records(&mut client, &ids)?;
    report(&format!("  ids without a record, of {}", ids.len()), &missing.to_string(), "0");
    if missing > 0 {
        return Err(format!("{missing} activations have no record").into());
    }
    Ok(())
}

type Call = fn(&mut Client) -> Result<Reply, Failure>;

fn invoke(client: &mut Client) -> Result<Reply, Failure> {
    client.invoke("stub")
}

/// Calls for a while from all clients; calls per second, the ids, and the latencies.
fn load(host: &str, time: Duration, call: Call) -> Result<(f64, Vec<String>, Samples), Failure> {
    let begun = Instant::now();
    let workers: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let host = host.to_owned();
            std::thread::spawn(move || worker(&host, begun + time, call).map_err(|error| error.to_string()))
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

fn worker(host: &str, until: Instant, call: Call) -> Result<(Vec<String>, Samples), Failure> {
    let mut client = Client::connect(host)?;
    let (mut ids, mut samples) = (Vec::new(), Samples::new()?);
    while Instant::now() < until {
        let begun = Instant::now();
        let reply = call(&mut client)?;
        samples.record(begun.elapsed());
        reply.expect(200)?;
        ids.extend(reply.activation_id);
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
