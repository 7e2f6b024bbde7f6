//! Test machinery: real nodes of the real binary, each with its own data folder and a free port.
//!
//! `node().set("limits.fires-per-minute", "3").start()` gives a running [`Node`]; dropping it stops the node
//! and, when the test failed, says where its log and data lie. Everything here panics on failure: the test
//! that called is the one that failed.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "test machinery fails by panicking and explains itself on stderr"
)]

mod binary;
pub mod docker;
pub mod internet;
mod machine;
mod node;
mod process;

pub use binary::{binary, chasen, faults_binary};
pub use chasen_client::{ActionCode, Client, ClientError, Reply, Target, Trust};
pub use machine::{
    allow_many_files, children, descendants, everything_is_needed, has_command, has_descendant, is_root,
    signal,
};
pub use node::{Builder, GUEST, Node, node};
pub use process::{Finished, PATIENCE, Process, run};
pub use rustix::process::Signal;
