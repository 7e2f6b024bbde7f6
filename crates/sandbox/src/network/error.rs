//! What can go wrong with sandbox networks, and what to do next.

use std::io;
use std::path::PathBuf;

/// Failure of the node's network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel refused a step.
    #[error("cannot {step}: {source}; {hint}")]
    Kernel {
        /// What was attempted.
        step: String,
        /// The kernel's answer.
        source: io::Error,
        /// What to do next.
        hint: &'static str,
    },
    /// The lock files could not be used.
    #[error("cannot use the lock file {path}: {source}; the run folder must be writable by the node")]
    Lock {
        /// File or folder at fault.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Every block of 100.64.0.0/10 is taken by another node or by a route of the machine.
    #[error(
        "no free block of addresses in 100.64.0.0/10: every one is held by another node or overlaps a \
         route of this machine; stop a node, or remove the overlapping routes"
    )]
    NoBlock,
    /// Every address of the block is in use.
    #[error("all {0} sandbox addresses of this node are in use; stop sandboxes or start another node")]
    Exhausted(usize),
    /// Too many callers wait for a namespace.
    #[error("{0} sandboxes wait for a network namespace already; try again when some have started")]
    Busy(usize),
    /// No namespace became ready in time.
    #[error("no network namespace became ready within {0:?}; the machine is overloaded, try again")]
    Timeout(std::time::Duration),
    /// The network was closed.
    #[error("the node's network is closed; start the node again")]
    Closed,
    /// A setting makes no sense.
    #[error("{0}")]
    Setting(String),
}
