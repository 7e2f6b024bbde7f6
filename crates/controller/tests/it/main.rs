//! The controller through its door: real connections, stores in memory, executions that only pretend.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failing test may say so in any way"
)]

mod action_records;
mod actions;
mod activations;
mod admin;
mod bindings;
mod caches;
mod client;
mod compositions;
mod connections;
mod dead_letters;
mod doors;
mod durable;
mod entitlement;
mod fake_invoke;
mod fires;
mod gated_store;
mod invoke;
mod keys;
mod links;
mod locked;
mod packages;
mod paging;
mod rejections;
mod replay;
mod routes;
mod rules;
mod sequences;
mod triggers;
mod ui_mode;
mod under_way;
mod web;
mod world;
