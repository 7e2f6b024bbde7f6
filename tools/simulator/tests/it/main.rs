//! The simulator from outside: histories that can be had again, traces of files, rules that hold.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

mod azure;
mod histories;
mod page;
mod policies;
mod rules;
