//! Logs and background tasks: what every room uses to be observed.

pub mod log;
pub mod task;
