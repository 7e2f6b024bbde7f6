//! Fuzz targets: what strangers send, thrown at the rooms that take it.
//!
//! A target is a function of bytes that panics when something is wrong. `cargo xtask fuzz NAME [SECONDS]` lets the
//! fuzzer look for such bytes; an ordinary test run replays the seeds in `seeds/NAME/`, to which every input that
//! ever found something belongs.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a target reports by panicking"
)]

mod archive;
mod dns;
mod echo;
mod front;
mod images;
mod load_replies;
mod log;
mod replies;
mod requests;
mod splice;

/// A target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Name of the target and of the folder of its seeds.
    pub name: &'static str,
    /// Takes one input; panics if something is wrong.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: [Target; 11] = [
    Target { name: "routes", run: requests::routes },
    Target { name: "action_put", run: requests::action_put },
    Target { name: "web_action", run: requests::web_action },
    Target { name: "archive", run: archive::unpack },
    Target { name: "image", run: images::import },
    Target { name: "dns", run: dns::messages },
    Target { name: "wire", run: requests::bytes },
    Target { name: "replies", run: replies::converse },
    Target { name: "load_replies", run: load_replies::read },
    Target { name: "log", run: log::recover },
    Target { name: "splice", run: splice::arguments },
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}
