//! Reading half a million records of one namespace while more are being written.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::http::Client;
use crate::load::Pressure;
use crate::node::Node;
use crate::report::{Bound, Measured, Report};
use crate::stats::{Samples, best, millis};
use crate::{Failure, kinds, load};

const RECORDS: u64 = 500_000;
/// Records written per second while others are read.
const WRITES: f64 = 1_000.0;
const ACTIONS: u64 = 10;
const REPETITIONS: usize = 5;
const READS: u64 = 200;

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    let node = Node::start()?;
    let mut client = Client::connect(&node.host)?;
    let stub = kinds::native_stub()?;
    for number in 0..ACTIONS {
        client.put_action(&format!("a{number}"), &stub, 128)?;
        client.invoke(&format!("a{number}"))?.expect(200)?;
    }
    let invoke =
        |client: &mut Client, number: u64| client.invoke(&format!("a{}", number % ACTIONS))?.expect(200);
    eprintln!("records: writing {RECORDS} records");
    let begun = epoch_millis();
    load::times(&node.host, 8, RECORDS, &invoke)?;
    let middle = begun + (epoch_millis() - begun) / 2;
    let id = client.invoke("a0")?.activation_id.ok_or("no activation id")?;

    let queries = [
        ("list of 200", "/activations?limit=200".to_owned()),
        ("list of 200 by name", "/activations?limit=200&name=a3".to_owned()),
        ("list of 200 since … upto", format!("/activations?limit=200&since={begun}&upto={middle}")),
        (
            "list of 200 by name since … upto",
            format!("/activations?limit=200&name=a3&since={begun}&upto={middle}"),
        ),
        ("count", "/activations?count=true".to_owned()),
        ("count by name", "/activations?count=true&name=a3".to_owned()),
        ("count since … upto", format!("/activations?count=true&since={begun}&upto={middle}")),
        ("get", format!("/activations/{id}")),
    ];
    let pressure = Pressure::begin();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            load::until(&node.host, 4, Some(WRITES), &stop, &invoke).map_err(|error| error.to_string())
        });
        let measured = queries.iter().try_for_each(|(what, path)| measure(report, &mut client, what, path));
        stop.store(true, Ordering::Relaxed);
        let written = writer.join().map_err(|_| "the writer panicked")??;
        report.beside("meanwhile", format!("{} records written; {}", written.count(), pressure.share()));
        measured
    })
}

fn measure(report: &mut Report, client: &mut Client, what: &str, path: &str) -> Result<(), Failure> {
    let (mut middles, mut tails) = (Vec::new(), Vec::new());
    for _ in 0..REPETITIONS {
        let mut samples = Samples::new()?;
        for _ in 0..READS {
            let begun = Instant::now();
            client.send("GET", path, b"")?.expect(200)?;
            samples.record(begun.elapsed());
        }
        middles.push(millis(samples.at(0.5)));
        tails.push(millis(samples.at(0.99)));
    }
    let what = format!("{what}, {RECORDS} records in the namespace, {WRITES:.0}/s being written: p99");
    let measured = Measured::millis(best(&tails)).with(format!("p50 {:.1} ms", best(&middles)));
    report.judge(&what, &measured, Bound::at_most(30.0));
    Ok(())
}

fn epoch_millis() -> u128 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_millis()
}
