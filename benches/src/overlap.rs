//! A function that waits, for many callers at once in one container.

use std::time::Duration;

use serde_json::json;

use crate::Failure;
use crate::http::{self, Client};
use crate::ledger::Ledger;
use crate::load::{self, Pressure};
use crate::node::Node;
use crate::report::{Bound, Measured, Report};
use crate::stats::{best, most};

const REPETITIONS: usize = 3;
/// Callers, and calls that one container may have at once.
const TOGETHER: u32 = 100;
/// How long the function waits, in milliseconds.
pub(crate) const WAITS: f64 = 175.0;
/// So long that the first and the last round, which are not full, count for little.
const MEASURED: Duration = Duration::from_secs(20);
const CODE: &str = "async function main() { await new Promise((go) => setTimeout(go, 175)); return {}; }";

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    let mut stage = Stage::start()?;
    let mut ledger = Ledger::open(&mut stage.client)?;
    let pressure = Pressure::begin();
    let (mut means, mut rates) = (Vec::new(), Vec::new());
    for _ in 0..REPETITIONS {
        let run = ledger.enter(stage.load(MEASURED)?)?;
        means.push(run.latencies.mean() / 1e6);
        rates.push(run.rate());
    }
    let what = format!("asynchronous function of {WAITS} ms, {TOGETHER} clients, one container");
    // What the callers of a closed loop get a second follows from what a call takes; the rate counts the time until the
    // last answer too.
    report.judge(&format!("{what}: mean"), &Measured::millis(best(&means)), Bound::at_most(178.0));
    report.judge(&format!("{what}: calls"), &Measured::rate(most(&rates)), Bound::at_least(560.0));
    report.beside("meanwhile", pressure.share());
    ledger.close(&mut stage.client, report)
}

/// A node with the function, warm, in the only container that it may have.
pub(crate) struct Stage {
    client: Client,
    node: Node,
}

impl Stage {
    pub(crate) fn start() -> Result<Self, Failure> {
        let node = Node::with(&[("limits.action-concurrency-max", &TOGETHER.to_string())])?;
        let mut client = Client::connect(&node.host)?;
        let exec = json!({"kind": "nodejs:20", "code": CODE});
        let limits = json!({"memory": 256, "concurrency": TOGETHER, "instances": 1});
        client.put("waits", &json!({"exec": exec, "limits": limits}))?;
        client.invoke("waits")?.expect(200)?;
        Ok(Self { client, node })
    }

    pub(crate) fn load(&self, time: Duration) -> Result<chasen_loadgen::Measured, Failure> {
        load::closed(TOGETHER, time, &[http::call(&self.node.host, "waits")?])
    }
}
