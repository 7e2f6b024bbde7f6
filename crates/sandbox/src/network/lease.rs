//! A sandbox's hold on its network namespace.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use chasen_entity::network::Allowed;

use super::error::NetworkError;
use super::pool::{Pool, Prepared};

/// One network namespace, for one sandbox. Dropping it cuts the namespace off, whoever is still in
/// it; its address goes to another sandbox only after its link is gone.
#[derive(Debug)]
pub struct Lease {
    prepared: Arc<Prepared>,
    pool: Arc<Pool>,
    /// Whether nobody is in it any more.
    is_left: bool,
    /// Whether it has a list of destinations.
    is_restricted: bool,
}

impl Lease {
    pub(super) fn new(prepared: Arc<Prepared>, pool: Arc<Pool>) -> Self {
        Self { prepared, pool, is_left: false, is_restricted: false }
    }

    /// The namespace, for `setns` with `CLONE_NEWNET`.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.prepared.namespace.as_fd()
    }

    /// The sandbox's address on its `eth0`.
    pub fn address(&self) -> Ipv4Addr {
        self.prepared.address
    }

    /// Lets it reach these destinations only, from now on and for ever: it serves nobody else. To be done before anything
    /// of a tenant is in it.
    ///
    /// # Errors
    /// When the kernel refuses, or the network is closed; it is of no use then.
    pub async fn restrict(&mut self, allowed: Arc<Allowed>) -> Result<(), NetworkError> {
        self.is_restricted = true;
        self.pool.restrict(self.prepared.slot, allowed).await
    }

    /// Gives it back when every process of the sandbox is gone. If nothing has passed and nothing is left behind it is as
    /// good as new, and serves another sandbox; else it ends as if it were dropped. So does one with a list of destinations.
    pub fn give_back(mut self) {
        self.is_left = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.is_left && !self.is_restricted {
            self.pool.give_back(Arc::clone(&self.prepared));
        } else {
            self.pool.retire(self.prepared.slot);
        }
    }
}
