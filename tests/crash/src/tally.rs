//! What a campaign adds up to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::oracle::{Request, Sort};

/// How a node died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Death {
    /// Killed at some moment.
    Kill,
    /// By itself, at a write of its log.
    AtWrite,
    /// Killed, and what was not on the disk was lost.
    PowerCut,
}

impl Death {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "kills at random moments",
            Self::AtWrite => "deaths at a write of the log",
            Self::PowerCut => "power cuts",
        }
    }
}

/// One death.
#[derive(Debug, Clone, Copy)]
pub struct Casualty {
    /// How.
    pub death: Death,
    /// When, epoch milliseconds.
    pub at: u64,
    /// True once it is known that it hit work under way.
    pub hit: bool,
}

/// Counts of one lane or of all.
#[derive(Debug, Default)]
pub struct Tally {
    /// Every death.
    pub casualties: Vec<Casualty>,
    /// Requests by sort: sent, and acknowledged.
    pub requests: BTreeMap<Sort, (u64, u64)>,
    /// Runs that were seen.
    pub runs: u64,
    /// Activations that ended as interrupted; as dead letters.
    pub interrupted: u64,
    /// See `interrupted`.
    pub dead: u64,
    /// Requests that were refused for a while.
    pub refused: u64,
    /// Longest time from the start of a node to its ready line.
    pub slowest_start: Duration,
    /// What was wrong.
    pub violations: Vec<String>,
}

impl Tally {
    /// Counts a request that is done with.
    pub fn count(&mut self, request: &Request) {
        let (sent, acknowledged) = self.requests.entry(request.sort).or_default();
        *sent += 1;
        *acknowledged += u64::from(request.acknowledged.is_some());
    }

    /// Adds another lane's.
    pub fn merge(&mut self, other: Self) {
        self.casualties.extend(other.casualties);
        for (sort, (sent, acknowledged)) in other.requests {
            let own = self.requests.entry(sort).or_default();
            *own = (own.0 + sent, own.1 + acknowledged);
        }
        self.runs += other.runs;
        self.interrupted += other.interrupted;
        self.dead += other.dead;
        self.refused += other.refused;
        self.slowest_start = self.slowest_start.max(other.slowest_start);
        self.violations.extend(other.violations);
    }

    /// Share of the deaths that hit work under way, in percent.
    #[must_use]
    pub fn hits(&self) -> f64 {
        let hits = self.casualties.iter().filter(|casualty| casualty.hit).count();
        hits as f64 * 100.0 / self.casualties.len().max(1) as f64
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for death in [Death::Kill, Death::AtWrite, Death::PowerCut] {
            let of = self.casualties.iter().filter(|casualty| casualty.death == death);
            let hits = of.clone().filter(|casualty| casualty.hit).count();
            writeln!(f, "{}: {}, of which hit work under way: {hits}", death.name(), of.count())?;
        }
        for (sort, (sent, acknowledged)) in &self.requests {
            writeln!(f, "requests '{}': {sent}, acknowledged: {acknowledged}", sort.name())?;
        }
        writeln!(f, "runs seen outside the node: {}", self.runs)?;
        writeln!(f, "ended as interrupted: {}, as dead letters: {}", self.interrupted, self.dead)?;
        writeln!(f, "refused for a while: {}", self.refused)?;
        writeln!(f, "longest start after a death: {:.2} s", self.slowest_start.as_secs_f64())?;
        write!(f, "lost, doubled or otherwise wrong: {}", self.violations.len())
    }
}
