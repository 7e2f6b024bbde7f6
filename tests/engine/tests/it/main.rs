//! Scheduler and invoker together: a simulation of their pure parts, and the real ones under faults.

mod bench;
mod faults;
mod life;
mod overload;
mod simulation;
