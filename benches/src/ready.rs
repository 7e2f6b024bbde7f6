//! How soon a node takes work, and what it holds while idle.

use std::fs;
use std::time::Duration;

use crate::Failure;
use crate::node::Node;
use crate::report::{Bound, Measured, Report};
use crate::stats::{best, millis};

const REPETITIONS: usize = 5;
/// Long enough for start-up work in the background to end.
const SETTLE: Duration = Duration::from_secs(3);

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    let mut ready = Vec::new();
    let mut held = Vec::new();
    for _ in 0..REPETITIONS {
        let node = Node::start()?;
        ready.push(millis(node.ready_after));
        std::thread::sleep(SETTLE);
        held.push(memory(node.pid())?.all);
    }
    report.judge("`serve` to ready", &Measured::millis(best(&ready)), Bound::at_most(1_000.0));
    let what = "idle memory of all processes of the node (PSS)";
    report.judge(what, &Measured::megabytes(best(&held)), Bound::at_most(80.0));
    Ok(())
}

/// Memory of a node in MB; pages that several processes have count once.
pub(crate) struct Memory {
    /// Of the processes that run the node's own program: the node, its helper and what that leaves in cells.
    pub(crate) own: f64,
    /// With everything that they have started.
    pub(crate) all: f64,
}

/// What a node's process and its descendants hold.
pub(crate) fn memory(node: u32) -> Result<Memory, Failure> {
    let mut memory = Memory { own: 0.0, all: 0.0 };
    let program = fs::read_link(format!("/proc/{node}/exe"))?;
    for (pid, _) in chasen_testkit::descendants(node).into_iter().chain([(node, String::new())]) {
        // Who has ended since holds nothing.
        let Some(held) = proportional(pid) else { continue };
        memory.all += held;
        if fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|own| own == program) {
            memory.own += held;
        }
    }
    Ok(memory)
}

/// Memory of a process in MB.
fn proportional(pid: u32) -> Option<f64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let held = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(held.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}
