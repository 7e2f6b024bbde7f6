//! Wrong credentials: their answers are held back, longer and longer, so that guessing is slow and tells nothing.
//!
//! How often an address and an id were wrong lately is counted, whether the id exists or not. An answer goes out at a
//! time that follows from these counts and from when the request came, not from what was looked up, so unknown ids and
//! wrong keys of known ones look the same. Right credentials never wait, also behind an address that many share.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use http::header::HeaderMap;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::authenticate::{MAX_ENCODED, credentials};
use crate::wire::admission::Source;

/// What the first wrong answers take; far longer than any look-up.
const SHORTEST: Duration = Duration::from_millis(10);
/// What they take at most.
const LONGEST: Duration = Duration::from_secs(2);
/// Wrong answers before the delay begins to double.
const FREE: u32 = 3;
/// Doublings that are worth counting.
const MOST: u32 = FREE + 8;
/// Time in which one wrong answer is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(10);
/// Counters per table. Keys that fall together share one, which slows wrong answers only; where they fall nobody
/// outside knows.
const COUNTERS: usize = 4096;

/// The counters of a node: a fixed amount of memory.
pub(crate) struct Guesses {
    hasher: RandomState,
    sources: Mutex<Box<[Counter]>>,
    ids: Mutex<Box<[Counter]>>,
}

/// How often somebody was wrong, as of a time.
#[derive(Debug, Clone, Copy, Default)]
struct Counter {
    failures: u32,
    at: Option<Instant>,
}

impl Counter {
    /// One more; all of them that are not forgotten.
    fn count(&mut self, now: Instant) -> u32 {
        let passed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let forgotten = u32::try_from(passed.as_secs() / FORGOTTEN.as_secs()).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_sub(forgotten).saturating_add(1).min(MOST);
        self.at = Some(now);
        self.failures
    }
}

impl Default for Guesses {
    fn default() -> Self {
        let counters = || Mutex::new(vec![Counter::default(); COUNTERS].into());
        Self { hasher: RandomState::new(), sources: counters(), ids: counters() }
    }
}

impl Guesses {
    /// Waits as long as the answer to the wrong credentials in these headers is to be held back. `arrived`: when the
    /// request came.
    pub(crate) async fn hold_back(&self, peer: IpAddr, headers: &HeaderMap, arrived: Instant) {
        let mut decoded = [0; MAX_ENCODED];
        let presented = credentials(headers, &mut decoded).unwrap_or_default();
        let id = presented.split(|byte| *byte == b':').next().unwrap_or_default();
        let delay = self.delay(Source::of(peer), id, arrived);
        tokio::time::sleep_until(arrived + delay).await;
    }

    fn delay(&self, source: Source, id: &[u8], now: Instant) -> Duration {
        let failures = self.count(&self.sources, &source, now).max(self.count(&self.ids, id, now));
        delay_after(failures)
    }

    fn count(&self, table: &Mutex<Box<[Counter]>>, key: &(impl Hash + ?Sized), now: Instant) -> u32 {
        table.lock().get_mut(self.place(key)).map_or(0, |counter| counter.count(now))
    }

    /// Where the counter of a key is.
    fn place(&self, key: &(impl Hash + ?Sized)) -> usize {
        usize::try_from(self.hasher.hash_one(key)).unwrap_or_default() % COUNTERS
    }
}

/// What an answer takes that is the last of so many wrong ones.
fn delay_after(failures: u32) -> Duration {
    SHORTEST.saturating_mul(1 << failures.saturating_sub(FREE).min(MOST)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn source(last: u8) -> Source {
        Source::of(IpAddr::from([10, 0, 0, last]))
    }

    #[tokio::test(start_paused = true)]
    async fn delays_grow_with_address_and_with_id_and_are_forgotten() {
        let guesses = Guesses::default();
        let millis = |last, id: u8| {
            u64::try_from(guesses.delay(source(last), &[id], Instant::now()).as_millis()).unwrap()
        };
        // Of which no two share a counter, whatever chance makes of their places.
        let (mut places, mut of_ids) = (HashSet::new(), HashSet::new());
        let sources: Vec<u8> =
            (0..=255).filter(|last| places.insert(guesses.place(&source(*last)))).collect();
        let ids: Vec<u8> = (0..=255).filter(|id| of_ids.insert(guesses.place(&[*id][..]))).collect();
        let one_address: Vec<u64> = ids[..13].iter().map(|id| millis(sources[0], *id)).collect();
        assert_eq!(one_address, [10, 10, 10, 20, 40, 80, 160, 320, 640, 1280, 2000, 2000, 2000]);
        let one_id: Vec<u64> = sources[1..6].iter().map(|last| millis(*last, ids[13])).collect();
        assert_eq!(one_id, [10, 10, 10, 20, 40]);
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(millis(sources[0], ids[14]), 640, "three are forgotten, one is new");
        tokio::time::advance(Duration::from_hours(1)).await;
        assert_eq!(millis(sources[0], ids[15]), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_go_out_when_they_are_due_whatever_the_look_up_took() {
        let guesses = Guesses::default();
        let peer = IpAddr::from([10, 0, 0, 1]);
        for look_up in [Duration::ZERO, Duration::from_millis(7)] {
            let arrived = Instant::now();
            tokio::time::advance(look_up).await;
            guesses.hold_back(peer, &HeaderMap::new(), arrived).await;
            assert_eq!(arrived.elapsed(), SHORTEST);
        }
    }

    #[test]
    fn memory_is_fixed() {
        let guesses = Guesses::default();
        let now = Instant::now();
        for n in 0..100_000u32 {
            guesses.delay(Source::of(IpAddr::from(n.to_be_bytes())), &n.to_be_bytes(), now);
        }
        assert_eq!((guesses.sources.lock().len(), guesses.ids.lock().len()), (COUNTERS, COUNTERS));
    }
}
