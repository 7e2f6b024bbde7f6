//! The helper: a small process without threads, made from the same binary, whose children the cells are.
//!
//! A process with threads must not fork, and a node that is killed cannot clean up after itself; so the node starts
//! one helper and asks it to start, change and end cells. [`Helper`] is the node's end, [`main`] the helper's.
//! They share one socket: when the node's end closes, the helper ends every cell, removes what they left, and exits;
//! when the helper dies, the kernel ends every cell with it and the node sees [`Helper::lost`].

mod config;
mod fork_servers;
mod handle;
mod launch;
mod link;
mod prepared;
mod process;
mod ward;
pub(crate) mod wire;

pub use config::{HelperConfig, Mode};
pub(crate) use handle::CellDoor;
pub use handle::{Helper, HelperError, HelperLost, MountError, StartError};
pub use prepared::PreparedCell;
pub(crate) use process::EXIT_ASTRAY;
pub use process::main;
