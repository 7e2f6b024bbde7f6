//! Places: how much of something sandboxes may have at a time, each and all together.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use parking_lot::Mutex;

/// Places of one sort.
#[derive(Debug)]
pub(super) struct Places {
    of_one: usize,
    of_all: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    each: HashMap<Ipv4Addr, usize>,
}

/// A place, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    who: Ipv4Addr,
}

impl Places {
    pub(super) fn new(of_one: usize, of_all: usize) -> Arc<Self> {
        Arc::new(Self { of_one, of_all, taken: Mutex::default() })
    }

    /// A place for this sandbox, if it may have one more.
    pub(super) fn take(self: &Arc<Self>, who: Ipv4Addr) -> Option<Place> {
        let mut taken = self.taken.lock();
        if taken.all >= self.of_all || taken.each.get(&who).is_some_and(|own| *own >= self.of_one) {
            return None;
        }
        taken.all += 1;
        *taken.each.entry(who).or_default() += 1;
        Some(Place { places: Arc::clone(self), who })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.all = taken.all.saturating_sub(1);
        if let Some(own) = taken.each.get_mut(&self.who) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                taken.each.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_more_than_one_may_nor_all_more_than_all() {
        let places = Places::new(2, 3);
        let [a, b] = [1, 2].map(|last| Ipv4Addr::new(100, 64, 0, last));
        let held = [places.take(a), places.take(a)];
        assert!(held.iter().all(Option::is_some) && places.take(a).is_none());
        let other = places.take(b);
        assert!(other.is_some() && places.take(b).is_none(), "all have three");
        drop(held);
        assert!(places.take(a).is_some());
        drop(other);
        assert!(places.taken.lock().each.is_empty());
    }
}
