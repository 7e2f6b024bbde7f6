//! Figures: percentiles of durations and how they are printed.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::Failure;

/// Durations of many calls, in nanoseconds, three significant digits.
pub(crate) struct Samples(Histogram<u64>);

/// Longest duration that is told apart, in nanoseconds.
const LONGEST: u64 = 600_000_000_000;

impl Samples {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self(Histogram::new_with_bounds(1, LONGEST, 3)?))
    }

    pub(crate) fn record(&mut self, duration: Duration) {
        self.0.saturating_record(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        let _ = self.0.add(&other.0);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The duration that this share of the calls stays below.
    pub(crate) fn at(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(quantile))
    }
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The smallest of a few repetitions: what the machine can do when nobody else disturbs it.
pub(crate) fn best(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

/// The largest of a few repetitions: the same for rates.
pub(crate) fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}
