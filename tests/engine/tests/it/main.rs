//! Scheduler and invoker together.
