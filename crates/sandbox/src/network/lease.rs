//! A sandbox's hold on its network namespace.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// One network namespace, for one sandbox. Dropping it destroys the namespace's link; the address
/// goes to another sandbox only after the link is gone.
#[derive(Debug)]
pub struct Lease {
    namespace: OwnedFd,
    address: Ipv4Addr,
}

impl Lease {
    /// The namespace, for `setns` with `CLONE_NEWNET`.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }

    /// The sandbox's address on its `eth0`.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }
}
