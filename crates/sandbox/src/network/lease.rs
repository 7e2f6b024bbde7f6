//! A sandbox's hold on its network namespace.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::pool::{Pool, Prepared};

/// One network namespace, for one sandbox. Dropping it cuts the namespace off, whoever is still in
/// it; its address goes to another sandbox only after its link is gone.
#[derive(Debug)]
pub struct Lease {
    namespace: OwnedFd,
    slot: u16,
    address: Ipv4Addr,
    pool: Arc<Pool>,
}

impl Lease {
    pub(super) fn new(prepared: Prepared, pool: Arc<Pool>) -> Self {
        let Prepared { namespace, slot, address } = prepared;
        Self { namespace, slot, address, pool }
    }

    /// The namespace, for `setns` with `CLONE_NEWNET`.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }

    /// The sandbox's address on its `eth0`.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.retire(self.slot);
    }
}
