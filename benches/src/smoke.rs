//! B1, B2 and B5 in short, against references of the same moment: they fail when something is grossly wrong, on loaded
//! machines and slow ones too, and say nothing about speed.

use std::time::Duration;

use crate::http::{self, Client};
use crate::ledger::Ledger;
use crate::node::Node;
use crate::overlap::{self, WAITS};
use crate::plain::Plain;
use crate::report::{Bound, Measured, Report};
use crate::stats::millis;
use crate::throughput::CLIENTS;
use crate::warm::Sides;
use crate::{Failure, kinds, load};

const SHORT: Duration = Duration::from_millis(1_500);

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    warm(report)?;
    throughput(report)?;
    overlap(report)
}

fn warm(report: &mut Report) -> Result<(), Failure> {
    let (ours, reference) = Sides::start()?.measure(100, 600)?;
    let [ours, reference] = [ours, reference].map(|samples| millis(samples.at(0.5)));
    report.judge(
        "warm blocking no-op ÷ direct round trip, p50",
        &Measured::ratio(ours / reference).with(format!("{ours:.3} ÷ {reference:.3} ms")),
        Bound::at_most(30.0),
    );
    Ok(())
}

fn throughput(report: &mut Report) -> Result<(), Failure> {
    let (node, plain) = (Node::start()?, Plain::hyper()?);
    let mut client = Client::connect(&node.host)?;
    client.put_action("stub", &kinds::native_stub()?, 128)?;
    client.invoke("stub")?.expect(200)?;
    let mut ledger = Ledger::open(&mut client)?;
    let hyper = plain.rate(CLIENTS, SHORT)?;
    let ours = ledger.enter(load::closed(CLIENTS, SHORT, &[http::call(&node.host, "stub")?])?)?.rate();
    report.judge(
        "warm blocking calls of a native stub ÷ a plain hyper server",
        &Measured::ratio(ours / hyper).with(format!("{ours:.0} ÷ {hyper:.0}/s")),
        Bound::at_least(0.05),
    );
    ledger.close(&mut client, report)
}

fn overlap(report: &mut Report) -> Result<(), Failure> {
    let run = load::all_succeeded(overlap::Stage::start()?.load(SHORT * 2)?)?;
    report.judge(
        "100 callers of a function of 175 ms in one container, mean",
        &Measured::millis(run.latencies.mean() / 1e6),
        Bound::at_most(2.0 * WAITS),
    );
    Ok(())
}
