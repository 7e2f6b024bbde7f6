//! How far a run is: a bar on a terminal, a line every few seconds elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chasen_loadgen::{Tick, duration};
use indicatif::{ProgressBar, ProgressStyle};

use crate::console;

const BAR: &str = "{bar:30} {percent:>3}% ({elapsed}) {wide_msg}";
/// Until the first line, and from then on between two: in seconds of the run.
const FIRST_LINE: u64 = 1;
const LINE: u64 = 5;
/// Looks for records between two lines; there is one a second.
const LOOKS: u64 = 5;

pub(super) struct Progress {
    bar: ProgressBar,
    /// Nothing at all is shown.
    quiet: bool,
    /// Seconds of the run that the last line told, or looks since.
    told: AtomicU64,
}

impl Progress {
    pub(super) fn new(quiet: bool) -> Self {
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::no_length() };
        Self { bar, quiet, told: AtomicU64::new(0) }
    }

    /// The run is so far.
    pub(super) fn at(&self, tick: &Tick) {
        let slice = &tick.slice;
        let at = slice.begin + slice.length;
        if !self.bar.is_hidden() {
            self.show(at.as_millis(), tick.length.as_millis(), figures(tick));
        } else if self.line_is_due(at) {
            let (at, length) = (duration::show(at), duration::show(tick.length));
            console::note(&format!("{at} of {length}: {}", figures(tick)));
        }
    }

    /// True soon after the beginning and then every few seconds of the run, where there is no bar.
    fn line_is_due(&self, at: Duration) -> bool {
        let next = match self.told.load(Ordering::Relaxed) {
            0 => FIRST_LINE,
            told => (told / LINE + 1) * LINE,
        };
        let is_due = !self.quiet && at.as_secs() >= next;
        if is_due {
            self.told.store(at.as_secs(), Ordering::Relaxed);
        }
        is_due
    }

    /// So many records are found.
    pub(super) fn found(&self, found: usize, of: usize) {
        if !self.bar.is_hidden() {
            self.show(found as u128, of as u128, "records are looked for".to_owned());
        } else if !self.quiet && self.told.fetch_add(1, Ordering::Relaxed) % LOOKS == LOOKS - 1 {
            console::note(&format!("{found} of {of} records found"));
        }
    }

    /// A part is over.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
        self.bar.reset();
        self.told.store(0, Ordering::Relaxed);
    }

    fn show(&self, position: u128, length: u128, text: String) {
        let bounded = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
        if self.bar.length() != Some(bounded(length)) {
            if let Ok(style) = ProgressStyle::with_template(BAR) {
                self.bar.set_style(style);
            }
            self.bar.set_length(bounded(length));
        }
        self.bar.set_position(bounded(position).min(bounded(length)));
        self.bar.set_message(text);
    }
}

/// What a slice of time and the run so far have given.
fn figures(tick: &Tick) -> String {
    let slice = &tick.slice;
    let seconds = slice.length.as_secs_f64();
    let rate = if seconds > 0.0 { slice.successes as f64 / seconds } else { 0.0 };
    let p99 = duration::show(Duration::from_nanos(slice.p99));
    format!("{rate:.0}/s, p99 {p99}, {} successes, {} errors", tick.successes, tick.errors)
}

#[cfg(test)]
mod tests {
    use chasen_loadgen::Slice;

    use super::*;

    #[test]
    fn a_line_tells_every_few_seconds_how_it_goes() {
        let progress = Progress::new(false);
        let told: Vec<u64> =
            (1..=17).filter(|second| progress.line_is_due(Duration::from_secs(*second))).collect();
        assert_eq!(told, [1, 5, 10, 15]);
        let quiet = Progress::new(true);
        assert!(!quiet.line_is_due(Duration::from_secs(5)));
    }

    #[test]
    fn rates_are_those_of_the_last_slice() {
        let length = Duration::from_millis(500);
        let slice =
            Slice { begin: length, length, successes: 100, errors: 1, p50: 1, p99: 2_500_000, max: 3 };
        let tick = Tick { slice, successes: 150, errors: 3, length: Duration::from_secs(10) };
        assert_eq!(figures(&tick), "200/s, p99 2.50 ms, 150 successes, 3 errors");
    }
}
