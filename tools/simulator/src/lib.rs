//! A deterministic simulator of the scheduler and the pool: the very state machines that the binary links, in virtual
//! time, with modelled containers, under generated or recorded traces.
//!
//! [`simulate`] runs a [`trace::Trace`] under a policy on a [`Setup`] and gives a [`report::Report`]. The same trace,
//! policy, setup and seed give the same report, to the last byte, on every machine. Whatever the engine's contract says
//! must hold after every event (I1 to I7) is checked as often as the setup asks for it.

pub mod azure;
pub mod cli;
mod kinds;
pub mod number;
pub mod random;
pub mod report;
pub mod trace;
mod world;

pub use world::{Fault, NodeSetup, Progress, Setup, SimulationError, simulate};
