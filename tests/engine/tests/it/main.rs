//! Scheduler and invoker together: a simulation of their pure parts, and the real ones under faults.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failing test may say so in any way"
)]

mod bench;
mod cancel;
mod drains;
mod durable;
mod faults;
mod fleet;
mod life;
mod lives;
mod locks;
mod moves;
mod overload;
mod pending;
mod recovery;
mod sessions;
mod simulation;
mod stems;
