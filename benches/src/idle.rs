//! What the node itself holds for a function that is warm and idle.

use std::time::Duration;

use crate::http::Client;
use crate::node::Node;
use crate::report::{Bound, Measured, Report};
use crate::stats::best;
use crate::{Failure, kinds, ready};

const REPETITIONS: usize = 3;
const FUNCTIONS: u32 = 50;
/// Long enough for work behind a call to end, and for idle containers to be frozen.
const SETTLE: Duration = Duration::from_secs(3);

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    let mut each = Vec::new();
    let mut functions = 0.0;
    for _ in 0..REPETITIONS {
        let node = Node::with(&[("node.memory", "32 GB")])?;
        let mut client = Client::connect(&node.host)?;
        let exec = kinds::node()?.exec();
        let mut warm = |name: &str| -> Result<(), Failure> {
            client.put_action(name, &exec, 256)?;
            client.invoke(name)?.expect(200)
        };
        // What the first function of a kind costs, all of them share.
        warm("first")?;
        std::thread::sleep(SETTLE);
        let before = ready::memory(node.pid())?;
        for number in 0..FUNCTIONS {
            warm(&format!("idle-{number}"))?;
        }
        std::thread::sleep(SETTLE);
        let after = ready::memory(node.pid())?;
        each.push((after.own - before.own) / f64::from(FUNCTIONS));
        functions = (after.all - after.own) / f64::from(FUNCTIONS);
    }
    report.judge(
        &format!("memory of the node's own processes for an idle warm function (PSS, {FUNCTIONS} Node.js functions)"),
        &Measured::megabytes(best(&each)),
        Bound::at_most(0.5),
    );
    report.beside("such a function itself", Measured::megabytes(functions));
    Ok(())
}
