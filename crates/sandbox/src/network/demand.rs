//! How many namespaces to keep ready: few when idle, more after takers found none.

use std::time::{Duration, Instant};

/// The most that bursts make the stock keep, unless more were asked for.
const MOST: usize = 64;
/// After this time without an empty stock the number halves.
const CALM: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Demand {
    floor: usize,
    target: usize,
    asleep: bool,
    changed: Instant,
}

impl Demand {
    /// Never below `floor`, but for a lazy one before the first taker.
    pub(super) fn new(floor: usize, lazy: bool, now: Instant) -> Self {
        Self { floor, target: floor, asleep: lazy, changed: now }
    }

    /// Somebody came for a namespace and `found` one ready, or not.
    pub(super) fn taken(&mut self, found: bool, now: Instant) {
        let first = std::mem::take(&mut self.asleep);
        if !found && !first {
            self.target = (self.target * 2).min(MOST.max(self.floor));
            self.changed = now;
        }
    }

    /// How many to keep ready now.
    pub(super) fn target(&mut self, now: Instant) -> usize {
        if self.target > self.floor && now.duration_since(self.changed) >= CALM {
            self.target = (self.target / 2).max(self.floor);
            self.changed = now;
        }
        if self.asleep { 0 } else { self.target }
    }

    /// How long the number stays as it is when nobody comes.
    pub(super) fn patience(&self) -> Duration {
        CALM
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_when_takers_find_none_and_calms_down() {
        let start = Instant::now();
        let mut demand = Demand::new(4, false, start);
        demand.taken(true, start);
        assert_eq!(demand.target(start), 4);
        for _ in 0..9 {
            demand.taken(false, start);
        }
        assert_eq!(demand.target(start), 64);
        assert_eq!(demand.target(start + CALM), 32);
        assert_eq!(demand.target(start + CALM), 32);
        let later = (2..9).map(|times| demand.target(start + CALM * times)).last();
        assert_eq!(later, Some(4));
    }

    #[test]
    fn a_lazy_one_sleeps_until_the_first_taker() {
        let start = Instant::now();
        let mut demand = Demand::new(4, true, start);
        assert_eq!(demand.target(start), 0);
        demand.taken(false, start);
        assert_eq!(demand.target(start), 4);
    }

    #[test]
    fn none_wanted_stays_none() {
        let start = Instant::now();
        let mut demand = Demand::new(0, false, start);
        demand.taken(false, start);
        assert_eq!(demand.target(start), 0);
    }
}
