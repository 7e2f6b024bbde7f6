//! The embedded engines through their public door.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

mod backup;
mod conformance;
mod crash;
mod damage;
mod disk_full;
mod entities;
mod event_log;
mod expiry;
mod fixture;
mod keys;
mod lists;
mod node;
mod throughput;
