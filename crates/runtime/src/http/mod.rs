//! The platform's conversation with an image that serves `/init` and `/run` over HTTP on port 8080.
//!
//! Whoever hosts the image says how it is reached and ended ([`Engine`]); [`HttpContainer`] does the rest: connections
//! (`client.rs`), what goes out (`bodies.rs`), what an answer means, time limits, and whose log is whose ([`Output`]).

mod bodies;
mod client;
mod container;
mod engine;
mod output;

pub use container::{HttpContainer, Settings};
pub use engine::{Dial, Engine, PORT};
pub use output::Output;

#[cfg(test)]
mod tests;
