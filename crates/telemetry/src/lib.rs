//! Logs, background tasks and the clock: what every room uses to be observed.

pub mod clock;
pub mod log;
pub mod task;
