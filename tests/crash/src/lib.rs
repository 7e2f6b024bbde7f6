//! Harnesses that try to make a node lose something.
//!
//! `cargo xtask crash` kills real nodes under asynchronous load, at random moments and at every write of their log, and
//! cuts their power. Functions tell a [`witness`] outside the node of each run; after every restart the [`oracle`] holds
//! what was acknowledged against records and runs. `cargo xtask soak` has a node work for long and looks at what is left.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "test machinery fails by panicking, and talks to a terminal"
)]

pub mod campaign;
pub mod deployed;
pub mod lane;
pub mod load;
pub mod node;
pub mod oracle;
pub mod random;
pub mod soak;
pub mod tally;
pub mod witness;

use std::time::{SystemTime, UNIX_EPOCH};

/// Epoch milliseconds.
#[must_use]
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
