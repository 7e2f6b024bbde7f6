//! Container starts of a static binary, as many as the node can sustain: each call needs another container, and each
//! start takes the place of an idle one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::http::Client;
use crate::load::{self, Pressure};
use crate::node::Node;
use crate::report::{Bound, Measured, Report};
use crate::stats::{Samples, millis, most};
use crate::{Failure, kinds};

const REPETITIONS: usize = 5;
/// There is memory for so many containers of 128 MB, and so many actions take turns.
const CONTAINERS: u64 = 32;
const ACTIONS: u64 = 96;
const CLIENTS: u32 = 4;
const MEASURED: u64 = 300;

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    let node = Node::with(&[("node.memory", &format!("{} MB", CONTAINERS * 128))])?;
    let mut client = Client::connect(&node.host)?;
    let stub = kinds::native_stub()?;
    for number in 0..ACTIONS {
        client.put_action(&format!("a{number}"), &stub, 128)?;
    }
    let pressure = Pressure::begin();
    let (mut rates, mut all) = (Vec::new(), Samples::new()?);
    let (next, found) = (AtomicU64::new(0), AtomicU64::new(0));
    for _ in 0..REPETITIONS {
        let begun = Instant::now();
        let found_before = found.load(Ordering::Relaxed);
        // In turns over all clients: whoever asks gets the action that has rested longest.
        let samples = load::times(&node.host, CLIENTS, MEASURED, &|client, _| {
            let action = format!("a{}", next.fetch_add(1, Ordering::Relaxed) % ACTIONS);
            if !starts(client, &action)? {
                found.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        })?;
        let starts = MEASURED - (found.load(Ordering::Relaxed) - found_before);
        rates.push(starts as f64 / begun.elapsed().as_secs_f64());
        all.merge(&samples);
    }
    report.judge(
        &format!("containers started and ended of a static binary, sustained, {CLIENTS} clients"),
        &Measured::rate(most(&rates)),
        Bound::at_least(100.0).stretch(200.0),
    );
    let latency = format!("{:.1} / {:.1} ms", millis(all.at(0.5)), millis(all.at(0.99)));
    report.beside("such a call, p50 / p99; meanwhile", format!("{latency}; {}", pressure.share()));
    report.beside("calls that found a container, which are not counted", found.into_inner().to_string());
    Ok(())
}

/// A call; true if a container was started for it.
fn starts(client: &mut Client, action: &str) -> Result<bool, Failure> {
    let reply = client.send("POST", &format!("/actions/{action}?blocking=true"), b"{}")?;
    reply.expect(200)?;
    Ok(String::from_utf8_lossy(&reply.body).contains(r#""initTime""#))
}

/// A call that needs a container of its own; fails if it had none started.
pub(crate) fn started(client: &mut Client, action: &str) -> Result<(), Failure> {
    match starts(client, action)? {
        true => Ok(()),
        false => Err(format!("a call of {action} found a container that was there already").into()),
    }
}
