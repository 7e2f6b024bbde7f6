//! How many connections a listener has open, in all and per address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The bounds of one listener.
pub(crate) struct Admission {
    places: Arc<Semaphore>,
    per_address: Option<usize>,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// The place of one connection, free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: Option<OwnedSemaphorePermit>,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    address: IpAddr,
}

impl Admission {
    pub(crate) fn new(all: usize, per_address: Option<usize>) -> Self {
        let places = Arc::new(Semaphore::new(all.min(Semaphore::MAX_PERMITS)));
        Self { places, per_address, open: Arc::default() }
    }

    /// Waits until there is room for one more connection.
    pub(crate) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed; a missing permit would only lift the bound.
        self.places.clone().acquire_owned().await.ok()
    }

    /// The place of a connection from this address; `None` if the address has too many.
    pub(crate) fn admit(&self, permit: Option<OwnedSemaphorePermit>, address: IpAddr) -> Option<Place> {
        let mut open = self.open.lock();
        let count = open.entry(address).or_default();
        if self.per_address.is_some_and(|most| *count >= most) {
            return None;
        }
        *count += 1;
        Some(Place { _permit: permit, open: self.open.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        if let Some(count) = open.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_gets_it_back() {
        let admission = Admission::new(10, Some(2));
        let [one, other] = [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])];
        let first = admission.admit(None, one).unwrap();
        let _second = admission.admit(None, one).unwrap();
        assert!(admission.admit(None, one).is_none());
        drop(admission.admit(None, other).unwrap());
        drop(first);
        assert!(admission.admit(None, one).is_some());
        assert_eq!(admission.open.lock().len(), 1, "addresses without connections are forgotten");
    }
}
