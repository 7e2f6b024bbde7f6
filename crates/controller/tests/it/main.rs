//! The controller through its door: real connections, stores in memory, executions that only pretend.

mod actions;
mod activations;
mod client;
mod connections;
mod invoke;
mod rejections;
mod routes;
mod world;
