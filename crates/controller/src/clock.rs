//! The time of day.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chasen_entity::Millis;

/// Now, in epoch milliseconds.
pub(crate) fn now() -> Millis {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// A duration in whole milliseconds.
pub(crate) fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
