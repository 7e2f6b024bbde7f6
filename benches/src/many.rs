//! Throughput over many actions against that of one of them.

use chasen_loadgen::Target;

use crate::http::{self, Client};
use crate::ledger::Ledger;
use crate::load::{self, Pressure};
use crate::node::Node;
use crate::report::{Bound, Measured, Report};
use crate::stats::most;
use crate::throughput::{CLIENTS, MEASURED, WARM_UP};
use crate::{Failure, kinds};

const REPETITIONS: usize = 5;
const NATIVE: u32 = 100;
const NULL: u32 = 10_000;
/// Weight of the most popular one; those of the others are parts of it.
const HEAVIEST: u32 = 1_000_000;

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    native(report)?;
    null(report)
}

fn native(report: &mut Report) -> Result<(), Failure> {
    // As much as all containers may have; they use little of it.
    let node = Node::with(&[("node.memory", "64 GB")])?;
    let mut client = Client::connect(&node.host)?;
    let stub = kinds::native_stub()?;
    let mut requests = Vec::new();
    for number in 0..NATIVE {
        let name = format!("native-{number}");
        client.put_action(&name, &stub, 128)?;
        client.invoke(&name)?.expect(200)?;
        requests.push(http::call(&node.host, &name)?);
    }
    let what = format!("throughput over {NATIVE} warm native actions ÷ over one");
    compare(report, &node, &what, &requests, Bound::at_least(0.9).stretch(0.95))
}

/// Actions that cost nothing themselves: what the platform has to do for so many of them is all there is.
fn null(report: &mut Report) -> Result<(), Failure> {
    let node = Node::with(&[("node.null-kind", "true"), ("node.memory", "64 GB")])?;
    let mut client = Client::connect(&node.host)?;
    let mut requests = Vec::new();
    for number in 0..NULL {
        let name = format!("null-{number}");
        client.put_action(&name, &serde_json::json!({"kind": "null", "code": ""}), 128)?;
        requests.push(http::call(&node.host, &name)?.weight(HEAVIEST / (number + 1))?);
    }
    let what = format!("throughput over {NULL} actions of the null domain, as Zipf has it, ÷ over one");
    compare(report, &node, &what, &requests, Bound::at_least(0.7).stretch(0.85))
}

/// All of these requests, and the first one alone, in turns.
fn compare(
    report: &mut Report,
    node: &Node,
    what: &str,
    requests: &[Target],
    bound: Bound,
) -> Result<(), Failure> {
    let mut client = Client::connect(&node.host)?;
    let mut ledger = Ledger::open(&mut client)?;
    let (mut many, mut one) = (Vec::new(), Vec::new());
    let pressure = Pressure::begin();
    for _ in 0..REPETITIONS {
        for (rates, requests) in [(&mut one, requests.get(..1)), (&mut many, Some(requests))] {
            let requests = requests.ok_or("nothing to ask for")?;
            ledger.enter(load::closed(CLIENTS, WARM_UP, requests)?)?;
            rates.push(ledger.enter(load::closed(CLIENTS, MEASURED, requests)?)?.rate());
        }
    }
    let (many, one) = (most(&many), most(&one));
    report.judge(what, &Measured::ratio(many / one).with(format!("{many:.0} ÷ {one:.0}/s")), bound);
    report.beside("meanwhile", pressure.share());
    ledger.close(&mut client, report)
}
