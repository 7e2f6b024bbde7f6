//! Sandbox networks with real traffic, between namespaces of the test's own. Needs root.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests may fail the test"
)]

mod dns;
mod life;
mod lists;
mod machine;
mod names;
mod reach;
