//! Reports side by side, as a table for terminals and for pages.

use super::Report;

type Row = (&'static str, fn(&Report) -> String);

const ROWS: [Row; 18] = [
    ("activations", |report| report.activations.to_string()),
    ("completed", |report| report.completed.to_string()),
    ("refused (429 / 503)", |report| format!("{} / {}", report.refused.throttled, report.refused.overloaded)),
    ("timed out / failed", |report| format!("{} / {}", report.timed_out, report.failed)),
    ("cold starts (of them stem cells)", |report| format!("{} ({})", report.cold, report.stem)),
    ("cold-start share", |report| format!("{:.3} %", report.cold_share * 100.0)),
    ("wait p50, ms", |report| millis(report.wait.p50)),
    ("wait p99, ms", |report| millis(report.wait.p99)),
    ("wait max, ms", |report| millis(report.wait.max)),
    ("slowdown mean", |report| format!("{:.2}", report.slowdown.mean)),
    ("slowdown p99", |report| format!("{:.2}", report.slowdown.p99)),
    ("memory, MB·s", |report| whole(report.memory.total)),
    ("idle, MB·s", |report| whole(report.memory.idle)),
    ("wasted, MB·s", |report| whole(report.memory.wasted)),
    ("containers made", |report| report.containers.started.to_string()),
    ("containers, peak", |report| report.containers.peak.to_string()),
    ("evicted / expired", |report| format!("{} / {}", report.containers.evicted, report.containers.expired)),
    ("worst namespace's p99 ÷ median", |report| format!("{:.2}", report.unfairness)),
];

fn millis(time: f64) -> String {
    if time < 10.0 { format!("{time:.2}") } else { format!("{time:.0}") }
}

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

/// Reports of one trace in columns, with a heading that names the trace and the seed. Empty for no reports.
#[must_use]
pub fn table(reports: &[Report]) -> String {
    let Some(first) = reports.first() else { return String::new() };
    let mut lines =
        vec![row(&format!("{}, seed {}", first.trace, first.seed), reports, |one| one.policy.clone())];
    lines.extend(ROWS.iter().map(|(name, value)| row(name, reports, value)));
    let columns = reports.len() + 1;
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let rule: Vec<String> = widths
        .iter()
        .enumerate()
        .map(|(column, width)| {
            let dashes = "-".repeat(width.saturating_sub(usize::from(column > 0)).max(1));
            if column > 0 { format!("{dashes}:") } else { dashes }
        })
        .collect();
    lines.insert(1, rule);
    lines.iter().map(|line| aligned(line, &widths)).collect()
}

fn row(name: &str, reports: &[Report], value: impl Fn(&Report) -> String) -> Vec<String> {
    std::iter::once(name.to_owned()).chain(reports.iter().map(value)).collect()
}

/// Names to the left, numbers to the right.
fn aligned(line: &[String], widths: &[usize]) -> String {
    let mut text = String::from("|");
    for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
        match column {
            0 => text.push_str(&format!(" {cell:<width$} |")),
            _ => text.push_str(&format!(" {cell:>width$} |")),
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use chasen_entity::EntityName;

    use super::*;
    use crate::report::{Ending, Tally};

    #[test]
    fn reports_stand_side_by_side() {
        let report = |policy: &str| {
            let names = ["a", "b"].into_iter().filter_map(EntityName::new);
            let mut tally = Tally::new(names).unwrap();
            tally.activations = 3;
            tally.holds(256, 0);
            tally.begins(0, 0, 1000, false);
            tally.begins(1, 9_000, 1000, true);
            tally.ends(Ending::Completed);
            tally.ends(Ending::Completed);
            tally.ends(Ending::Overloaded);
            tally.idled(256, 500_000, true);
            tally.frees(256, 2_000_000);
            tally.report(policy, "steady", 7, 3_000_000)
        };
        let text = table(&[report("a"), report("another")]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), ROWS.len() + 2);
        assert!(lines.iter().all(|line| line.chars().count() == lines[0].chars().count()), "{text}");
        for (name, value) in [
            ("steady, seed 7", "another"),
            ("refused (429 / 503)", "0 / 1"),
            ("wait max, ms", "9.00"),
            ("slowdown mean", "5.50"),
            ("memory, MB·s", "512"),
            ("wasted, MB·s", "128"),
            ("worst namespace's p99 ÷ median", "9.0"),
        ] {
            assert!(lines.iter().any(|line| line.contains(name) && line.contains(value)), "{name}: {text}");
        }
        assert_eq!(table(&[]), "");
    }
}
