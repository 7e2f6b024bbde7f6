//! How far a run is: a bar on a terminal, a line every few seconds elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chasen_loadgen::{Tick, duration};
use indicatif::{ProgressBar, ProgressStyle};

use crate::console;

const BAR: &str = "{bar:30} {percent:>3}% ({elapsed}) {wide_msg}";
/// Time between two lines.
const LINE: Duration = Duration::from_secs(5);
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
        let seconds = slice.length.as_secs_f64();
        let rate = if seconds > 0.0 { slice.successes as f64 / seconds } else { 0.0 };
        let p99 = duration::show(Duration::from_nanos(slice.p99));
        let text = format!("{rate:.0}/s, p99 {p99}, {} successes, {} errors", tick.successes, tick.errors);
        if !self.bar.is_hidden() {
            self.show(at.as_millis(), tick.length.as_millis(), text);
            return;
        }
        if self.quiet || at.as_secs() < self.told.load(Ordering::Relaxed) + LINE.as_secs() {
            return;
        }
        self.told.store(at.as_secs(), Ordering::Relaxed);
        console::note(&format!("{} of {}: {text}", duration::show(at), duration::show(tick.length)));
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
