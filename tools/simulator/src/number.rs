//! Times and counts as numbers with a point, and back.

use std::time::Duration;

use crate::trace::{Micros, SECOND};

/// A count or a time.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts and times of simulations are far below 2^53")]
pub fn float(value: u64) -> f64 {
    value as f64
}

/// A time or a count, rounded; 0 where it is negative or no number.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "casts to whole numbers saturate"
)]
pub fn micros(value: f64) -> Micros {
    value.round() as Micros
}

/// A time in seconds.
#[must_use]
pub fn seconds(time: Micros) -> f64 {
    float(time) / float(SECOND)
}

/// A duration as the time of a simulation.
#[must_use]
pub fn from_duration(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}

/// The share that a part has of a whole; 0 of nothing.
#[must_use]
pub fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { float(part) / float(whole) }
}
