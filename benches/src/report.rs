//! The table that a run prints: what was measured, what it must be, and whether it is.

use std::fmt;

/// Rows of a run, printed as they come, and how many bounds were missed.
pub(crate) struct Report {
    id: &'static str,
    missed: Vec<String>,
}

impl Report {
    /// Begins the table.
    pub(crate) fn begin() -> Self {
        println!(
            "| id | what | measured | must | stretch | verdict |\n|---|---|---|---|---|---|\n| | this run | {} | | | |",
            machine()
        );
        Self { id: "", missed: Vec::new() }
    }

    /// The rows that follow belong to this benchmark.
    pub(crate) fn belongs_to(&mut self, id: &'static str) {
        self.id = id;
    }

    /// A row that is held against a bound.
    pub(crate) fn judge(&mut self, what: &str, measured: &Measured, bound: Bound) {
        let Bound { must, stretch, .. } = bound;
        let verdict = if !bound.holds(measured.value, must) {
            self.missed.push(format!(
                "{}: {what}: {measured}, must be {}",
                self.id,
                bound.shown(must, measured)
            ));
            "**not met**"
        } else if stretch.is_some_and(|stretch| bound.holds(measured.value, stretch)) {
            "met, stretch too"
        } else {
            "met"
        };
        let stretch = stretch.map(|stretch| bound.shown(stretch, measured)).unwrap_or_default();
        let must = bound.shown(must, measured);
        println!("| {} | {what} | {measured} | {must} | {stretch} | {verdict} |", self.id);
    }

    /// A row that stands beside another one.
    pub(crate) fn beside(&self, what: &str, measured: impl fmt::Display) {
        println!("| {} |  {what} | {measured} | | | |", self.id);
    }

    /// A benchmark that came to no figure.
    pub(crate) fn failed(&mut self, why: &str) {
        self.missed.push(format!("{}: {why}", self.id));
        println!("| {} | came to no figure | {} | | | **not met** |", self.id, why.replace(['\n', '|'], " "));
    }

    /// What was missed, one line each.
    pub(crate) fn missed(&self) -> &[String] {
        &self.missed
    }
}

/// Processors, memory and kernel, as the system tells them.
fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let memory = read("/proc/meminfo");
    let memory = memory.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok());
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{processors} processors, {} GB, Linux {}", memory.unwrap_or_default() >> 20, kernel.trim())
}

/// A value with its unit, and what else is worth saying about it.
pub(crate) struct Measured {
    value: f64,
    unit: &'static str,
    decimals: usize,
    beside: String,
}

impl Measured {
    pub(crate) fn millis(value: f64) -> Self {
        let decimals = if value.abs() < 1.0 { 3 } else { 1 };
        Self { value, unit: " ms", decimals, beside: String::new() }
    }

    pub(crate) fn seconds(value: f64) -> Self {
        Self { value, unit: " s", decimals: 2, beside: String::new() }
    }

    pub(crate) fn megabytes(value: f64) -> Self {
        Self { value, unit: " MB", decimals: 2, beside: String::new() }
    }

    pub(crate) fn rate(value: f64) -> Self {
        Self { value, unit: "/s", decimals: usize::from(value < 100.0), beside: String::new() }
    }

    pub(crate) fn ratio(value: f64) -> Self {
        Self { value, unit: "", decimals: 2, beside: String::new() }
    }

    pub(crate) fn count(value: u64) -> Self {
        Self { value: value as f64, unit: "", decimals: 0, beside: String::new() }
    }

    /// Shown in brackets behind the value.
    pub(crate) fn with(mut self, beside: impl fmt::Display) -> Self {
        self.beside = beside.to_string();
        self
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", grouped(self.value, self.decimals), self.unit)?;
        if self.beside.is_empty() { Ok(()) } else { write!(f, " ({})", self.beside) }
    }
}

/// Where a value must lie, and where it would be even better.
#[derive(Clone, Copy)]
pub(crate) struct Bound {
    must: f64,
    stretch: Option<f64>,
    is_upper: bool,
}

impl Bound {
    pub(crate) const fn at_most(must: f64) -> Self {
        Self { must, stretch: None, is_upper: true }
    }

    pub(crate) const fn at_least(must: f64) -> Self {
        Self { must, stretch: None, is_upper: false }
    }

    pub(crate) const fn stretch(mut self, stretch: f64) -> Self {
        self.stretch = Some(stretch);
        self
    }

    /// Values that are no numbers hold no bound.
    fn holds(self, value: f64, bound: f64) -> bool {
        if self.is_upper { value <= bound } else { value >= bound }
    }

    fn shown(self, bound: f64, measured: &Measured) -> String {
        let sign = if self.is_upper { '≤' } else { '≥' };
        // As many decimals as it has.
        let decimals = (0..3).find(|decimals| (bound * 10f64.powi(*decimals)).fract() == 0.0).unwrap_or(3);
        format!("{sign} {}{}", grouped(bound, decimals as usize), measured.unit)
    }
}

/// A number in groups of three digits: `12 345.6`.
pub(crate) fn grouped(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut shown = String::with_capacity(text.len() + 4);
    for (place, digit) in whole.chars().enumerate() {
        let left = whole.len() - place;
        if place > 0 && left % 3 == 0 && !shown.ends_with('-') && whole.len() > 4 {
            shown.push(' ');
        }
        shown.push(digit);
    }
    shown + fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (value, decimals, text) in [
            (0.25, 2, "0.25"),
            (9_999.0, 0, "9999"),
            (10_000.0, 0, "10 000"),
            (-123_456.7, 1, "-123 456.7"),
            (1e6, 0, "1 000 000"),
        ] {
            assert_eq!(grouped(value, decimals), text);
        }
    }

    #[test]
    fn bounds_are_kept_or_missed() {
        let mut report = Report { id: "B0", missed: Vec::new() };
        report.judge("fast enough", &Measured::millis(0.2), Bound::at_most(0.25).stretch(0.15));
        report.judge("often enough", &Measured::rate(12_000.0), Bound::at_least(10_000.0).stretch(16_000.0));
        assert!(report.missed().is_empty());
        report.judge("too slow", &Measured::millis(0.3), Bound::at_most(0.25));
        report.judge("nothing", &Measured::ratio(f64::NAN), Bound::at_least(0.5));
        report.failed("no node");
        assert_eq!(
            report.missed(),
            ["B0: too slow: 0.300 ms, must be ≤ 0.25 ms", "B0: nothing: NaN, must be ≥ 0.5", "B0: no node"]
        );
    }
}
