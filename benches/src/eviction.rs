//! Eight actions in turn with memory for four: every call has to end somebody else's container first.

use std::time::Instant;

use serde_json::Value;

use crate::http::Client;
use crate::load::Pressure;
use crate::node::Node;
use crate::report::{Bound, Measured, Report};
use crate::starts::started;
use crate::stats::most;
use crate::{Failure, kinds};

const REPETITIONS: usize = 5;
const ACTIONS: usize = 8;
const ROOM: usize = 4;

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    turns(report, "Node.js", &kinds::node()?.exec(), 256, 4, Bound::at_least(10.0).stretch(20.0))?;
    turns(report, "native", &kinds::native_stub()?, 128, 20, Bound::at_least(100.0).stretch(200.0))
}

/// So many rounds over all actions, one call at a time.
fn turns(
    report: &mut Report,
    name: &str,
    exec: &Value,
    memory: u32,
    rounds: usize,
    bound: Bound,
) -> Result<(), Failure> {
    let node = Node::without_stem_cells(&[("node.memory", &format!("{} MB", memory as usize * ROOM))])?;
    let mut client = Client::connect(&node.host)?;
    let actions: Vec<String> = (0..ACTIONS).map(|number| format!("a{number}")).collect();
    for action in &actions {
        client.put_action(action, exec, memory)?;
    }
    for action in &actions {
        started(&mut client, action)?;
    }
    let pressure = Pressure::begin();
    let mut rates = Vec::new();
    for _ in 0..REPETITIONS {
        let begun = Instant::now();
        for _ in 0..rounds {
            for action in &actions {
                started(&mut client, action)?;
            }
        }
        rates.push((rounds * ACTIONS) as f64 / begun.elapsed().as_secs_f64());
    }
    report.judge(
        &format!("{ACTIONS} {name} actions in turn with memory for {ROOM}, every call evicts, 0 errors"),
        &Measured::rate(most(&rates)),
        bound,
    );
    report.beside("meanwhile", pressure.share());
    Ok(())
}
