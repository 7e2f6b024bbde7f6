//! What is left of a run: figures that can be kept, shown and compared.

mod chart;
mod compare;
mod figures;
mod html;
mod text;

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::compare::Comparison;
pub use self::figures::{
    Example, LatencyShown, Moment, Named, PaceShown, Point, RecordsShown, StatusCount, TargetShown,
};
use self::figures::{distribution, millis, rounded};
use crate::check::Checked;
use crate::measure::Measured;
use crate::plan::Plan;
use crate::target::printable;

/// Name of the form, with its version.
const FORMAT: &str = "chasen-load/1";
/// Largest file that is read, in bytes: a day in seconds has less.
const MAX_FILE: u64 = 64 << 20;
/// Ids of missing records that are listed.
const MAX_LISTED: usize = 100;

/// Why a report cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The file cannot be read.
    #[error("{path} cannot be read: {why}")]
    File {
        /// Which.
        path: String,
        /// Why.
        why: String,
    },
    /// It is no report.
    #[error("{path} is no report of a run (what --json writes): {why}")]
    Format {
        /// Which.
        path: String,
        /// Why.
        why: String,
    },
}

/// A run's figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    format: String,
    /// What it is called.
    pub title: String,
    /// When it was made.
    pub made: String,
    /// How requests were sent.
    pub pace: PaceShown,
    /// How long was measured, in seconds.
    pub seconds: f64,
    /// True if somebody stopped it before its time.
    pub stopped: bool,
    /// Replies that are no errors.
    pub successes: u64,
    /// Everything else.
    pub errors: u64,
    /// Errors among everything that ended, 0 to 1.
    pub error_share: f64,
    /// Successes per second.
    pub rate: f64,
    /// Latencies of the successes.
    pub latency: LatencyShown,
    /// The share of successes (0 to 1) that took at most so long.
    pub distribution: Vec<Point>,
    /// Replies by status.
    pub statuses: Vec<StatusCount>,
    /// What came to nothing, by class.
    pub failures: Vec<Named>,
    /// What was wrong, an example of each sort.
    pub examples: Vec<Example>,
    /// What was asked.
    pub targets: Vec<TargetShown>,
    /// How it went over time.
    pub timeline: Vec<Moment>,
    /// Connections that were made.
    pub connections: u64,
    /// Bytes of replies.
    pub received_bytes: u64,
    /// Requests that were under way when the run was stopped.
    pub cut_off: u64,
    /// What the look for records has found, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<RecordsShown>,
    /// Bounds that were set, and whether they held.
    pub thresholds: Vec<Threshold>,
}

/// A bound that was set for a figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// Which figure.
    pub what: String,
    /// What it may be at most.
    pub limit: f64,
    /// What it is.
    pub value: f64,
}

impl Threshold {
    /// True if it did not hold; a figure that is none does not hold.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.value.is_nan() || self.value > self.limit
    }
}

impl Report {
    /// The report of a run, made now.
    #[must_use]
    pub fn new(title: &str, plan: &Plan, measured: &Measured) -> Self {
        let targets = plan.targets.iter().zip(&measured.targets).map(|(target, counted)| TargetShown {
            name: target.name.clone(),
            method: target.method().to_owned(),
            url: target.url(),
            headers: target.shown_headers(),
            body_bytes: target.body_len(),
            weight: target.weight,
            successes: counted.successes,
            errors: counted.errors,
            latency: LatencyShown::of(&counted.latencies),
        });
        let timeline = measured.slices.iter().map(|slice| Moment {
            at: rounded(slice.begin.as_secs_f64()),
            seconds: rounded(slice.length.as_secs_f64()),
            successes: slice.successes,
            errors: slice.errors,
            p50: millis(slice.p50),
            p99: millis(slice.p99),
            max: millis(slice.max),
        });
        Self {
            format: FORMAT.to_owned(),
            title: printable(title),
            made: now(),
            pace: PaceShown::of(plan),
            seconds: rounded(measured.length.as_secs_f64()),
            stopped: measured.stopped,
            successes: measured.successes(),
            errors: measured.errors(),
            error_share: rounded(measured.error_share()),
            rate: rounded(measured.rate()),
            latency: LatencyShown::of(&measured.latencies),
            distribution: distribution(&measured.latencies),
            statuses: measured
                .statuses
                .iter()
                .map(|&(status, count)| StatusCount { status, count })
                .collect(),
            failures: measured
                .failures
                .iter()
                .map(|(class, count)| Named { class: class.as_str().to_owned(), count: *count })
                .collect(),
            examples: measured
                .examples
                .iter()
                .map(|(what, text)| Example { what: what.clone(), text: text.clone() })
                .collect(),
            targets: targets.collect(),
            timeline: timeline.collect(),
            connections: measured.connections,
            received_bytes: measured.received,
            cut_off: measured.cut_off,
            records: None,
            thresholds: Vec::new(),
        }
    }

    /// Adds what the look for records has found.
    pub fn add_records(&mut self, checked: &Checked) {
        self.records = Some(RecordsShown {
            checked: checked.found + checked.missing.len(),
            found: checked.found,
            missing: checked.missing.len(),
            missing_ids: checked.missing.iter().take(MAX_LISTED).map(|id| format!("{id:032x}")).collect(),
            seconds: rounded(checked.took.as_secs_f64()),
        });
    }

    /// Bounds the share of errors, 0 to 1.
    pub fn limit_errors(&mut self, limit: f64) {
        let what = "error share".to_owned();
        self.thresholds.push(Threshold { what, limit, value: self.error_share });
    }

    /// Bounds the latency that 99 % of the successes stay below. Without a success it is broken.
    pub fn limit_p99(&mut self, limit: Duration) {
        let value = if self.successes == 0 { f64::MAX } else { self.latency.p99 };
        self.thresholds.push(Threshold {
            what: "p99 (ms)".to_owned(),
            limit: limit.as_secs_f64() * 1e3,
            value,
        });
    }

    /// True if nothing went wrong: every bound holds and every record is there; where the share of errors has no
    /// bound, there is none; and something was answered.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let bounds_errors = self.thresholds.iter().any(|threshold| threshold.what == "error share");
        self.successes > 0
            && (bounds_errors || self.errors == 0)
            && !self.thresholds.iter().any(Threshold::is_broken)
            && self.records.as_ref().is_none_or(|records| records.missing == 0)
    }

    /// As it is kept.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Reads what [`Report::to_json`] wrote.
    pub fn read(path: &Path) -> Result<Self, ReportError> {
        let shown = || path.display().to_string();
        let failed = |why: String| ReportError::File { path: shown(), why };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
        file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(|error| failed(error.to_string()))?;
        if text.len() as u64 > MAX_FILE {
            return Err(failed(format!("it has more than {MAX_FILE} bytes")));
        }
        let wrong = |why: String| ReportError::Format { path: shown(), why };
        let report: Self = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if report.format != FORMAT {
            return Err(wrong(format!("its format is '{}', not '{FORMAT}'", printable(&report.format))));
        }
        Ok(report)
    }

    /// For terminals.
    #[must_use]
    pub fn to_text(&self) -> String {
        text::run(self)
    }

    /// A page of its own, with charts.
    #[must_use]
    pub fn to_html(&self) -> String {
        html::run(self)
    }
}

/// The time, to the second.
fn now() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::measure::{ErrorClass, Latencies, PerTarget, Slice};
    use crate::plan::Pace;
    use crate::target::Target;

    /// A report with everything in it, hostile texts included.
    pub(crate) fn sample() -> Report {
        let mut latencies: Latencies = hdrhistogram::Histogram::new(3).unwrap();
        for millis in 1..=1000u64 {
            latencies.record(millis * 1_000_000).unwrap();
        }
        let target = Target::new("POST", "http://h:1/p?x=%3Cscript%3E").unwrap();
        let target = target.header("Authorization", "Basic c2VjcmV0").unwrap().named("<b>&\"'</b>");
        let mut plan = Plan::new(vec![target], Pace::open(500.0), Duration::from_secs(2));
        plan.threads = 2;
        let slice = |second| Slice {
            begin: Duration::from_secs(second),
            length: Duration::from_secs(1),
            successes: 500,
            errors: 3,
            p50: 500_000_000,
            p99: 990_000_000,
            max: 1_000_000_000,
        };
        let measured = Measured {
            length: Duration::from_secs(2),
            targets: vec![PerTarget { successes: 1000, errors: 6, latencies: latencies.clone() }],
            latencies,
            statuses: vec![(200, 1000), (502, 4)],
            failures: vec![(ErrorClass::Timeout, 2)],
            slices: vec![slice(0), slice(1)],
            cut_off: 0,
            connections: 8,
            received: 1 << 20,
            ids: Vec::new(),
            ids_dropped: 0,
            examples: vec![("status 502".to_owned(), "<script>alert(1)</script>".to_owned())],
            stopped: false,
        };
        let mut report = Report::new("a run", &plan, &measured);
        report.add_records(&Checked { found: 999, missing: vec![7], took: Duration::from_secs(1) });
        report.limit_errors(0.01);
        report.limit_p99(Duration::from_millis(500));
        report
    }

    #[test]
    fn a_report_survives_being_kept() {
        let report = sample();
        assert_eq!((report.successes, report.errors, report.rate), (1000, 6, 500.0));
        assert!((report.latency.p99 - 990.0).abs() < 2.0, "{:?}", report.latency);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        std::fs::write(&path, report.to_json()).unwrap();
        assert_eq!(Report::read(&path).unwrap(), report);
        assert!(!report.to_json().contains("c2VjcmV0"));
        for text in ["", "{}", "[1]", &report.to_json().replace(FORMAT, "chasen-load/0")] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(Report::read(&path), Err(ReportError::Format { .. })));
        }
        assert!(matches!(Report::read(&folder.path().join("none")), Err(ReportError::File { .. })));
    }

    #[test]
    fn bounds_decide_whether_a_run_is_good() {
        let mut report = sample();
        assert!(!report.is_good());
        let broken: Vec<bool> = report.thresholds.iter().map(Threshold::is_broken).collect();
        assert_eq!(broken, [false, true]);
        report.thresholds.pop();
        assert!(!report.is_good(), "a record is missing");
        report.records = None;
        assert!(report.is_good());
        report.thresholds.clear();
        assert!(!report.is_good(), "errors, and nobody allows any");
    }
}
