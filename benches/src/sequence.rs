//! A sequence of five steps against five calls, one after the other.

use std::time::Instant;

use serde_json::json;

use crate::http::Client;
use crate::load::Pressure;
use crate::node::Node;
use crate::report::{Bound, Measured, Report};
use crate::stats::{Samples, best, millis};
use crate::{Failure, kinds};

const REPETITIONS: usize = 5;
const STEPS: usize = 5;
const ROUNDS: usize = 200;

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    let node = Node::start()?;
    let mut client = Client::connect(&node.host)?;
    client.put_action("stub", &kinds::native_stub()?, 128)?;
    let exec = json!({"kind": "sequence", "components": vec!["/_/stub"; STEPS]});
    client.put("steps", &json!({ "exec": exec }))?;
    client.invoke("steps")?.expect(200)?;
    let pressure = Pressure::begin();
    let (mut ours, mut reference) = (Vec::new(), Vec::new());
    for _ in 0..REPETITIONS {
        let (mut sequence, mut calls) = (Samples::new()?, Samples::new()?);
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            client.invoke("steps")?.expect(200)?;
            sequence.record(begun.elapsed());
            let begun = Instant::now();
            for _ in 0..STEPS {
                client.invoke("stub")?.expect(200)?;
            }
            calls.record(begun.elapsed());
        }
        ours.push(millis(sequence.at(0.5)));
        reference.push(millis(calls.at(0.5)));
    }
    let (ours, reference) = (best(&ours), best(&reference));
    report.judge(
        &format!("sequence of {STEPS} native steps ÷ {STEPS} direct calls, p50"),
        &Measured::ratio(ours / reference).with(format!("{ours:.2} ÷ {reference:.2} ms")),
        Bound::at_most(0.8),
    );
    report.beside("meanwhile", pressure.share());
    Ok(())
}
