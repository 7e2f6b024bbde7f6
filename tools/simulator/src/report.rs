//! What a simulation comes to: one report for each policy, as text or JSON.

mod tally;
mod text;

use serde::Serialize;

pub(crate) use tally::{Ending, Tally};
pub use text::table;

/// What one policy made of a trace. Times are in milliseconds; memory is in MB·seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Policy.
    pub policy: String,
    /// Trace.
    pub trace: String,
    /// Seed of everything drawn.
    pub seed: u64,
    /// Calls that came.
    pub activations: u64,
    /// Calls that ran to their end.
    pub completed: u64,
    /// Calls that were refused at the door.
    pub refused: Refused,
    /// Calls that waited for their time and got no container.
    pub timed_out: u64,
    /// Calls that ended with a node, or because no container could be made.
    pub failed: u64,
    /// Calls that waited for the start of their own container, stem cells among them.
    pub cold: u64,
    /// Those of them that a stem cell served.
    pub stem: u64,
    /// `cold` ÷ all that ran.
    pub cold_share: f64,
    /// From the call to the beginning of its run.
    pub wait: Wait,
    /// (Wait + run) ÷ run.
    pub slowdown: Slowdown,
    /// What containers held.
    pub memory: Memory,
    /// Containers.
    pub containers: Containers,
    /// The worst namespace's p99 of waiting ÷ that of the median namespace, neither below a millisecond.
    pub unfairness: f64,
    /// The five namespaces that waited longest, by their p99.
    pub namespaces: Vec<NamespaceReport>,
    /// Everything that happened, as the simulation counts it.
    pub events: u64,
}

/// What one namespace had. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceReport {
    /// Which.
    pub namespace: String,
    /// Calls of it that ran.
    pub ran: u64,
    /// Those that waited for the start of their own container.
    pub cold: u64,
    /// Half of its calls waited at most this long.
    pub wait_p50: f64,
    /// 99 of 100.
    pub wait_p99: f64,
}

/// Refusals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// 429: more of one namespace in flight than it may have.
    pub throttled: u64,
    /// 503: no room to wait.
    pub overloaded: u64,
}

/// Waiting, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Wait {
    /// Half of the calls waited at most this long.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
    /// All.
    pub max: f64,
}

/// Slowdown of calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Slowdown {
    /// Of all on the average.
    pub mean: f64,
    /// 99 of 100 were slowed down at most by this.
    pub p99: f64,
}

/// Memory over time, in MB·seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// Of everything that is not dead.
    pub total: f64,
    /// Of containers in which nothing ran.
    pub idle: f64,
    /// Of containers that nobody came back to, and stem cells that nobody took.
    pub wasted: f64,
}

/// Containers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Containers {
    /// Made, stem cells among them.
    pub started: u64,
    /// Given to actions that asked for one.
    pub granted: u64,
    /// Most at a time.
    pub peak: u64,
    /// Stopped for others.
    pub evicted: u64,
    /// Stopped because nobody came back.
    pub expired: u64,
}
