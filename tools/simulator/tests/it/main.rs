//! The simulator from outside: histories that can be had again, traces of files, rules that hold.

mod azure;
mod histories;
mod page;
mod policies;
mod rules;
