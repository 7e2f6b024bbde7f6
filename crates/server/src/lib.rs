//! The node: settings, wiring of all rooms, and the command line.
//!
//! The only room that knows the others. [`wiring`] is the assembly drawing; [`cli`] is what people type.

pub mod admin;
pub mod bind;
pub mod cli;
pub mod console;
pub mod data;
pub mod docker;
pub mod doctor;
pub mod guest;
pub mod life;
pub mod memory;
pub mod node;
pub mod quickstart;
pub mod rootfs;
pub mod run;
pub mod runtimes;
pub mod sandboxes;
pub mod settings;
pub mod signals;
pub mod status;
pub mod tls;
pub mod wiring;
