//! The controller: the REST front of the platform.
//!
//! First room of the corridor. It reads requests, knows who asks and what they may do, keeps entities, and hands
//! invocations to the [`Invoke`](chasen_spi::Invoke) door. `routes.rs` is its table of contents. It never runs an
//! action itself and never writes a record.

mod action_cache;
mod admission;
mod api;
mod aside;
mod authenticate;
mod body;
mod call;
mod clock;
mod config;
mod connection;
mod controller;
mod entitle;
mod error;
mod invoke;
mod listing;
mod media;
mod memory;
mod path;
mod percent;
mod query;
mod reply;
mod routes;
mod server;
mod service;
mod throttle;

pub use config::{ControllerConfig, Rates};
pub use controller::{Controller, Parts};
