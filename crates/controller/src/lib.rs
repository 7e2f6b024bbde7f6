//! The controller: the REST front of the platform.
//!
//! First room of the corridor. It reads requests, knows who asks and what they may do, keeps entities, and hands
//! invocations to the [`Invoke`](chasen_spi::Invoke) door; sequences, compositions and triggers it conducts itself.
//! `routes.rs` is its table of contents. It never runs a function, and writes records only of what it conducts, through
//! that door.

mod activate;
pub mod admin;
mod api;
mod aside;
mod authenticate;
mod call;
mod clock;
mod config;
mod controller;
mod entities;
mod entitle;
mod guessing;
mod keys;
mod routes;
mod throttle;
mod turns;
mod web;
mod wire;

pub use config::{ControllerConfig, Rates};
pub use controller::{Controller, Parts};
