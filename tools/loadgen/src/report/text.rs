//! A report for terminals.

use std::time::Duration;

use super::{LatencyShown, Report};
use crate::duration::show;

/// Targets beyond this are in the other forms only.
const MAX_TARGETS: usize = 20;
/// Missing ids beyond this are in the other forms only.
const MAX_IDS: usize = 10;

/// Every figure that fits a screen.
pub(super) fn run(report: &Report) -> String {
    let mut lines = vec![format!("{}: {}", report.title, report.pace.line())];
    if report.stopped {
        lines.push(format!(
            "  stopped after {}; {} requests were under way",
            seconds(report.seconds),
            report.cut_off
        ));
    }
    lines.push(format!(
        "  {} successes/s over {} ({} successes, {} errors, {} connections)",
        number(report.rate),
        seconds(report.seconds),
        report.successes,
        report.errors,
        report.connections
    ));
    if report.successes > 0 {
        lines.push(format!("  latency   {}", latency(&report.latency)));
    }
    let statuses = report.statuses.iter().map(|status| format!("{}: {}", status.status, status.count));
    if !report.statuses.is_empty() {
        lines.push(format!("  statuses  {}", statuses.collect::<Vec<_>>().join("  ")));
    }
    let failures = report.failures.iter().map(|failure| format!("{}: {}", failure.class, failure.count));
    if !report.failures.is_empty() {
        lines.push(format!("  failures  {}", failures.collect::<Vec<_>>().join("  ")));
    }
    lines.extend(report.examples.iter().map(|example| format!("    {}: {}", example.what, example.text)));
    if report.targets.len() > 1 {
        for target in report.targets.iter().take(MAX_TARGETS) {
            lines.push(format!(
                "  {}: {} successes, {} errors, p50 {}, p99 {}",
                target.name,
                target.successes,
                target.errors,
                millis(target.latency.p50),
                millis(target.latency.p99)
            ));
        }
        if report.targets.len() > MAX_TARGETS {
            lines.push(format!("  … and {} targets more", report.targets.len() - MAX_TARGETS));
        }
    }
    if let Some(records) = &report.records {
        let found = format!("{} of {} found in {}", records.found, records.checked, seconds(records.seconds));
        lines.push(format!("  records   {found}, {} missing", records.missing));
        lines.extend(records.missing_ids.iter().take(MAX_IDS).map(|id| format!("    missing: {id}")));
    }
    for threshold in &report.thresholds {
        let verdict = if threshold.is_broken() { "NOT held" } else { "held" };
        let (value, limit) = (number(threshold.value), number(threshold.limit));
        lines.push(format!("  bound     {} {value}, at most {limit}: {verdict}", threshold.what));
    }
    lines.join("\n") + "\n"
}

fn latency(latency: &LatencyShown) -> String {
    latency.rows().map(|(name, value)| format!("{name} {}", millis(value))).join("  ")
}

pub(super) fn millis(value: f64) -> String {
    show(Duration::try_from_secs_f64(value / 1e3).unwrap_or(Duration::MAX))
}

pub(super) fn seconds(value: f64) -> String {
    millis(value * 1e3)
}

/// A number without decimals that nobody reads.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        size if size == f64::MAX => "none".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use crate::report::tests::sample;

    #[test]
    fn everything_that_went_wrong_is_on_the_screen() {
        let text = super::run(&sample());
        for part in [
            "500 successes/s",
            "p99.99",
            "502: 4",
            "timeout: 2",
            "999 of 1000 found",
            "missing: 0000",
            "NOT held",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
