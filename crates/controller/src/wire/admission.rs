//! How many connections a listener has open, in all and per source, and who goes when there is no more room.
//!
//! A *source* is an IPv4 address, or the /64 network that one host of IPv6 has for itself. Where a listener is full,
//! connections that nobody is being served on are closed to make room: the longest silent ones of the sources that
//! have most. So a flood takes places from itself, and whoever comes from elsewhere gets in.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::wire::connection::Activity;

/// Connections that are asked to go at once: looking for them takes time that many share.
const EVICTED_AT_ONCE: usize = 16;
/// How often connections are looked at again while somebody waits and all are busy.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Bits of an IPv6 address that tell hosts apart.
const NETWORK: u128 = !0 << 64;

/// Where connections come from, as far as bounds go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Source(IpAddr);

impl Source {
    /// The source that an address belongs to.
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() => {
                Ipv6Addr::from_bits(address.to_bits() & NETWORK).into()
            }
            other => other,
        })
    }
}

/// The bounds of one listener.
pub(crate) struct Admission {
    places: Arc<Semaphore>,
    per_source: usize,
    open: Arc<Mutex<Open>>,
}

/// What is open: by source, by a running number.
#[derive(Debug, Default)]
struct Open {
    sources: HashMap<Source, HashMap<u64, Arc<Activity>>>,
    next: u64,
}

/// The place of one connection, free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    permit: Option<OwnedSemaphorePermit>,
    open: Arc<Mutex<Open>>,
    source: Source,
    number: u64,
}

impl Admission {
    /// Bounds of a listener: connections in all, and of one source.
    pub(crate) fn new(all: usize, per_source: usize) -> Self {
        let places = Arc::new(Semaphore::new(all.min(Semaphore::MAX_PERMITS)));
        Self { places, per_source, open: Arc::default() }
    }

    /// Notes a connection of this source; `None` if the source has too many. Call [`settle`](Self::settle) before
    /// anything is read from it.
    pub(crate) fn admit(&self, source: Source, activity: Arc<Activity>) -> Option<Place> {
        let mut open = self.open.lock();
        let number = open.next;
        open.next += 1;
        let own = open.sources.entry(source).or_default();
        if own.len() >= self.per_source {
            return None;
        }
        own.insert(number, activity);
        Some(Place { permit: None, open: self.open.clone(), source, number })
    }

    /// Waits until there is room for a connection that was admitted; asks others to go where there is none.
    pub(crate) async fn settle(&self, place: &mut Place) {
        if let Ok(permit) = self.places.clone().try_acquire_owned() {
            place.permit = Some(permit);
            return;
        }
        let mut room = pin!(self.places.clone().acquire_owned());
        loop {
            self.open.lock().evict(place.number);
            if let Ok(permit) = tokio::time::timeout(LOOK_AGAIN, &mut room).await {
                // The semaphore is never closed; a missing permit would only lift the bound.
                place.permit = permit.ok();
                return;
            }
        }
    }
}

impl Open {
    /// Asks the longest silent connections to go, of the sources that have at least half as many as any has, or of
    /// all if those are busy.
    fn evict(&self, newcomer: u64) {
        let most = self.sources.values().map(HashMap::len).max().unwrap_or_default();
        for least in [most.div_ceil(2), 0] {
            let large = self.sources.values().filter(|own| own.len() >= least);
            let mut silent: Vec<_> = large
                .flatten()
                .filter(|(number, _)| **number != newcomer)
                .filter_map(|(number, activity)| Some((activity.silence()?, *number, activity)))
                .collect();
            silent.sort_unstable_by_key(|(silence, number, _)| (*silence, *number));
            // Half of them at most: of a few, not all.
            let count = EVICTED_AT_ONCE.min(silent.len().div_ceil(2));
            silent.iter().take(count).for_each(|(.., activity)| activity.evict());
            if count > 0 {
                return;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        if let Some(own) = open.sources.get_mut(&self.source) {
            own.remove(&self.number);
            if own.is_empty() {
                open.sources.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn admit(admission: &Admission, address: IpAddr) -> Option<(Place, Arc<Activity>)> {
        let activity = Activity::new(address);
        Some((admission.admit(Source::of(address), activity.clone())?, activity))
    }

    #[test]
    fn a_source_has_its_share_and_gets_it_back() {
        let admission = Admission::new(10, 2);
        let first = admit(&admission, ONE).unwrap();
        let _second = admit(&admission, ONE).unwrap();
        assert!(admit(&admission, ONE).is_none());
        drop(admit(&admission, OTHER).unwrap());
        drop(first);
        assert!(admit(&admission, ONE).is_some());
        assert_eq!(admission.open.lock().sources.len(), 1, "sources without connections are forgotten");
    }

    #[test]
    fn hosts_are_sources() {
        let source = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"), "one host may take any of them");
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:10.0.0.1"), source("10.0.0.1"));
        assert_ne!(source("::1"), source("::2"));
    }

    #[tokio::test(start_paused = true)]
    async fn silent_connections_of_whoever_has_most_go_first() {
        let admission = Admission::new(6, 10);
        let mut open = Vec::new();
        for address in [OTHER, ONE, ONE, ONE, ONE, ONE] {
            let (mut place, activity) = admit(&admission, address).unwrap();
            admission.settle(&mut place).await;
            open.push((place, activity));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        open[1].1.begin();
        let (mut place, _activity) = admit(&admission, OTHER).unwrap();
        {
            let mut waiting = std::pin::pin!(admission.settle(&mut place));
            assert!(futures_util::poll!(&mut waiting).is_pending());
            let asked: Vec<bool> = open.iter().map(|(_, activity)| activity.is_evicted()).collect();
            let expected = [false, false, true, true, false, false];
            assert_eq!(asked, expected, "not the busy one, and the oldest half of the others");
            open.remove(2);
            waiting.await;
        }
        open.iter().for_each(|(_, activity)| activity.begin());
        let (mut last, _activity) = admit(&admission, ONE).unwrap();
        let mut waiting = std::pin::pin!(admission.settle(&mut last));
        assert!(futures_util::poll!(&mut waiting).is_pending(), "whoever is served stays");
        drop(place);
        waiting.await;
    }
}
