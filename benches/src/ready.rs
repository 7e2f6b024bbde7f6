//! How soon a node takes work, and what it holds while idle.

use std::fs;
use std::time::Duration;

use crate::node::Node;
use crate::stats::{best, millis};
use crate::{Failure, report};

const REPETITIONS: usize = 5;
/// Long enough for start-up work in the background to end.
const SETTLE: Duration = Duration::from_secs(3);

pub(crate) fn run() -> Result<(), Failure> {
    let mut ready = Vec::new();
    let mut held = Vec::new();
    for _ in 0..REPETITIONS {
        let node = Node::start()?;
        ready.push(millis(node.ready_after));
        std::thread::sleep(SETTLE);
        held.push(proportional_memory(node.pid())?);
    }
    report("`serve` to ready", &format!("{:.0} ms", best(&ready)), "≤ 1 000 ms");
    report("idle memory of all processes of the node (PSS)", &format!("{:.1} MB", best(&held)), "≤ 80 MB");
    Ok(())
}

/// Memory of a process and its descendants in MB; shared pages are counted once.
fn proportional_memory(pid: u32) -> Result<f64, Failure> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let own: f64 = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .and_then(|rest| rest.split_whitespace().next())
        .ok_or("no Pss in smaps_rollup")?
        .parse()?;
    let mut total = own / 1024.0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let children = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
            total += proportional_memory(child)?;
        }
    }
    Ok(total)
}
