//! Calls that nobody waits for: how many are accepted, and that all the work gets done behind it.

use crate::http::{self, Client, GUEST};
use crate::ledger::Ledger;
use crate::load::{self, Pressure};
use crate::node::Node;
use crate::plain::Plain;
use crate::report::{Bound, Measured, Report, grouped};
use crate::stats::{best, most};
use crate::throughput::{CLIENTS, MEASURED, WARM_UP};
use crate::{Failure, kinds};

const REPETITIONS: usize = 5;

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    let settings = [("limits.concurrent-invocations", "unlimited"), ("durability.non-blocking", "memory")];
    let node = Node::with(&settings)?;
    let plain = Plain::hyper()?;
    let mut client = Client::connect(&node.host)?;
    client.put_action("stub", &kinds::native_stub()?, 128)?;
    client.invoke("stub")?.expect(200)?;
    let request = [http::invocation(&node.host, "stub", "", GUEST)?];
    let mut ledger = Ledger::open(&mut client)?;
    let pressure = Pressure::begin();
    let (mut accepted, mut drains, mut hyper) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..REPETITIONS {
        hyper.push(plain.rate(CLIENTS, WARM_UP)?);
        let run = ledger.enter(load::closed(CLIENTS, MEASURED, &request)?)?;
        accepted.push(run.rate());
        drains.push(ledger.settled(&mut client)?.as_secs_f64());
    }
    report.judge(
        &format!("calls accepted of a native stub that nobody waits for, {CLIENTS} clients, backlog drained"),
        &Measured::rate(most(&accepted)),
        Bound::at_least(12_000.0).stretch(25_000.0),
    );
    report.beside("until the backlog was drained", Measured::seconds(best(&drains)));
    report.beside("a plain hyper server, same clients", format!("{}/s", grouped(most(&hyper), 0)));
    report.beside("meanwhile", pressure.share());
    ledger.close(&mut client, report)
}
