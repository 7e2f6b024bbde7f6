//! The parts of a report: what it says about pace, latencies, targets, time and records.

use serde::{Deserialize, Serialize};

use crate::measure::Latencies;
use crate::plan::{Pace, Plan};

/// Nines of the distribution: up to 99.999 %.
const NINES: u32 = 5;
/// Points of the distribution per nine.
const POINTS: u32 = 10;

/// How requests were sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaceShown {
    /// `closed` or `open`.
    pub mode: String,
    /// Clients, or connections at most.
    pub clients: u32,
    /// Requests per second, in an open loop without stages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Stages: seconds, and the value at the end.
    pub stages: Vec<(f64, f64)>,
    /// Threads.
    pub threads: usize,
    /// Connections served more than one request.
    pub keep_alive: bool,
    /// Seconds that a reply could take.
    pub timeout_seconds: f64,
    /// Seconds before, that are not counted.
    pub warm_up_seconds: f64,
}

/// Latencies in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyShown {
    /// Shortest.
    pub min: f64,
    /// Mean.
    pub mean: f64,
    /// Half of the successes took at most so long.
    pub p50: f64,
    /// 75 %.
    pub p75: f64,
    /// 90 %.
    pub p90: f64,
    /// 95 %.
    pub p95: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    #[serde(rename = "p99.9")]
    pub p99_9: f64,
    /// 99.99 %.
    #[serde(rename = "p99.99")]
    pub p99_99: f64,
    /// Longest.
    pub max: f64,
}

/// A point of the distribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Share of the successes, 0 to 1.
    pub share: f64,
    /// Milliseconds.
    pub ms: f64,
}

/// How often a status came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusCount {
    /// Status.
    pub status: u16,
    /// How often.
    pub count: u64,
}

/// How often something came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// What.
    pub class: String,
    /// How often.
    pub count: u64,
}

/// An example of what was wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Class of the error, or status.
    pub what: String,
    /// What it said.
    pub text: String,
}

/// A target and what became of its requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetShown {
    /// Name.
    pub name: String,
    /// Method.
    pub method: String,
    /// URL.
    pub url: String,
    /// Headers, credentials masked.
    pub headers: Vec<(String, String)>,
    /// Length of the body.
    pub body_bytes: usize,
    /// Weight.
    pub weight: u32,
    /// Replies that are no errors.
    pub successes: u64,
    /// Everything else.
    pub errors: u64,
    /// Latencies of the successes.
    pub latency: LatencyShown,
}

/// A part of the measured time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Seconds from the beginning.
    pub at: f64,
    /// Its length in seconds.
    pub seconds: f64,
    /// Replies that are no errors.
    pub successes: u64,
    /// Everything else.
    pub errors: u64,
    /// Milliseconds that half of the successes took at most.
    pub p50: f64,
    /// 99 %.
    pub p99: f64,
    /// Longest.
    pub max: f64,
}

impl Moment {
    /// Successes per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.successes as f64 / self.seconds } else { 0.0 }
    }
}

/// What the look for records has found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordsShown {
    /// Ids that were looked for.
    pub checked: usize,
    /// Those with a record.
    pub found: usize,
    /// Those without.
    pub missing: usize,
    /// The first of them.
    pub missing_ids: Vec<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl PaceShown {
    pub(super) fn of(plan: &Plan) -> Self {
        let (mode, rate, stages) = match &plan.pace {
            Pace::Closed { stages, .. } => ("closed", None, stages),
            Pace::Open { stages, rate, .. } => ("open", stages.is_empty().then_some(*rate), stages),
        };
        Self {
            mode: mode.to_owned(),
            clients: plan.pace.clients(),
            rate,
            stages: stages.iter().map(|stage| (stage.duration.as_secs_f64(), stage.to)).collect(),
            threads: plan.threads,
            keep_alive: plan.keep_alive,
            timeout_seconds: plan.timeout.as_secs_f64(),
            warm_up_seconds: plan.warm_up.as_secs_f64(),
        }
    }

    /// In one line.
    pub(super) fn line(&self) -> String {
        let pace = match (self.mode.as_str(), self.rate) {
            ("open", Some(rate)) => {
                format!("open loop, {rate} requests/s, at most {} connections", self.clients)
            }
            ("open", None) => {
                format!("open loop in {} stages, at most {} connections", self.stages.len(), self.clients)
            }
            (_, _) if self.stages.is_empty() => format!("closed loop, {} clients", self.clients),
            _ => format!("closed loop in {} stages, at most {} clients", self.stages.len(), self.clients),
        };
        let fresh = if self.keep_alive { "" } else { ", a connection per request" };
        format!("{pace}, {} threads{fresh}", self.threads)
    }
}

impl LatencyShown {
    pub(super) fn of(latencies: &Latencies) -> Self {
        if latencies.is_empty() {
            return Self::default();
        }
        let at = |quantile| millis(latencies.value_at_quantile(quantile));
        Self {
            min: millis(latencies.min()),
            mean: rounded(latencies.mean() / 1e6),
            p50: at(0.5),
            p75: at(0.75),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: millis(latencies.max()),
        }
    }

    /// With names, in order.
    pub(super) fn rows(&self) -> [(&'static str, f64); 10] {
        [
            ("min", self.min),
            ("mean", self.mean),
            ("p50", self.p50),
            ("p75", self.p75),
            ("p90", self.p90),
            ("p95", self.p95),
            ("p99", self.p99),
            ("p99.9", self.p99_9),
            ("p99.99", self.p99_99),
            ("max", self.max),
        ]
    }
}

pub(super) fn distribution(latencies: &Latencies) -> Vec<Point> {
    let shares = (0..=NINES * POINTS).map(|step| 1.0 - 10f64.powf(-f64::from(step) / f64::from(POINTS)));
    // Beyond the last success there is nothing to tell.
    let finest = 1.0 - 1.0 / latencies.len().max(1) as f64;
    let point = |share| Point { share: rounded(share), ms: millis(latencies.value_at_quantile(share)) };
    if latencies.is_empty() {
        Vec::new()
    } else {
        shares.filter(|share| *share <= finest).map(point).collect()
    }
}

/// Nanoseconds as milliseconds.
pub(super) fn millis(nanos: u64) -> f64 {
    rounded(nanos as f64 / 1e6)
}

/// To six digits behind the point: more is noise.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}
