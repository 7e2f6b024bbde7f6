//! Two runs side by side.

use super::text::number;
use super::{Report, html};
use crate::target::printable;

/// One figure of both.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Which.
    pub what: &'static str,
    /// In the first run.
    pub before: f64,
    /// In the second.
    pub after: f64,
    /// The second in units of the first; nothing if the first is 0.
    pub ratio: Option<f64>,
}

/// Two runs, figure by figure.
#[derive(Debug, Clone)]
pub struct Comparison {
    pub(super) before: Report,
    pub(super) after: Report,
    /// Every figure that both have.
    pub rows: Vec<Row>,
}

impl Comparison {
    /// The second beside the first.
    #[must_use]
    pub fn new(before: Report, after: Report) -> Self {
        let row = |what, before: f64, after: f64| {
            let ratio = (before != 0.0).then_some(after / before);
            Row { what, before, after, ratio }
        };
        let mut rows = vec![
            row("successes/s", before.rate, after.rate),
            row("error share", before.error_share, after.error_share),
        ];
        // A run without a success has no latencies; none is not fast.
        if before.successes > 0 && after.successes > 0 {
            let latencies = before.latency.rows().into_iter().zip(after.latency.rows());
            rows.extend(latencies.map(|((name, before), (_, after))| row(name, before, after)));
        }
        Self { before, after, rows }
    }

    /// For terminals; latencies in milliseconds.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { before, after, rows } = self;
        // Who knows whose reports these are?
        let name = |report: &Report| format!("{}, {}", printable(&report.title), printable(&report.made));
        let mut text = format!("before: {}\nafter:  {}\n", name(before), name(after));
        if before.pace != after.pace {
            text += &format!("the runs differ: {} / {}\n", before.pace.line(), after.pace.line());
        }
        text += &format!("{:<14} {:>14} {:>14} {:>16}\n", "", "before", "after", "after ÷ before");
        for row in rows {
            let ratio = row.ratio.map(|ratio| format!("{ratio:.3}")).unwrap_or_default();
            let unit = if row.what.contains(' ') || row.what.contains('/') { "" } else { " ms" };
            let name = format!("{}{unit}", row.what);
            text += &format!("{name:<14} {:>14} {:>14} {ratio:>16}\n", number(row.before), number(row.after));
        }
        text
    }

    /// A page of its own, with charts.
    #[must_use]
    pub fn to_html(&self) -> String {
        html::comparison(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn figures_are_held_against_each_other() {
        let (before, mut after) = (sample(), sample());
        after.rate = 750.0;
        after.pace.clients = 9;
        after.title = "<i>\u{1b}[2J".to_owned();
        let comparison = Comparison::new(before, after);
        assert_eq!(comparison.rows.first().and_then(|row| row.ratio), Some(1.5));
        let text = comparison.to_text();
        assert!(
            text.contains("1.500") && text.contains("p99.99 ms") && text.contains("the runs differ"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'), "{text}");
        let page = comparison.to_html();
        assert!(page.contains("&lt;i&gt;") && page.matches("class=\"line s1\"").count() == 3, "{page}");
    }

    #[test]
    fn a_run_without_a_success_is_not_a_fast_one() {
        let (before, mut after) = (sample(), sample());
        after.successes = 0;
        let shown: Vec<&str> = Comparison::new(before, after).rows.iter().map(|row| row.what).collect();
        assert_eq!(shown, ["successes/s", "error share"]);
    }
}
