//! Warm blocking calls of a native stub from a few clients that share the machine with the node; afterwards
//! every id must have its record.

use std::time::Duration;

use crate::http::{self, Client};
use crate::ledger::Ledger;
use crate::load::{self, Pressure};
use crate::node::Node;
use crate::plain::Plain;
use crate::report::{Bound, Measured, Report, grouped};
use crate::stats::most;
use crate::{Failure, kinds};

const REPETITIONS: usize = 5;
/// Clients of every benchmark of throughput.
pub(crate) const CLIENTS: u32 = 8;
pub(crate) const WARM_UP: Duration = Duration::from_millis(500);
pub(crate) const MEASURED: Duration = Duration::from_secs(2);

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    let node = Node::start()?;
    let plain = Plain::hyper()?;
    let mut client = Client::connect(&node.host)?;
    client.put_action("stub", &kinds::native_stub()?, 128)?;
    client.invoke("stub")?.expect(200)?;
    let stub = [http::call(&node.host, "stub")?];
    let mut ledger = Ledger::open(&mut client)?;
    let pressure = Pressure::begin();
    let (mut ours, mut hyper, mut latencies) = (Vec::new(), Vec::new(), String::new());
    for _ in 0..REPETITIONS {
        hyper.push(plain.rate(CLIENTS, WARM_UP)?);
        ledger.enter(load::closed(CLIENTS, WARM_UP, &stub)?)?;
        let run = ledger.enter(load::closed(CLIENTS, MEASURED, &stub)?)?;
        ours.push(run.rate());
        latencies = format!("{:.2} / {:.2} ms", load::at(&run, 0.5), load::at(&run, 0.99));
    }
    report.judge(
        &format!(
            "warm blocking calls of a native stub, records kept, {CLIENTS} clients on the node's processors"
        ),
        &Measured::rate(most(&ours)),
        Bound::at_least(10_000.0).stretch(16_000.0),
    );
    report.beside("a plain hyper server, same clients", format!("{}/s", grouped(most(&hyper), 0)));
    report.beside(
        "latency of the last run, p50 / p99; meanwhile",
        format!("{latencies}; {}", pressure.share()),
    );
    ledger.close(&mut client, report)
}
