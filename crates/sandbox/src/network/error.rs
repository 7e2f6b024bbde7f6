//! What can go wrong with sandbox networks, and what to do next.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Failure of the node's network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel refused a step.
    #[error("cannot {step}: {source}; {hint}")]
    Kernel {
        /// What was attempted.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
        /// What to do next.
        hint: &'static str,
    },
    /// A file under the run folder could not be used.
    #[error("cannot use {path}: {source}; the node's run folder must exist or be creatable, and be writable")]
    RunFolder {
        /// File or folder at fault.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Packets cannot be forwarded between sandboxes and the network.
    #[error(
        "cannot turn on forwarding in {path}: {source}; run `sysctl -w net.ipv4.ip_forward=1`, or give \
         the node a writable /proc/sys"
    )]
    Forwarding {
        /// The kernel setting at fault.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A node of the same identity is alive.
    #[error("the node of this data folder is running already; stop it first")]
    Running,
    /// Every block of 100.64.0.0/10 is held by another node or used by a route of the machine.
    #[error(
        "no free block of addresses in 100.64.0.0/10: every one is held by another node or used by a \
         route of this machine; stop a node, or remove the routes"
    )]
    NoBlock,
    /// Every address of the block is in use.
    #[error("all {0} sandbox addresses of this node are in use; stop sandboxes or start another node")]
    Exhausted(usize),
    /// Too many callers wait for a namespace.
    #[error("{0} sandboxes already wait for a network namespace; try again when some have started")]
    Busy(usize),
    /// No namespace became ready in time.
    #[error("no network namespace became ready within {0:?}; the machine is overloaded, try again")]
    Timeout(Duration),
    /// A sandbox asked for too many names.
    #[error("{0} addresses of allowed names are open to one sandbox already; some close within a day")]
    Grants(u32),
    /// The network was closed.
    #[error("the node's network is closed; start the node again")]
    Closed,
    /// A setting makes no sense.
    #[error("{0}")]
    Setting(String),
}

impl NetworkError {
    /// The kernel's refusal of `step`, with the hint that fits its errno.
    pub(super) fn kernel(step: &'static str, source: io::Error) -> Self {
        let hint = match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => {
                "run the node as root, or give it CAP_NET_ADMIN and CAP_SYS_ADMIN"
            }
            Some(
                libc::ENOENT
                | libc::EOPNOTSUPP
                | libc::EPROTONOSUPPORT
                | libc::EAFNOSUPPORT
                | libc::EPROTOTYPE,
            ) => {
                "the kernel lacks a module: load veth, nf_tables, nf_nat, nf_conntrack, nft_ct, nft_fib_inet, \
                  nft_limit, nft_masq, nft_nat, nft_reject_inet and nft_connlimit"
            }
            Some(libc::EMFILE | libc::ENFILE) => "raise the limit of open files",
            Some(libc::ENOSPC) => "raise user.max_net_namespaces",
            _ => "the kernel's log may say more",
        };
        Self::Kernel { step, source, hint }
    }

    /// Whether the kernel says that the object of a removal is not there.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Kernel { source, .. }
            if matches!(source.raw_os_error(), Some(libc::ENODEV | libc::ENOENT)))
    }
}
